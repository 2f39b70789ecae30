"""Branches that can go whole: where they end once all their channels are gone.

Without inputs a layer writes its bias everywhere. What follows turns that into another constant,
up to an Add that has the trunk for its other operand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import onnx

from eapc.channels.groups import Branch, ChannelGroup
from eapc.model import Model, Node
from eapc.operators import operator_of

ShapeOf = Callable[[str], tuple[int, ...] | None]


class _NoEndError(Exception):
    """The branch does not end in constants that are added to something."""


def with_vanishing(
    model: Model, shape_of: ShapeOf, groups: Iterable[ChannelGroup]
) -> tuple[tuple[ChannelGroup, ...], dict[str, Branch]]:
    """The groups, marked where all channels can go, and how their branches end by name.

    Where both operands of an Add could be such branches, the first group's branch is the one.
    """
    taken: dict[str, int] = {}
    branches: dict[str, Branch] = {}
    marked = []
    for group in groups:
        branch = branch_of(model, shape_of, group)
        free = branch is not None and all(taken.get(add, at) == at for add, at in branch.adds)
        if branch is not None and free:
            taken |= dict(branch.adds)
            branches[group.name] = branch
        marked.append(replace(group, may_vanish=free))
    return tuple(marked), branches


def branch_of(model: Model, shape_of: ShapeOf, group: ChannelGroup) -> Branch | None:
    """The branch inside of which the group lies; None where there is none that could go."""
    try:
        return _branch(model, shape_of, group)
    except _NoEndError:
        return None


def _branch(model: Model, shape_of: ShapeOf, group: ChannelGroup) -> Branch:
    for cut in group.slices:
        shape = shape_of(cut.tensor)
        if shape is None or cut.indices.size < shape[cut.axis]:
            raise _NoEndError
    inside = {cut.tensor for cut in group.slices} - model.constants.plain.keys()
    consumers = _consumers(model, group, inside)
    path: list[str] = []
    adds: list[tuple[str, int]] = []
    constant = {node.outputs[0] for node in consumers}
    for node in model.view.main_nodes:
        if node in consumers or not constant & set(model.view.dependencies(node)):
            continue
        if node.outputs[0] in inside:
            continue
        if _is_trunk(model, shape_of, node, constant):
            adds.append((node.key, int(node.inputs[1] in constant)))
        elif _stays_constant(model, node, constant):
            path.append(node.key)
            constant.add(node.outputs[0])
        else:
            raise _NoEndError
    if not adds or constant & set(model.outputs):
        raise _NoEndError
    return Branch(tuple(node.key for node in consumers), tuple(path), tuple(adds))


def _consumers(model: Model, group: ChannelGroup, inside: set[str]) -> tuple[Node, ...]:
    """The layers behind the channels; whatever else reads them must write such channels too."""
    found: dict[Node, None] = {}
    for tensor in inside:
        for node in model.view.consumers(tensor):
            if node.outputs[0] in inside:
                continue
            if node.key not in group.consumers or not _writes_bias(model, node):
                raise _NoEndError
            found[node] = None
    if not found:
        raise _NoEndError
    return tuple(found)


def _writes_bias(model: Model, node: Node) -> bool:
    """True where a layer without inputs writes one constant per channel."""
    bias = node.input(2)
    plain = model.constants.plain
    shape = plain[bias].dims if bias in plain else ()
    is_vector = (not bias or bias in plain) and not any(size > 1 for size in shape[:-1])
    return operator_of(node).weights is not None and node.input(1) in plain and is_vector


def _is_trunk(model: Model, shape_of: ShapeOf, node: Node, constant: set[str]) -> bool:
    """True for an Add of the branch to something as large as the sum that is no constant."""
    if node.op_type != "Add" or node.domain:
        return False
    others = [name for name in node.inputs if name not in constant]
    if len(others) != 1 or others[0] in model.constants.plain:
        return False
    shape = shape_of(others[0])
    return shape is not None and shape == shape_of(node.outputs[0])


def _stays_constant(model: Model, node: Node, constant: set[str]) -> bool:
    """True where a constant per channel goes in and one comes out, the same everywhere."""
    others = [name for name in model.view.dependencies(node) if name not in constant]
    given = all(name in model.constants.plain for name in others)
    if not onnx.defs.has(node.op_type, node.domain) or not given or len(node.outputs) > 1:
        return False  # what onnx does not know it cannot evaluate
    return operator_of(node).keeps_constants or _is_pointwise(model, node)


def _is_pointwise(model: Model, node: Node) -> bool:
    """True for a layer whose every output reads one position alone, none of it padding."""
    row, weights = operator_of(node), model.constants.plain.get(node.input(1))
    shape = () if weights is None else weights.dims
    if row.weights is None or row.kind == "transposed convolution":
        return False
    if row.kind == "convolution":
        return set(shape[2:]) <= {1} and not any(node.attribute("pads", ()))
    return not node.attributes.get(row.weights.x_swapped_by, 0)
