"""From components of atoms to groups: channels that take as much of the same axes compete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eapc.channels.atoms import Atoms
from eapc.channels.groups import ChannelGroup, Slice
from eapc.model import Array


@dataclass(frozen=True)
class Made:
    """An axis, by number, of a node's weights that makes channels, or that reads them."""

    node: str
    axis: int
    makes: bool


@dataclass(frozen=True)
class _Touched:
    """The indices along an axis that belong to channels, in order, and the channels' labels."""

    indices: Array
    labels: Array


class Channels:
    """The alive components, each a channel, and which of them are of a kind."""

    def __init__(self, labels: Array, alive: Array, atoms: Atoms) -> None:
        self._atoms = atoms
        self._touched = [
            _touched(labels[axis.start : axis.start + axis.size], alive) for axis in atoms.axes
        ]
        self._kinds = _kinds(self._touched, len(alive))
        self._alive = alive

    def spare(self) -> int:
        """How many channels can go if one of each kind stays."""
        kinds = self._kinds[self._alive]
        return len(kinds) - len(np.unique(kinds))

    def groups(self, made: Sequence[Made]) -> tuple[ChannelGroup, ...]:
        """The groups, in the order of the nodes that make them."""
        order = {use.axis: place for place, use in reversed(list(enumerate(made))) if use.makes}
        found = []
        for kind, axes in self._axes_by_kind().items():
            first = min((axis for axis in axes if axis in order), key=order.__getitem__)
            start = int(self._of_kind(kind, first).indices[0])
            group = self._group(kind, axes, first, made)
            found.append(((order[first], start), replace(group, name=made[order[first]].node)))
        return _numbered([group for _, group in sorted(found, key=lambda entry: entry[0])])

    def _axes_by_kind(self) -> dict[int, list[int]]:
        axes: dict[int, list[int]] = {}
        for number, touched in enumerate(self._touched):
            for kind in np.unique(self._kinds[touched.labels]).tolist():
                axes.setdefault(kind, []).append(number)
        return axes

    def _of_kind(self, kind: int, axis: int) -> _Touched:
        touched = self._touched[axis]
        own = self._kinds[touched.labels] == kind
        return _Touched(touched.indices[own], touched.labels[own])

    def _group(self, kind: int, axes: list[int], first: int, made: Sequence[Made]) -> ChannelGroup:
        labels, places = np.unique(self._of_kind(kind, first).labels, return_index=True)
        rank = np.zeros(len(self._alive), np.int64)
        rank[labels[np.argsort(places)]] = np.arange(len(labels))
        slices = []
        for number in axes:
            axis, own = self._atoms.axes[number], self._of_kind(kind, number)
            indices = own.indices[np.lexsort((own.indices, rank[own.labels]))]
            rows = indices.reshape(len(labels), -1)
            slices.append(Slice(axis.tensor, axis.axis, rows, axis.reader))
        uses = [use for use in made if use.axis in set(axes)]
        return ChannelGroup(
            name="",
            size=len(labels),
            slices=tuple(slices),
            producers=tuple(dict.fromkeys(use.node for use in uses if use.makes)),
            consumers=tuple(dict.fromkeys(use.node for use in uses if not use.makes)),
        )


def _touched(labels: Array, alive: Array) -> _Touched:
    indices = np.flatnonzero(alive[labels])
    return _Touched(indices, labels[indices])


def _kinds(touched: Sequence[_Touched], count: int) -> Array:
    """A number for each label: equal where two take as many indices of each axis.

    All begin as one kind; each axis parts those that take different numbers of its indices.
    """
    kinds = np.zeros(count, np.int64)
    following = 1
    for axis in touched:
        labels, widths = np.unique(axis.labels, return_counts=True)
        pairs = kinds[labels] * (widths.max(initial=0) + 1) + widths
        found, places = np.unique(pairs, return_inverse=True)
        kinds[labels] = following + places
        following += len(found)
    return kinds


def _numbered(groups: Sequence[ChannelGroup]) -> tuple[ChannelGroup, ...]:
    """The groups with names of their own: further ones of a node are numbered."""
    seen: Counter[str] = Counter()
    named = []
    for group in groups:
        seen[group.name] += 1
        number = seen[group.name]
        named.append(replace(group, name=f"{group.name}#{number}") if number > 1 else group)
    return tuple(named)
