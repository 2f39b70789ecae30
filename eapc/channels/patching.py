"""Entries of computed shapes that are overwritten, by a Where in front of their reader."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import helper

from eapc.channels.groups import Patch
from eapc.model import GraphEditor


def overwrite_entries(editor: GraphEditor, new: Mapping[Patch, int]) -> frozenset[str]:
    """Put numbers in place of entries of shape operands, in place; returns the tensors added."""
    by_operand: dict[tuple[str, int], dict[int, int]] = {}
    count: dict[tuple[str, int], int] = {}
    for patch, number in new.items():
        place = (patch.node, patch.operand)
        by_operand.setdefault(place, {})[patch.index] = number
        count[place] = patch.count
    added: set[str] = set()
    for place, numbers in by_operand.items():
        if place[0] in editor:  # else it went with a branch
            added |= _overwrite(editor, *place, numbers, count[place])
    return frozenset(added)


def _overwrite(
    editor: GraphEditor, key: str, operand: int, numbers: Mapping[int, int], count: int
) -> set[str]:
    mask, values = np.zeros(count, np.bool_), np.zeros(count, np.int64)
    for index, number in numbers.items():
        mask[index], values[index] = True, number
    node = editor.node(key)
    stem = f"{node.output[0]}@shape"
    result = editor.unused_name(stem)
    names = [
        editor.add_constant(f"{stem}{end}", array)
        for end, array in (("_is_new", mask), ("_new", values))
    ]
    editor.insert(helper.make_node("Where", [*names, node.input[operand]], [result]), node)
    editor.rewire(node, operand, result)
    return {*names, result}
