"""From components of indices to groups: channels that take as much of the same axes compete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eapc.channels.constraints import Axis
from eapc.channels.groups import ChannelGroup, Slice
from eapc.channels.settling import AxisIndices, Maker, Settled
from eapc.model import Array


@dataclass(frozen=True)
class _Touched:
    """The indices along an axis that belong to channels, in order, and the channels' labels."""

    indices: Array
    labels: Array

    def only(self, chosen: Array) -> _Touched:
        """Those of some labels; `chosen` says for every label whether it is one."""
        own = chosen[self.labels]
        return _Touched(self.indices[own], self.labels[own])


class Channels:
    """The components that can go, each a channel, and which of them are of a kind."""

    def __init__(self, settled: Settled, indices: AxisIndices) -> None:
        self._alive = settled.alive
        self._touched: dict[Axis, _Touched] = {}
        for axis in indices.starts:
            everything = _Touched(np.arange(axis.size), settled.labels[indices.of(axis)])
            self._touched[axis] = everything.only(self._alive)
        self._kinds = _kinds(self._touched.values(), len(self._alive))

    def spare(self) -> int:
        """How many channels can go if one of each kind stays."""
        kinds = self._kinds[self._alive]
        return len(kinds) - len(np.unique(kinds))

    def groups(self, makers: Sequence[Maker]) -> tuple[ChannelGroup, ...]:
        """The groups, in the order of the nodes that make them; further ones of a node numbered."""
        order = {m.axis: place for place, m in reversed(list(enumerate(makers))) if m.makes}
        axes: dict[int, dict[Axis, None]] = {}
        for axis, touched in self._touched.items():
            for kind in np.unique(self._kinds[touched.labels]).tolist():
                axes.setdefault(kind, {})[axis] = None
        found = []
        for kind, own in axes.items():
            first = min((axis for axis in own if axis in order), key=order.__getitem__)
            start = int(self._touched[first].only(self._kinds == kind).indices[0])
            found.append((order[first], start, self._group(kind, own, first, makers)))
        seen: Counter[str] = Counter()
        groups = []
        for place, _, group in sorted(found, key=lambda each: each[:2]):
            name = makers[place].node
            seen[name] += 1
            further = f"#{seen[name]}" if seen[name] > 1 else ""
            groups.append(replace(group, name=name + further))
        return tuple(groups)

    def _group(
        self, kind: int, axes: Collection[Axis], first: Axis, makers: Sequence[Maker]
    ) -> ChannelGroup:
        chosen = self._kinds == kind
        labels, places = np.unique(self._touched[first].only(chosen).labels, return_index=True)
        rank = np.zeros(len(chosen), np.int64)
        rank[labels[np.argsort(places)]] = np.arange(len(labels))
        slices = []
        for axis in axes:
            own, operand = self._touched[axis].only(chosen), axis.operand
            indices = own.indices[np.lexsort((own.indices, rank[own.labels]))]
            rows = indices.reshape(len(labels), -1)
            slices.append(Slice(operand.tensor, axis.number, rows, operand.reader))
        users = [maker for maker in makers if maker.axis in axes]
        return ChannelGroup(
            name="",
            size=len(labels),
            slices=tuple(slices),
            producers=tuple(dict.fromkeys(user.node for user in users if user.makes)),
            consumers=tuple(dict.fromkeys(user.node for user in users if not user.makes)),
        )


def _kinds(touched: Iterable[_Touched], count: int) -> Array:
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
