"""Axis rules of operators that move, join, cut or rename elements."""

from __future__ import annotations

from collections.abc import Iterator

from eapc.channels.axis_rules import (
    Effect,
    LeftWholeError,
    Site,
    Tie,
    axis_rule,
    number_at,
    positive,
    span,
    tie_axes,
)


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
            yield number_at(site, 1, "split", index, part, axis, (0, part.shape[axis]))
        return
    if len({part.shape[axis] for part in parts}) > 1:
        raise LeftWholeError("its parts are of unequal length without sizes")
    for part in parts[1:]:
        yield Tie(part, axis, parts[0], axis)


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
            yield number_at(site, 1, "pads", place, y, axis, (0, before))
            ends = (before + size, before + size + after)
            yield number_at(site, 1, "pads", place + len(given), y, axis, ends)


@axis_rule("Shape", "Size")
def lengths(site: Site) -> Iterator[Effect]:
    """Lengths may change: whoever reads the result sees to it."""
    x = site.input(0)
    for axis in range(x.rank):
        yield Tie(x, axis, x, axis)
