"""Entries of computed shapes that are overwritten, by a Where in front of their reader."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from eapc.channels.edits import add_constant, unused_name
from eapc.channels.groups import Patch
from eapc.model import walk


def overwrite_entries(proto: ModelProto, new: Mapping[Patch, int]) -> frozenset[str]:
    """Put numbers in place of entries of shape operands, in place; returns the tensors added."""
    nodes = {node.key: target for node, target in walk(proto.graph)}
    by_operand: dict[tuple[str, int], dict[int, int]] = {}
    count: dict[tuple[str, int], int] = {}
    for patch, number in new.items():
        place = (patch.node, patch.operand)
        by_operand.setdefault(place, {})[patch.index] = number
        count[place] = patch.count
    added: set[str] = set()
    for (key, operand), numbers in by_operand.items():
        if key in nodes:  # else it went with a branch
            added |= _overwrite(proto, nodes[key], operand, numbers, count[key, operand])
    return frozenset(added)


def _overwrite(
    proto: ModelProto, node: NodeProto, operand: int, numbers: Mapping[int, int], count: int
) -> set[str]:
    graph = proto.graph
    mask, values = np.zeros(count, np.bool_), np.zeros(count, np.int64)
    for index, number in numbers.items():
        mask[index], values[index] = True, number
    stem = f"{node.output[0]}@shape"
    names = [unused_name(graph, f"{stem}{end}") for end in ("_is_new", "_new", "")]
    for name, array in zip(names, (mask, values), strict=False):
        add_constant(proto, numpy_helper.from_array(array, name))
    where = helper.make_node("Where", [*names[:2], node.input[operand]], names[2:])
    place = next(i for i, other in enumerate(graph.node) if other is node)
    graph.node.insert(place, where)
    node.input[operand] = names[2]
    return set(names)
