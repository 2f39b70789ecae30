"""Axis rules of operators that pick indices of an axis: Slice and Gather."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eapc.channels.constraints import (
    Axis,
    Constraint,
    Dependency,
    FixedAxis,
    FixedNodeError,
    Follows,
    RatioConstraint,
    same_axes,
    span,
)
from eapc.channels.dimensions import Dimension, Dimensions, follows, lengths_in, number
from eapc.channels.groups import Rewrite
from eapc.channels.nodes import NodeAxes, axis_rule
from eapc.channels.shape_operands import own_number


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
        bounds = starts[place], ends[place], steps[place]
        yield from _Cut(node, x.axis(axis), y.axis(axis), place, *bounds).constraints()


def _bounds(node: NodeAxes, operand: int, attribute: str) -> Dimensions | None:
    """What bounds are made of; those of an attribute are numbers as well."""
    if attribute in node.node.attributes:
        return tuple(map(number, node.integers(operand, attribute) or ()))
    if not node.node.input(operand):
        raise FixedNodeError("its bounds are missing")
    return node.dimensions(operand)


@dataclass(frozen=True)
class _Cut:
    """One axis of a Slice, and its bounds at `place` of their operands."""

    node: NodeAxes
    x: Axis
    y: Axis
    place: int
    start: Dimension
    end: Dimension
    step: int

    def constraints(self) -> Iterator[Constraint]:
        """Which indices of x and y go together, and what the bounds become."""
        size = self.x.size
        start, stop, step = slice(self.start.now, self.end.now, self.step).indices(size)
        are_numbers = self.start.is_number and self.end.is_number
        if not self._is_own():
            yield from self._fixed_bounds()
        elif (start, stop, step) == (0, size, 1) and are_numbers:
            yield from same_axes(self.x.operand, self.y.operand, (self.x.number,))
        elif step == 1 <= stop - start:
            yield from self._part(start, stop)
        elif (start, stop, step) == (size - 1, -1, -1) and are_numbers:
            yield Dependency(self.x, self.y, span(0, size)[::-1])
        elif 0 <= start < step and stop == size and size % step == 0 and self._starts_at(start):
            yield from self._every(start, step)
        else:
            yield from self._fixed_bounds()

    def _is_own(self) -> bool:
        """True unless a bound comes from the length of another axis, which inputs may decide."""
        is_known = self.start.now is not None and self.end.now is not None
        return is_known and lengths_in((self.start, self.end)) <= {self._length}

    @property
    def _length(self) -> tuple[str, int]:
        return self.x.operand.tensor, self.x.number

    def _starts_at(self, start: int) -> bool:
        return self.start.is_number and self.end.is_number and self.start.now == start

    def _part(self, start: int, stop: int) -> Iterator[Constraint]:
        following = [*self._follow(1, "starts", self.start, start)]
        if stop < self.x.size or not self._reaches_end():
            following += self._follow(2, "ends", self.end, stop)
        yield Dependency(self.x, self.y, span(start, stop - start))
        yield from following

    def _reaches_end(self) -> bool:
        """True where the end is no less than the axis's length, whatever that becomes."""
        if self.end.is_number:
            return True  # it is no less than the length now
        return all(value >= length for length, value in enumerate(self.end.values))

    def _every(self, start: int, step: int) -> Iterator[Constraint]:
        """Neighbours go together, so that what is left is picked in the same steps."""
        indices = span(0, self.x.size)
        yield Dependency(self.x, self.x, None, indices // step * step)
        yield Dependency(self.x, self.y, indices[start::step])

    def _follow(
        self, operand: int, name: str, dimension: Dimension, bound: int
    ) -> Iterator[Constraint]:
        """What makes a bound, `bound` now, follow the axis."""
        ratio = follows(dimension, bound)
        is_stored = name in self.node.node.attributes or self.node.constant(operand) is not None
        if dimension.is_number and is_stored:
            yield self.node.count(self.x, 0, bound, name, self.place, operand)
        elif dimension.is_number and not dimension.shared:
            yield own_number(dimension, self.node, self.x, bound)
        elif ratio is not None:
            yield RatioConstraint(self.x, self.x, ratio, span(0, bound))
        else:
            yield FixedAxis(self.x)

    def _fixed_bounds(self) -> Iterator[Constraint]:
        """The axis depends on none and so stays; so do the lengths that its bounds come from."""
        yield from self.node.graph.fixed_lengths((self.start, self.end))


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
    if picked is None or not is_list or indices.tensor not in node.graph.model.view.constants:
        return
    if np.all((-axis.size <= picked) & (picked < axis.size)):
        yield Dependency(
            axis, y.axis(axis.number), np.where(picked < 0, picked + axis.size, picked)
        )
        yield Dependency(axis, axis)
        tensor, reader = data.tensor, indices.reader
        yield Rewrite(reader, None, tensor, axis.number, 0, axis.size, constant=indices.tensor)
