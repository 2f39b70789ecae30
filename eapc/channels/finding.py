"""Finding the channel groups of a graph, the best of the ways in which axes can depend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np

from eapc.channels import (
    axiswise_rules,
    product_rules,
    quantized_rules,
    regrouping_rules,
    view_rules,
)
from eapc.channels.branches import with_branches
from eapc.channels.constraints import Axis, Dependency, FixedAxis, Ways
from eapc.channels.groups import ChannelGroup, ChannelGroups, Rewrite, Slice
from eapc.channels.nodes import Graph, NodeConstraints, constraints_of
from eapc.channels.settling import AxisIndices, Blocker, Settled, ends, numbered, settle
from eapc.model import Array, Model, Shapes

RULE_MODULES = (axiswise_rules, product_rules, quantized_rules, regrouping_rules, view_rules)
"""Imported for the rules that they enter in the table."""


def find_groups(model: Model, shapes: Shapes) -> ChannelGroups:
    """Every channel group of a model's main graph.

    Where a node's axes can depend on each other in several ways (see `Ways`), the first is taken
    unless nothing around the node can shrink then and another way lets more channels go.
    """
    return groups_and_constraints(model, shapes)[0]


def groups_and_constraints(
    model: Model, shapes: Shapes
) -> tuple[ChannelGroups, list[NodeConstraints]]:
    """The channel groups, and what each node says of its axes, in data-flow order."""
    graph = Graph(model, shapes)
    search = _Search(graph)
    search.improve()
    settled = search.settled
    groups, branches = with_branches(graph, _Channels(settled).groups())
    everything = [each.stated for each in settled.nodes]
    rewrites = [rewrite for stated in everything for rewrite in stated.of(Rewrite)]
    rewrites += sorted(settled.overrides, key=lambda each: (each.node, each.index))
    left_whole = {}
    for stated in everything:
        fixed = (e.reason for e in stated.of(FixedAxis) if e.override not in settled.overrides)
        reason = stated.reason or next(filter(None, fixed), "")
        if reason:
            left_whole[stated.key] = reason
    found = ChannelGroups(groups, left_whole, tuple(rewrites), branches, search.held())
    return found, everything


class _Search:
    """The ways chosen so far, and what they leave alive."""

    def __init__(self, graph: Graph) -> None:
        stated, self._indices = [constraints_of(node) for node in graph.nodes()], AxisIndices()
        nodes = [numbered(place, each, self._indices) for place, each in enumerate(stated)]
        self._ends = tuple(ends(graph, stated, self._indices))
        self.settled = settle(self._indices, nodes, self._ends)
        self._spare: int | None = None
        self._further: dict[str, Blocker] = {}

    def held(self) -> dict[str, str]:
        """Why, by node with weights, where none of the channels that it makes can go.

        Where nodes have several ways, by the way on which channels come furthest.
        """
        found = self.settled.held()
        return {node: self._furthest(node, blocker).reason for node, blocker in found.items()}

    def _furthest(self, node: str, blocker: Blocker) -> Blocker:
        known = self._further.get(node, blocker)
        return known if known.place >= blocker.place else blocker

    def improve(self) -> None:
        """Try other ways around nodes where nothing can shrink; keep what lets more go.

        First one node at a time, then all at once that are alike, as those of layers which share
        their weights must be.
        """
        alike: dict[tuple[object, ...], list[int]] = {}
        for place, stated in enumerate(each.stated for each in self.settled.nodes):
            self._try_all([place])
            operands = (*stated.axes.inputs, *stated.axes.outputs)
            shapes = tuple(operand and operand.shape for operand in operands)
            alike.setdefault((stated.axes.op_type, shapes), []).append(place)
        for places in alike.values():
            if len(places) > 1:
                self._try_all(places)

    def _try_all(self, places: list[int]) -> None:
        stated = {place: self.settled.nodes[place].stated for place in places}
        ways = [each.count for one in stated.values() for each in one.of(Ways)]
        for way in range(1, max(ways, default=1)):
            stated = {place: self.settled.nodes[place].stated for place in places}
            if any(map(self._shrinks, stated.values())):
                return
            others = {p: constraints_of(replace(one.axes, way=way)) for p, one in stated.items()}
            if any(
                self._concerns_channels(stated[place], other) for place, other in others.items()
            ):
                self._try(others)

    def _try(self, others: Mapping[int, NodeConstraints]) -> None:
        nodes = list(self.settled.nodes)
        for place, other in others.items():
            nodes[place] = numbered(place, other, self._indices)
        settled = settle(self._indices, nodes, self._ends)
        if self._spare is None:
            self._spare = _Channels(self.settled).spare()
        spare = _Channels(settled).spare()
        if spare > self._spare:
            self.settled, self._spare = settled, spare
            return
        for node, blocker in settled.held().items():
            self._further[node] = self._furthest(node, blocker)

    def _shrinks(self, stated: NodeConstraints) -> bool:
        """True where an axis of the node's first result can shrink."""
        operand = stated.axes.outputs[0]
        axes = operand.axes() if operand else ()
        return any(self.settled.alive[self.settled.components(axis)].any() for axis in axes)

    def _concerns_channels(self, stated: NodeConstraints, other: NodeConstraints) -> bool:
        """True where the other way ties anew what weights make; most ties are of positions."""
        known = {(each.one, each.other) for each in stated.of(Dependency)}
        new = [each for each in other.of(Dependency) if (each.one, each.other) not in known]
        pairs = numbered(0, replace(other, all=tuple(new)), self._indices).pairs
        made, labels = self.settled.made, self.settled.labels
        return any(made[labels[side]].any() for pair in pairs for side in pair)


