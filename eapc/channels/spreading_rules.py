"""Axis rules of operators that repeat what they read, or fill a shape."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eapc.channels.axis_rules import Effect, Site, Tie, axis_rule, positive, tie_axes
from eapc.channels.elementwise_rules import tie_last_axes
from eapc.channels.targets import FIRST_OPSET_OF_WHERE, describe_target


@axis_rule("Expand")
def expansion(site: Site) -> Iterator[Effect]:
    """Axes that are there already follow; of those that are made every index is the same."""
    x, y = site.input(0), site.output()
    ties = [tie for tie in tie_last_axes(x, y) if y.shape[tie.other_axis] > 1]
    yield from ties
    yield from _filled(site, 1, {tie.other_axis for tie in ties})


@axis_rule("ConstantOfShape")
def filling(site: Site) -> Iterator[Effect]:
    """Every index is the same as any other: whatever reads them decides which are needed."""
    yield from _filled(site, 0, set())


def _filled(site: Site, operand: int, given: set[int]) -> Iterator[Effect]:
    """Each axis of the result may be shorter where its shape, an operand, says so.

    1 may always stand for axes that are given.
    """
    y = site.output()
    for axis in range(y.rank):
        yield Tie(y, axis, y, axis)
    entries = site.entries(site.node.input(operand))
    shift = y.rank - len(entries) if entries else 0  # a short shape describes the last axes
    described = {axis - shift: axis for axis in range(y.rank) if axis >= shift}
    free = {place: 1 for place, axis in described.items() if axis in given}
    has_where = site.opset >= FIRST_OPSET_OF_WHERE
    yield from describe_target(site, operand, y, described, free if has_where else {})


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
