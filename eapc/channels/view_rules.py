"""Axis rules of operators that move, join, cut, repeat or fill in elements."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eapc.channels.constraints import (
    Constraint,
    Dependency,
    FixedNodeError,
    Operand,
    last_axes,
    same_axes,
    span,
)
from eapc.channels.nodes import NodeAxes, axis_rule
from eapc.channels.shape_operands import FIRST_OPSET_OF_WHERE, describe


@axis_rule("Transpose")
def transposition(node: NodeAxes) -> Iterator[Constraint]:
    """Axis i of the result is axis perm[i] of the operand."""
    x, y = node.input(0), node.output()
    for place, axis in enumerate(node.attribute("perm", range(x.rank)[::-1])):
        yield Dependency(x.axis(axis), y.axis(place))


@axis_rule("Concat")
def concatenation(node: NodeAxes) -> Iterator[Constraint]:
    """Operands lie one behind the other along `axis`."""
    y = node.output()
    yield from _in_a_row(node.given(), y, y.axis(node.attribute("axis", 1)).number)


@axis_rule("Split")
def split(node: NodeAxes) -> Iterator[Constraint]:
    """Results lie one behind the other along `axis`; without sizes they stay equally long."""
    x, parts = node.input(0), node.results()
    if len(parts) < len(node.node.outputs):
        raise FixedNodeError("a part of it is left out")
    axis = x.axis(node.attribute("axis", 0)).number
    yield from _in_a_row(parts, x, axis)
    if node.integers(1, "split") is not None:
        for index, part in enumerate(parts):
            yield node.count(part.axis(axis), 0, part.shape[axis], "split", index, 1)
        return
    if len({part.shape[axis] for part in parts}) > 1:
        raise FixedNodeError("its parts are of unequal length without sizes")
    yield from (Dependency(part.axis(axis), parts[0].axis(axis)) for part in parts[1:])


def _in_a_row(parts: list[Operand], whole: Operand, axis: int) -> Iterator[Constraint]:
    start = 0
    for part in parts:
        yield from same_axes(part, whole, (a for a in range(whole.rank) if a != axis))
        places = span(start, part.shape[axis])
        yield Dependency(part.axis(axis), whole.axis(axis), None, places)
        start += len(places)


@axis_rule("Pad")
def padding(node: NodeAxes) -> Iterator[Constraint]:
    """What is padded stands behind what is put before it; padding counts the rest of y."""
    x, y = node.input(0), node.output()
    axes = node.integers(3, "axes") or list(range(x.rank))
    given = [axis % x.rank for axis in axes]
    yield from same_axes(x, y, (axis for axis in range(x.rank) if axis not in given))
    pads = node.integers(1, "pads")
    if pads is None:
        raise FixedNodeError("its pads are missing")
    constant_mode = node.attribute("mode", "constant") == "constant"
    for place, axis in enumerate(given):
        before, after = pads[place], pads[place + len(given)]
        if before == 0 == after:
            yield from same_axes(x, y, (axis,))
        elif before >= 0 <= after and constant_mode:
            end = before + x.shape[axis]
            yield Dependency(x.axis(axis), y.axis(axis), None, np.arange(before, end))
            yield node.count(y.axis(axis), 0, before, "pads", place, 1)
            yield node.count(y.axis(axis), end, end + after, "pads", place + len(given), 1)


@axis_rule("Shape", "Size")
def lengths(node: NodeAxes) -> Iterator[Constraint]:
    """Lengths may change: whoever reads the result sees to it."""
    yield from (Dependency(axis, axis) for axis in node.input(0).axes())


@axis_rule("Expand")
def expansion(node: NodeAxes) -> Iterator[Constraint]:
    """Axes that are there already follow; of those that are made every index is the same."""
    dependencies = [each for each in last_axes(node.input(0), node.output()) if each.other.size > 1]
    yield from dependencies
    yield from _filled(node, 1, {each.other.number for each in dependencies})


@axis_rule("ConstantOfShape")
def filling(node: NodeAxes) -> Iterator[Constraint]:
    """Every index is the same as any other: whatever reads them decides which are needed."""
    yield from _filled(node, 0, set())


def _filled(node: NodeAxes, operand: int, given: set[int]) -> Iterator[Constraint]:
    """Each axis of the result may be shorter where its shape, an operand, says so.

    1 may always stand for axes that are given.
    """
    y = node.output()
    yield from (Dependency(axis, axis) for axis in y.axes())
    dimensions = node.dimensions(operand)
    shift = y.rank - len(dimensions) if dimensions else 0  # a short shape is of the last axes
    described = {axis - shift: axis for axis in range(y.rank) if axis >= shift}
    has_where = node.graph.opset >= FIRST_OPSET_OF_WHERE
    free = {place: 1 for place, axis in described.items() if has_where and axis in given}
    yield from describe(node, operand, y, described, free)


@axis_rule("Tile")
def tiling(node: NodeAxes) -> Iterator[Constraint]:
    """Copies of an index go together; an axis that is made of one index stays whole."""
    for x, y in zip(node.input(0).axes(), node.output().axes(), strict=True):
        if x.size > 1:
            yield Dependency(y, x, None, np.arange(y.size) % x.size)


@axis_rule("Resize", "Upsample")
def resizing(node: NodeAxes) -> Iterator[Constraint]:
    """Axes that keep their length follow; those that are resized stay whole."""
    x, y = node.input(0), node.output()
    dependencies = list(same_axes(x, y, range(x.rank)))
    yield from dependencies
    as_long = [each.one for each in dependencies]
    if node.node.input(3):
        axes = enumerate(node.attribute("axes", range(x.rank)))
        described = {place: x.axis(axis) for place, axis in axes}
        followed = {place: each.number for place, each in described.items() if each in as_long}
        yield from describe(node, 3, y, followed, {})
