"""Axis rules of operators that treat every element, or every channel, by itself."""

from __future__ import annotations

from collections.abc import Iterator

from eapc.channels.axis_rules import (
    Effect,
    LeftWholeError,
    Port,
    Site,
    Tie,
    axis_rule,
    axis_rule_of,
    positive,
    tie_axes,
)


@axis_rule_of("unary", "broadcasting")
def element_wise(site: Site) -> Iterator[Effect]:
    """Operands broadcast against the result, last axes aligned; what has length 1 is spread."""
    if "axis" in site.node.attributes or site.node.attribute("broadcast", 0):
        raise LeftWholeError("it broadcasts as before opset 7")
    results = site.results()
    for place, port in enumerate((*site.given(), *results[1:])):
        typed = site.node.op_type == "CastLike" and place == 1  # nothing but its type is read
        yield from tie_last_axes(port, port if typed else results[0])


def tie_last_axes(port: Port, wide: Port) -> Iterator[Tie]:
    """Tie the axes of `port` to the last ones of `wide`, where they are as long."""
    shift = wide.rank - port.rank
    for axis, size in enumerate(port.shape):
        if size == wide.shape[axis + shift]:
            yield Tie(port, axis, wide, axis + shift)


@axis_rule("QuantizeLinear", "DequantizeLinear")
def quantization(site: Site) -> Iterator[Effect]:
    """Scale and zero point follow `axis`, unless there is one for all."""
    if site.node.attribute("block_size", 0):
        raise LeftWholeError("it is quantized by blocks")
    x, y = site.input(0), site.output()
    yield from tie_axes(x, y, range(x.rank))
    axis = positive(site.node.attribute("axis", 1), x.rank)
    for port in site.given(1):
        if port.rank == 1 and axis < x.rank and port.shape[0] == x.shape[axis]:
            yield Tie(port, 0, y, axis)


@axis_rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(site: Site) -> Iterator[Effect]:
    """`axis` stays whole; before opset 13 so do all behind it."""
    x, y = site.input(0), site.output()
    axis = positive(site.node.attribute("axis", -1 if site.opset >= 13 else 1), x.rank)
    behind = () if site.opset < 13 else range(axis + 1, x.rank)
    yield from tie_axes(x, y, (*range(axis), *behind))


@axis_rule("LpNormalization", "CumSum", "LRN", "MeanVarianceNormalization")
def mixing_along_axes(site: Site) -> Iterator[Effect]:
    """The axes along which elements mix stay whole."""
    x, y = site.input(0), site.output()
    mixed = {positive(axis, x.rank) for axis in _mixed_axes(site)}
    yield from tie_axes(x, y, (axis for axis in range(x.rank) if axis not in mixed))


def _mixed_axes(site: Site) -> list[int]:
    if site.node.op_type == "LRN":
        return [1]  # neighbouring channels
    if site.node.op_type == "MeanVarianceNormalization":
        return list(site.node.attribute("axes", [0, 2, 3]))
    if site.node.op_type == "CumSum":
        return site.integers(1, "axis") or [0]
    return [int(site.node.attribute("axis", -1))]


@axis_rule_of("pooling")
def pooling(site: Site) -> Iterator[Effect]:
    """Channels stay apart; positions stay whole."""
    if any(site.is_read(name) for name in site.node.outputs[1:] if name):
        raise LeftWholeError("its indices count channels")
    yield from tie_axes(site.input(0), site.output(), (0, 1))


@axis_rule_of("reduction")
def reduction(site: Site) -> Iterator[Effect]:
    """The reduced axes stay whole; the others keep their order in the result."""
    x, y = site.input(0), site.output()
    reduced = {positive(axis, x.rank) for axis in _reduced_axes(site, x.rank)}
    kept = [axis for axis in range(x.rank) if axis not in reduced]
    keeps = bool(site.node.attribute("keepdims", 1))
    for place, axis in enumerate(kept):
        yield Tie(x, axis, y, axis if keeps else place)


def _reduced_axes(site: Site, rank: int) -> list[int]:
    if site.node.op_type.startswith("Arg"):
        return [int(site.node.attribute("axis", 0))]
    axes = site.integers(1, "axes")
    if not axes:
        return [] if site.node.attribute("noop_with_empty_axes", 0) else list(range(rank))
    return axes
