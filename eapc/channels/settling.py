"""Which indices of axes go together, which of those can go, and what keeps the others.

Every index of every axis longer than 1 has a number of its own (shorter axes have none, since
broadcasting makes them stand for any length). Dependencies between indices make a graph whose
connected components are what must stay or go as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from eapc.channels.constraints import Axis
from eapc.channels.groups import Rewrite
from eapc.model import Array

NO_INDICES = np.empty(0, np.int64)
Pairs = tuple[Array, Array]


class AxisIndices:
    """Numbers the indices of axes in the order in which they are first asked for."""

    def __init__(self) -> None:
        self.starts: dict[Axis, int] = {}
        self.count = 0

    def of(self, axis: Axis, indices: Array | None = None) -> Array:
        """The numbers of some indices of an axis, all if None; none where its length is below 2."""
        if axis.size < 2:
            return NO_INDICES
        if axis not in self.starts:
            self.starts[axis] = self.count
            self.count += axis.size
        return self.starts[axis] + (np.arange(axis.size) if indices is None else indices)


@dataclass(frozen=True)
class Maker:
    """An axis of a node's weights that makes channels, or that reads them, and the node's place."""

    place: int
    node: str
    axis: Axis
    makes: bool


@dataclass(frozen=True)
class Blocker:
    """What must stay: channels take indices of two axes in a ratio, or none of the first.

    `place` is where in the data flow, `rank` how much there the reason tells; an override that is
    written in the file lifts it.
    """

    place: float
    rank: int
    reason: str
    one: Array
    other: Array | None = None
    ratio: tuple[int, int] = (1, 1)
    override: Rewrite | None = None

    @property
    def may_be_met(self) -> bool:
        """True where something can be done about it."""
        return self.other is not None or self.override is not None

    def blocked(self, labels: Array) -> Array:
        """The components that must stay, some more than once; `labels` has each index's."""
        if self.other is None:
            return labels[self.one]
        ones = np.bincount(labels[self.one], minlength=len(labels))
        others = np.bincount(labels[self.other], minlength=len(labels))
        return np.flatnonzero(ones * self.ratio[1] != others * self.ratio[0])


@dataclass(frozen=True)
class Settled:
    """The component of every index; by component, do weights make it, and what blocks it.

    `first` is the place in `blockers` of the one that counts, beyond its end where none does.
    `overrides` are those that lift blockers.
    """

    labels: Array
    made: Array
    blockers: Sequence[Blocker]
    first: Array
    overrides: frozenset[Rewrite]

    @property
    def alive(self) -> Array:
        """(components,) True where weights make it and it can go."""
        alive: Array = self.made & (self.first == len(self.blockers))
        return alive


def settle(
    indices: AxisIndices,
    pairs: Iterable[Pairs],
    blockers: Sequence[Blocker],
    makers: Sequence[Maker],
) -> Settled:
    """What goes together and what can go, once everything has been said."""
    labels = _components(indices.count, pairs)
    overrides = _overrides(blockers, labels)
    left = [each for each in blockers if each.override not in overrides]
    left.sort(key=lambda each: (each.place, each.rank))
    made, since = np.zeros(indices.count, np.bool_), np.zeros(indices.count)
    for maker in reversed([maker for maker in makers if maker.makes]):
        own = labels[indices.of(maker.axis)]
        made[own], since[own] = True, maker.place
    return Settled(labels, made, left, _first(left, labels, since), overrides)


def _components(count: int, pairs: Iterable[Pairs]) -> Array:
    """The component of every index, as labels from 0."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = map(np.concatenate, zip((NO_INDICES, NO_INDICES), *pairs, strict=True))
    links = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(count, count))
    labels: Array = connected_components(links.tocsr(), directed=False)[1]
    return labels


def _overrides(blockers: Sequence[Blocker], labels: Array) -> frozenset[Rewrite]:
    """The overrides that lift blockers; what stands for any length may do so but once a shape."""
    blocked = np.zeros(len(labels), np.bool_)
    taken: dict[tuple[str, int | None], Rewrite] = {}
    for blocker in sorted(blockers, key=lambda each: each.may_be_met):
        own, override = blocker.blocked(labels), blocker.override
        if override is not None:
            place = (override.node, override.index if override.value == 1 else -1)
            if blocked[own].all() or taken.setdefault(place, override) == override:
                continue
        blocked[own] = True
    return frozenset(taken.values())


def _first(blockers: Sequence[Blocker], labels: Array, since: Array) -> Array:
    """By component, the place of the blocker that counts; beyond the last where there is none.

    That is the first that comes behind whatever makes the component first, at `since`, or the
    first of all where nothing does.
    """
    count = len(blockers)
    first = np.full(len(labels), 2 * count)
    for number, blocker in enumerate(blockers):
        own = blocker.blocked(labels)
        first[own] = np.minimum(first[own], number + count * (since[own] > blocker.place))
    return np.where(first < 2 * count, first % max(count, 1), count)
