"""Axis rules of operators that move, join, cut, pick, repeat or fill in elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from eapc.channels.constraints import (
    Axis,
    Constraint,
    Dependency,
    FixedAxis,
    FixedNodeError,
    Follows,
    Operand,
    RatioConstraint,
    last_axes,
    same_axes,
    span,
)
from eapc.channels.dimensions import Dimension, Dimensions, follows, lengths_in, number
from eapc.channels.groups import Rewrite
from eapc.channels.nodes import NodeAxes, axis_rule
from eapc.channels.shape_operands import FIRST_OPSET_OF_WHERE, describe, own_number


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
    yield from in_a_row(node.given(), y, y.axis(node.attribute("axis", 1)).number)


@axis_rule("Split")
def split(node: NodeAxes) -> Iterator[Constraint]:
    """Results lie one behind the other along `axis`; without sizes they stay equally long."""
    x, parts = node.input(0), node.results()
    if len(parts) < len(node.node.outputs):
        raise FixedNodeError("a part of it is left out")
    axis = x.axis(node.attribute("axis", 0)).number
    yield from in_a_row(parts, x, axis)
    if node.integers(1, "split") is not None:
        for index, part in enumerate(parts):
            yield node.count(part.axis(axis), 0, part.shape[axis], "split", index, 1)
        return
    if len({part.shape[axis] for part in parts}) > 1:
        raise FixedNodeError("its parts are of unequal length without sizes")
    yield from (Dependency(part.axis(axis), parts[0].axis(axis)) for part in parts[1:])


def in_a_row(parts: list[Operand], whole: Operand, axis: int) -> Iterator[Constraint]:
    """The parts lie one behind the other along an axis of the whole, the other axes are its."""
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


@axis_rule("Slice")
def cut(node: NodeAxes) -> Iterator[Constraint]:
    """Axes that are not cut follow; of one that is cut, what the bounds leave."""
    x, y = node.input(0), node.output()
    starts, ends = _bounds(node, 1, "starts"), _bounds(node, 2, "ends")
    axes = node.integers(3, "axes") or list(range(len(starts or ends or ())))
    if not axes:
        raise FixedNodeError("its bounds are computed")
    cut_axes = [axis % x.rank for axis in axes]
    steps = node.integers(4, "steps") or [1] * len(axes)
    yield from same_axes(x, y, (axis for axis in range(x.rank) if axis not in cut_axes))
    if starts is None or ends is None or min(len(starts), len(ends)) < len(axes):
        return  # nothing is known of the bounds: what is cut stays whole
    yield from (Follows(1), Follows(2))
    for place, axis in enumerate(cut_axes):
        start, end = starts[place], ends[place]
        follow = partial(_follow, node, x.axis(axis), place)
        found = list(_cut_axis(x.axis(axis), y.axis(axis), start, end, steps[place], follow))
        # where nothing is known the axis stays, and so do the lengths that its bounds come from
        yield from found or node.graph.fixed_lengths((start, end))


def _bounds(node: NodeAxes, operand: int, attribute: str) -> Dimensions | None:
    """What bounds are made of; those of an attribute are numbers as well."""
    if attribute in node.node.attributes:
        return tuple(map(number, node.integers(operand, attribute) or ()))
    if not node.node.input(operand):
        raise FixedNodeError("its bounds are missing")
    return node.dimensions(operand)


def _cut_axis(
    x: Axis,
    y: Axis,
    start: Dimension,
    end: Dimension,
    step: int,
    follow: Callable[[int, str, Dimension, int], Constraint],
) -> Iterator[Constraint]:
    """Which indices of x and y go together, and what the bounds become; nothing if unknown."""
    own = {(x.operand.tensor, x.number)}
    if start.now is None or end.now is None or not lengths_in((start, end)) <= own:
        return  # a bound comes from the length of another axis, which inputs may decide
    cut = first, stop, step = slice(start.now, end.now, step).indices(x.size)
    are_numbers, indices = start.is_number and end.is_number, span(0, x.size)
    if are_numbers and cut == (0, x.size, 1):
        yield from same_axes(x.operand, y.operand, (x.number,))
    elif step == 1 <= stop - first:
        yield Dependency(x, y, indices[first:stop])
        yield follow(1, "starts", start, first)
        reaches_end = all(value >= length for length, value in enumerate(end.values))
        if stop < x.size or not reaches_end:
            yield follow(2, "ends", end, stop)
    elif are_numbers and cut == (x.size - 1, -1, -1):
        yield Dependency(x, y, indices[::-1])
    elif are_numbers and start.now == first < step and stop == x.size and x.size % step == 0:
        # neighbours go together, so that what is left is picked in the same steps
        yield Dependency(x, x, None, indices // step * step)
        yield Dependency(x, y, indices[first::step])


def _follow(
    node: NodeAxes, x: Axis, place: int, operand: int, name: str, bound: Dimension, now: int
) -> Constraint:
    """What makes a bound at `place` of an operand, `now` as it stands, follow the axis."""
    ratio = follows(bound, now)
    is_stored = name in node.node.attributes or node.constant(operand) is not None
    if bound.is_number and is_stored:
        return node.count(x, 0, now, name, place, operand)
    if bound.is_number and not bound.shared:
        return own_number(bound, node, x, now)
    return FixedAxis(x) if ratio is None else RatioConstraint(x, x, ratio, span(0, now))


@axis_rule("Gather")
def gathering(node: NodeAxes) -> Iterator[Constraint]:
    """Of the axis that is picked from go those that are picked, where the indices are constant.

    Computed indices leave it whole. Those of the indices' own axes take its place in the result.
    """
    data, indices, y = node.input(0), node.input(1), node.output()
    axis = data.axis(node.attribute("axis", 0))
    for other in data.axes():
        if other != axis:
            behind = indices.rank - 1 if other.number > axis.number else 0
            yield Dependency(other, y.axis(other.number + behind))
    for other in indices.axes():
        yield Dependency(other, y.axis(axis.number + other.number))
    picked = node.constant(1)
    is_list = indices.rank == 1 and indices.shape[0] > 1 and data.rank > 1
    if picked is None or not is_list or indices.tensor not in node.graph.model.constants.plain:
        return
    if np.all((-axis.size <= picked) & (picked < axis.size)):
        yield Dependency(
            axis, y.axis(axis.number), np.where(picked < 0, picked + axis.size, picked)
        )
        yield Dependency(axis, axis)
        tensor, reader = data.tensor, indices.reader
        yield Rewrite(reader, None, tensor, axis.number, 0, axis.size, constant=indices.tensor)
