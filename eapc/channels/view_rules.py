"""Axis rules of operators that move, join, cut or rename elements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from eapc.channels.axis_rules import (
    Effect,
    LeftWholeError,
    Port,
    Site,
    Tie,
    axis_rule,
    positive,
    span,
    tie_axes,
)
from eapc.channels.groups import Number


@axis_rule("Transpose")
def transposition(site: Site) -> Iterator[Effect]:
    """Axis i of the result is axis perm[i] of the operand."""
    x, y = site.input(0), site.output()
    for place, axis in enumerate(site.node.attribute("perm", range(x.rank)[::-1])):
        yield Tie(x, axis, y, place)


@axis_rule("Concat")
def concatenation(site: Site) -> Iterator[Effect]:
    """Operands lie one behind the other along `axis`."""
    y = site.output()
    axis = positive(site.node.attribute("axis", 1), y.rank)
    start = 0
    for port in site.given():
        yield from tie_axes(port, y, (a for a in range(y.rank) if a != axis))
        yield Tie(port, axis, y, axis, None, span(start, port.shape[axis]))
        start += port.shape[axis]


@axis_rule("Split")
def split(site: Site) -> Iterator[Effect]:
    """Results lie one behind the other along `axis`; without sizes they stay equally long."""
    x, parts = site.input(0), site.results()
    if len(parts) < len(site.node.outputs):
        raise LeftWholeError("a part of it is left out")
    axis = positive(site.node.attribute("axis", 0), x.rank)
    start = 0
    for part in parts:
        yield from tie_axes(part, x, (a for a in range(x.rank) if a != axis))
        yield Tie(part, axis, x, axis, None, span(start, part.shape[axis]))
        start += part.shape[axis]
    if site.integers(1, "split") is not None:
        for index, part in enumerate(parts):
            yield _number(site, 1, "split", index, part, axis, (0, part.shape[axis]))
        return
    if len({part.shape[axis] for part in parts}) > 1:
        raise LeftWholeError("its parts are of unequal length without sizes")
    for part in parts[1:]:
        yield Tie(part, axis, parts[0], axis)


def _number(
    site: Site,
    operand: int,
    attribute: str,
    index: int,
    port: Port,
    axis: int,
    bounds: tuple[int, int],
) -> Number:
    """A number of an attribute, or of a constant operand, that counts indices of an axis."""
    number = Number(site.node.key, index, port.tensor, axis, *bounds)
    if attribute in site.node.attributes:
        return replace(number, attribute=attribute)
    return replace(number, constant=site.node.input(operand))


@axis_rule("Slice")
def cut(site: Site) -> Iterator[Effect]:
    """Axes that are not cut follow; of one that is cut in steps of one, the part in between."""
    x, y = site.input(0), site.output()
    cuts = _cuts(site, x)
    yield from tie_axes(x, y, (axis for axis in range(x.rank) if axis not in cuts))
    for axis, (index, bounds) in cuts.items():
        if bounds is None:
            continue
        start, stop = bounds
        yield Tie(x, axis, y, axis, span(start, stop - start))
        yield _number(site, 1, "starts", index, x, axis, (0, start))
        if stop < x.shape[axis]:
            yield _number(site, 2, "ends", index, x, axis, (0, stop))


_Cuts = dict[int, tuple[int, tuple[int, int] | None]]


def _cuts(site: Site, x: Port) -> _Cuts:
    """Axis -> place in the operands, and start and stop where both are known and the step is 1."""
    axes = site.integers(3, "axes")
    try:
        starts, ends = site.integers(1, "starts"), site.integers(2, "ends")
        steps = site.integers(4, "steps")
    except LeftWholeError:
        if axes is None:
            raise
        return {positive(axis, x.rank): (i, None) for i, axis in enumerate(axes)}
    if starts is None or ends is None:
        raise LeftWholeError("its bounds are missing")
    steps = steps or [1] * len(starts)
    found: _Cuts = {}
    for i, axis in enumerate(axes or range(len(starts))):
        size = x.shape[axis]
        start, stop, step = slice(starts[i], ends[i], steps[i]).indices(size)
        if (start, stop, step) != (0, size, 1):
            found[positive(axis, x.rank)] = (
                i,
                (start, stop) if step == 1 <= stop - start else None,
            )
    return found


@axis_rule("Pad")
def padding(site: Site) -> Iterator[Effect]:
    """What is padded stands behind what is put before it; padding counts the rest of y."""
    x, y = site.input(0), site.output()
    axes = site.integers(3, "axes") or list(range(x.rank))
    given = [positive(axis, x.rank) for axis in axes]
    yield from tie_axes(x, y, (axis for axis in range(x.rank) if axis not in given))
    pads = site.integers(1, "pads")
    if pads is None:
        raise LeftWholeError("its pads are missing")
    constant_mode = site.node.attribute("mode", "constant") == "constant"
    for place, axis in enumerate(given):
        before, after = pads[place], pads[place + len(given)]
        if before == 0 == after:
            yield from tie_axes(x, y, (axis,))
        elif before >= 0 <= after and constant_mode:
            size = x.shape[axis]
            yield Tie(x, axis, y, axis, None, span(before, size))
            yield _number(site, 1, "pads", place, y, axis, (0, before))
            ends = (before + size, before + size + after)
            yield _number(site, 1, "pads", place + len(given), y, axis, ends)


@axis_rule("Gather")
def gathering(site: Site) -> Iterator[Effect]:
    """The axis that is picked from stays whole; indices take its place in the result."""
    data, indices, y = site.input(0), site.input(1), site.output()
    axis = positive(site.node.attribute("axis", 0), data.rank)
    for place in range(data.rank):
        if place != axis:
            yield Tie(data, place, y, place if place < axis else place + indices.rank - 1)
    for place in range(indices.rank):
        yield Tie(indices, place, y, axis + place)


@axis_rule("Shape", "Size")
def lengths(site: Site) -> Iterator[Effect]:
    """Lengths may change: whoever reads the result sees to it."""
    x = site.input(0)
    for axis in range(x.rank):
        yield Tie(x, axis, x, axis)
