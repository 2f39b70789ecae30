"""Axis rules of operators that repeat what they read, or fill a shape."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eapc.channels.axis_rules import Effect, Site, Tie, axis_rule, positive, tie_axes
from eapc.channels.elementwise_rules import tie_last_axes
from eapc.channels.targets import describe_target


@axis_rule("Expand")
def expansion(site: Site) -> Iterator[Effect]:
    """Axes that are there already follow; of those that are made every index is the same."""
    x, y = site.input(0), site.output()
    yield from tie_last_axes(x, y)
    yield from _filled(site, 1)


@axis_rule("ConstantOfShape")
def filling(site: Site) -> Iterator[Effect]:
    """Every index is the same as any other: whatever reads them decides which are needed."""
    yield from _filled(site, 0)


def _filled(site: Site, operand: int) -> Iterator[Effect]:
    """Each axis of the result may be shorter where its shape, an operand, says so."""
    y = site.output()
    for axis in range(y.rank):
        yield Tie(y, axis, y, axis)
    entries = site.entries(site.node.input(operand))
    shift = y.rank - len(entries) if entries else 0  # a short shape describes the last axes
    described = {axis - shift: axis for axis in range(y.rank) if axis >= shift}
    yield from describe_target(site, operand, y, described)


@axis_rule("Tile")
def tiling(site: Site) -> Iterator[Effect]:
    """Copies of an index go together; an axis that is made of one index stays whole."""
    x, y = site.input(0), site.output()
    for axis, size in enumerate(x.shape):
        if size > 1:
            yield Tie(y, axis, x, axis, None, np.arange(y.shape[axis]) % size)


@axis_rule("Resize", "Upsample")
def resizing(site: Site) -> Iterator[Effect]:
    """Axes that keep their length follow; those that are resized stay whole."""
    x, y = site.input(0), site.output()
    ties = list(tie_axes(x, y, range(x.rank)))
    yield from ties
    if site.node.input(3):
        axes = site.node.attribute("axes", range(x.rank))
        places = {positive(axis, x.rank): place for place, axis in enumerate(axes)}
        kept = {tie.one_axis for tie in ties}
        yield from describe_target(
            site, 3, y, {place: axis for axis, place in places.items() if axis in kept}
        )