# --- from components to groups: what takes as much of the same axes competes ---------------------


class _Channels:
    """The components that can go, each a channel, and which of them are of a kind."""

    def __init__(self, settled: Settled) -> None:
        users = [(each.stated.key, user) for each in settled.nodes for user in each.makers]
        self._makers = [(node, user.axis) for node, user in users if user.makes]
        self._readers = [(node, user.axis) for node, user in users if not user.makes]
        self._labels = {axis: settled.components(axis) for axis in settled.indices.starts}
        self._kinds = _kinds(self._labels.values(), settled.alive)

    def spare(self) -> int:
        """How many channels can go if one of each kind stays."""
        kinds = self._kinds[self._kinds != _STAYS]
        return len(kinds) - len(np.unique(kinds))

    def groups(self) -> tuple[ChannelGroup, ...]:
        """The groups, in the order of the nodes that make them; further ones of a node numbered."""
        order = {axis: place for place, (_, axis) in reversed(list(enumerate(self._makers)))}
        axes: dict[int, dict[Axis, None]] = {}
        for axis, labels in self._labels.items():
            for kind in np.unique(self._kinds[labels]).tolist():
                axes.setdefault(kind, {})[axis] = None
        axes.pop(_STAYS, None)
        found = []
        for kind, own in axes.items():
            first = min((axis for axis in own if axis in order), key=order.__getitem__)
            start = int(self._of_kind(kind, first)[0])
            found.append((order[first], start, self._group(kind, own, first)))
        seen: Counter[str] = Counter()
        groups = []
        for place, _, group in sorted(found, key=lambda each: each[:2]):
            name, _ = self._makers[place]
            seen[name] += 1
            further = f"#{seen[name]}" if seen[name] > 1 else ""
            groups.append(replace(group, name=name + further))
        return tuple(groups)

    def _of_kind(self, kind: int, axis: Axis) -> Array:
        """The indices along an axis that belong to channels of a kind."""
        return np.flatnonzero(self._kinds[self._labels[axis]] == kind)

    def _group(self, kind: int, axes: Collection[Axis], first: Axis) -> ChannelGroup:
        channels = self._labels[first][self._of_kind(kind, first)]
        labels, places = np.unique(channels, return_index=True)
        rank = np.zeros(len(self._kinds), np.int64)
        rank[labels[np.argsort(places)]] = np.arange(len(labels))
        slices = []
        for axis in axes:
            own, operand = self._of_kind(kind, axis), axis.operand
            indices = own[np.lexsort((own, rank[self._labels[axis][own]]))]
            rows = indices.reshape(len(labels), -1)
            slices.append(Slice(operand.tensor, axis.number, rows, operand.reader))
        producers = (node for node, axis in self._makers if axis in axes)
        consumers = (node for node, axis in self._readers if axis in axes)
        return ChannelGroup(
            name="",
            size=len(labels),
            slices=tuple(slices),
            producers=tuple(dict.fromkeys(producers)),
            consumers=tuple(dict.fromkeys(consumers)),
        )


_STAYS = -1


def _kinds(axes: Iterable[Array], alive: Array) -> Array:
    """A number for each component: equal where two take as many indices of each axis.

    All that can go begin as one kind; each axis parts those that take different numbers of its
    indices.
    """
    kinds = np.where(alive, 0, _STAYS)
    following, seen = 1, set[bytes]()
    for components in axes:
        living = components[alive[components]]
        mark = living.tobytes()
        if not len(living) or mark in seen:  # most axes are like another: it parts nothing more
            continue
        seen.add(mark)
        labels, widths = np.unique(living, return_counts=True)
        pairs = kinds[labels] * (widths.max(initial=0) + 1) + widths
        found, places = np.unique(pairs, return_inverse=True)
        kinds[labels] = following + places
        following += len(found)
    return kinds
