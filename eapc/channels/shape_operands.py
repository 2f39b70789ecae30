"""Shapes as operands: which numbers of a shape must change with the axes that it describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

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
    for place, dimension in enumerate(dimensions):
        own = as_shared(dimension) if uses[dimension] > 1 else dimension
        axis = described.axis(shrinking.get(place, place))
        stop = axis.size if axis.number < described.rank else 0
        new = Rewrite(node.node.key, place, described.tensor, axis.number, 0, stop)
        new = replace(new, operand=operand, entries=len(dimensions))
        override = None
        if axis.number < described.rank and place in free:
            override = replace(new, value=free[place], lengths=own.lengths)
        if place not in shrinking:
            yield from node.graph.fixed_lengths((own,), override)
        elif own.is_number:
            yield from _rewritten(node, own, axis, new)
        else:
            yield from _following(node, own, axis, override)


def _following(
    node: NodeAxes, dimension: Dimension, axis: Axis, override: Rewrite | None
) -> Iterator[Constraint]:
    """What makes a number that is made of lengths follow an axis that may shrink."""
    ratio = follows(dimension, axis.size)
    source = next(node.graph.fixed_lengths((dimension,)), None)
    if ratio is not None and source is not None:
        yield RatioConstraint(source.axis, axis, ratio, override=override)
        return
    yield FixedAxis(axis, COMPUTED, override)
    yield from node.graph.fixed_lengths((dimension,), override)


def _rewritten(
    node: NodeAxes, dimension: Dimension, axis: Axis, new: Rewrite
) -> Iterator[Constraint]:
    """What makes a number of the file follow an axis that may shrink."""
    if dimension.now != axis.size or axis.size == 0:
        return
    if not dimension.shared:
        yield own_number(dimension, node, axis, axis.size)
    elif node.graph.opset >= FIRST_OPSET_OF_WHERE:
        yield new
    else:
        yield FixedAxis(axis, "a number of its shape is used elsewhere too")


def own_number(dimension: Dimension, node: NodeAxes, axis: Axis, stop: int) -> Rewrite:
    """A number of a constant behind an operand that counts the first indices of an axis."""
    tensor, reader = axis.operand.tensor, dimension.reader or node.node.key
    return Rewrite(
        reader, dimension.index, tensor, axis.number, 0, stop, constant=dimension.constant
    )
