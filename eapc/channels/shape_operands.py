"""Shapes as operands: which numbers of a shape must change with the axes that it describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from eapc.channels.constraints import (
    Axis,
    Constraint,
    FixedAxis,
    Follows,
    Operand,
    RatioConstraint,
)
from eapc.channels.dimensions import Dimension, as_shared, follows
from eapc.channels.groups import Rewrite
from eapc.channels.nodes import NodeAxes

COMPUTED = "its shape is computed in a way that need not follow"
FIRST_OPSET_OF_WHERE = 9


def describe(
    node: NodeAxes,
    operand: int,
    described: Operand,
    shrinking: Mapping[int, int],
    free: Mapping[int, int],
) -> Iterator[Constraint]:
    """What makes a shape operand follow the axes of `described`.

    `shrinking` maps positions of the operand to the axes that may shrink; the axis at any other
    position keeps its length, and so does every length that its number comes from. `free` has, by
    position, a number that may stand there whatever the length is.
    """
    dimensions = node.dimensions(operand)
    yield Follows(operand)
    if dimensions is None or len(dimensions) <= max(shrinking, default=0):
        yield from (FixedAxis(described.axis(axis), COMPUTED) for axis in shrinking.values())
        yield from node.graph.fixed_lengths(dimensions)
        return
    uses = Counter(dimensions)  # a number of a constant that two of them come from is shared
    own = [as_shared(each) if uses[each] > 1 else each for each in dimensions]
    for place, dimension in enumerate(own):
        axis = described.axis(shrinking.get(place, place))
        entry = _Entry(node, operand, len(own), place, dimension, axis)
        if place in shrinking:
            yield from entry.following(free.get(place))
        else:
            override = entry.override(free.get(place)) if place < described.rank else None
            yield from node.graph.fixed_lengths((dimension,), override)


@dataclass(frozen=True)
class _Entry:
    """The number at `place` of a shape operand of `count`, and the axis that it describes."""

    node: NodeAxes
    operand: int
    count: int
    place: int
    dimension: Dimension
    axis: Axis

    def following(self, free: int | None) -> Iterator[Constraint]:
        """What makes the number follow an axis that may shrink."""
        if self.dimension.is_number:
            yield from self._rewritten()
            return
        override = self.override(free)
        ratio = follows(self.dimension, self.axis.size)
        source = next(self.node.graph.fixed_lengths((self.dimension,)), None)
        if ratio is not None and source is not None:
            yield RatioConstraint(source.axis, self.axis, ratio, override=override)
            return
        yield FixedAxis(self.axis, COMPUTED, override)
        yield from self.node.graph.fixed_lengths((self.dimension,), override)

    def override(self, free: int | None) -> Rewrite | None:
        """The number overwritten by what may always stand there; None where nothing may."""
        if free is None:
            return None
        return replace(self._new_length(), value=free, lengths=self.dimension.lengths)

    def _new_length(self) -> Rewrite:
        key, tensor, axis = self.node.node.key, self.axis.operand.tensor, self.axis.number
        rewrite = Rewrite(key, self.place, tensor, axis, 0, self.axis.size)
        return replace(rewrite, operand=self.operand, entries=self.count)

    def _rewritten(self) -> Iterator[Constraint]:
        dimension, size = self.dimension, self.axis.size
        if dimension.now != size or size == 0:
            return
        if not dimension.shared:
            yield own_number(dimension, self.node, self.axis, size)
        elif self.node.graph.opset >= FIRST_OPSET_OF_WHERE:
            yield self._new_length()
        else:
            yield FixedAxis(self.axis, "a number of its shape is used elsewhere too")


def own_number(dimension: Dimension, node: NodeAxes, axis: Axis, stop: int) -> Rewrite:
    """A number of a constant behind an operand that counts the first indices of an axis."""
    tensor, reader = axis.operand.tensor, dimension.reader or node.node.key
    return Rewrite(
        reader, dimension.index, tensor, axis.number, 0, stop, constant=dimension.constant
    )
