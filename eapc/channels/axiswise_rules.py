"""Axis rules of operators whose result has the operand's axes: element-wise, or mixing some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from eapc.channels.constraints import (
    Constraint,
    Dependency,
    FixedNodeError,
    last_axes,
    same_axes,
)
from eapc.channels.nodes import NodeAxes, axis_rule


@axis_rule("unary", "broadcasting")
def element_wise(node: NodeAxes) -> Iterator[Constraint]:
    """Operands broadcast against the result, last axes aligned; what has length 1 is spread."""
    if "axis" in node.node.attributes or node.attribute("broadcast", 0):
        raise FixedNodeError("it broadcasts as before opset 7")
    results = node.results()
    for place, operand in enumerate((*node.given(), *results[1:])):
        typed = node.op_type == "CastLike" and place == 1  # nothing but its type is read
        yield from last_axes(operand, operand if typed else results[0])


_Axes = Callable[[NodeAxes, int], Iterable[int]]
_MIXED: dict[str, _Axes] = {
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"),
        lambda node, rank: range(node.attribute("axis", -1) % rank, rank),
    ),
    **dict.fromkeys(
        ("Softmax", "LogSoftmax", "Hardmax"),
        lambda node, rank: (
            [node.attribute("axis", -1)]
            if node.graph.opset >= 13
            else range(node.attribute("axis", 1) % rank, rank)
        ),
    ),
    "LpNormalization": lambda node, _: [node.attribute("axis", -1)],
    "MeanVarianceNormalization": lambda node, _: node.attribute("axes", [0, 2, 3]),
    "LRN": lambda *_: [1],  # neighbouring channels
    "CumSum": lambda node, _: node.integers(1, "axis") or [0],
}
"""Operator -> the axes, of a rank, along which it mixes elements."""


@axis_rule(*_MIXED)
def mixing_along_axes(node: NodeAxes) -> Iterator[Constraint]:
    """The axes along which elements mix stay whole."""
    x, y = node.input(0), node.output()
    mixed = {axis % x.rank for axis in _MIXED[node.op_type](node, x.rank)}
    yield from same_axes(x, y, (axis for axis in range(x.rank) if axis not in mixed))


@axis_rule("pooling")
def pooling(node: NodeAxes) -> Iterator[Constraint]:
    """Channels stay apart; positions stay whole."""
    if any(node.graph.is_read(name) for name in node.node.outputs[1:] if name):
        raise FixedNodeError("its indices count channels")
    yield from same_axes(node.input(0), node.output(), (0, 1))


@axis_rule("reduction")
def reduction(node: NodeAxes) -> Iterator[Constraint]:
    """The reduced axes stay whole; the others keep their order in the result."""
    x, y = node.input(0), node.output()
    given = [int(node.attribute("axis", 0))]
    if not node.op_type.startswith("Arg"):
        everything = [] if node.attribute("noop_with_empty_axes", 0) else list(range(x.rank))
        given = node.integers(1, "axes") or everything
    reduced = {axis % x.rank for axis in given}
    kept = [axis for axis in range(x.rank) if axis not in reduced]
    keeps = bool(node.attribute("keepdims", 1))
    for place, axis in enumerate(kept):
        yield Dependency(x.axis(axis), y.axis(axis if keeps else place))


@axis_rule("BatchNormalization", "InstanceNormalization")
def channel_normalization(node: NodeAxes) -> Iterator[Constraint]:
    """Parameters and statistics follow axis 1; an instance's positions are mixed."""
    x, y = node.input(0), node.output()
    yield from same_axes(x, y, range(x.rank) if node.op_type.startswith("Batch") else (0, 1))
    for operand in (*node.given(1), *node.results()[1:]):
        yield Dependency(operand.axis(0), y.axis(1))


@axis_rule("GroupNormalization")
def group_normalization(node: NodeAxes) -> Iterator[Constraint]:
    """The channels of a group share their statistics: a group goes whole or stays."""
    x, y = node.input(0), node.output()
    groups, channels = int(node.attribute("num_groups", 1)), x.shape[1]
    if groups < 2 or channels % groups:
        raise FixedNodeError("all channels share their statistics")
    width, places = channels // groups, np.arange(channels)
    yield from same_axes(x, y, (0, 1))
    yield Dependency(y.axis(1), y.axis(1), None, places // width * width)
    for operand in node.given(1):  # one of each for a group before opset 21, then for a channel
        per = channels // operand.shape[0]
        yield Dependency(y.axis(1), operand.axis(0), None, places // per)
    yield node.count(y.axis(1), 0, channels, "num_groups", per=width)
