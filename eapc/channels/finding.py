"""Finding the channel groups of a graph, the best of the ways in which axes can depend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from eapc.channels.blockers import bound, ends, held, makers
from eapc.channels.branches import with_branches
from eapc.channels.constraints import Dependency, FixedAxis, Ways
from eapc.channels.grouping import Channels
from eapc.channels.groups import ChannelGroups, Rewrite
from eapc.channels.node_constraints import NodeConstraints, constraints_of
from eapc.channels.nodes import Graph
from eapc.channels.settling import AxisIndices, Blocker, Maker, Settled, settle
from eapc.model import Model, Shapes


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
    groups, branches = with_branches(model, graph.shape, search.channels().groups(search.makers()))
    overrides = search.settled.overrides
    rewrites = [rewrite for said in search.said for rewrite in said.of(Rewrite)]
    rewrites += sorted(overrides, key=lambda each: (each.node, each.index))
    left_whole = {}
    for said in search.said:
        fixed = (each.reason for each in said.of(FixedAxis) if each.override not in overrides)
        reason = said.reason or next(filter(None, fixed), "")
        if reason:
            left_whole[said.key] = reason
    found = ChannelGroups(groups, left_whole, tuple(rewrites), branches, search.held())
    return found, search.said


class _Search:
    """The ways chosen so far, by node in data-flow order, and what they leave alive."""

    def __init__(self, graph: Graph) -> None:
        self.said = [constraints_of(node) for node in graph.nodes()]
        self._indices = AxisIndices()
        self._bound = [bound(place, each, self._indices) for place, each in enumerate(self.said)]
        self._ends = tuple(ends(graph, self.said, self._indices))
        self.settled = self._settle()
        self._further: dict[str, Blocker] = {}

    def channels(self) -> Channels:
        """What can go."""
        return Channels(self.settled, self._indices)

    def makers(self) -> list[Maker]:
        """The axes of weights that make and read channels, in data-flow order."""
        return makers(self.said)

    def held(self) -> dict[str, str]:
        """Why, by node with weights, where none of the channels that it makes can go.

        Where nodes have several ways, by the way on which channels come furthest.
        """
        found = held(self.said, self.settled, self._indices)
        return {
            node: max(blocker, self._further.get(node, blocker), key=lambda each: each.place).reason
            for node, blocker in found.items()
        }

    def improve(self) -> None:
        """Try other ways around nodes where nothing can shrink; keep what lets more go.

        First one node at a time, then all at once that are alike, as those of layers which share
        their weights must be.
        """
        alike: dict[tuple[object, ...], list[int]] = {}
        for place, said in enumerate(self.said):
            self._try_all([place])
            operands = (*said.axes.inputs, *said.axes.outputs)
            shapes = tuple(operand and operand.shape for operand in operands)
            alike.setdefault((said.axes.op_type, shapes), []).append(place)
        for places in alike.values():
            if len(places) > 1:
                self._try_all(places)

    def _try_all(self, places: list[int]) -> None:
        ways = [each.count for place in places for each in self.said[place].of(Ways)]
        for way in range(1, max(ways, default=1)):
            if any(self._shrinks(self.said[place]) for place in places):
                return
            others = {p: constraints_of(replace(self.said[p].axes, way=way)) for p in places}
            if any(self._concerns_channels(place, other) for place, other in others.items()):
                self._try(others)

    def _try(self, others: Mapping[int, NodeConstraints]) -> None:
        before = list(self.said), list(self._bound), self.settled
        spare = self.channels().spare()
        for place, other in others.items():
            self.said[place], self._bound[place] = other, bound(place, other, self._indices)
        self.settled = self._settle()
        if self.channels().spare() <= spare:
            for node, blocker in held(self.said, self.settled, self._indices).items():
                known = self._further.get(node, blocker)
                self._further[node] = max(known, blocker, key=lambda each: each.place)
            self.said, self._bound, self.settled = before

    def _shrinks(self, said: NodeConstraints) -> bool:
        """True where an axis of the node's first result can shrink."""
        operand = said.axes.outputs[0]
        numbers = map(self._indices.of, operand.axes() if operand else ())
        return any(self.settled.alive[self.settled.labels[own]].any() for own in numbers)

    def _concerns_channels(self, place: int, other: NodeConstraints) -> bool:
        """True where the other way ties anew what weights make; most ties are of positions."""
        known = {(each.one, each.other) for each in self.said[place].of(Dependency)}
        new = [each for each in other.of(Dependency) if (each.one, each.other) not in known]
        pairs = bound(place, replace(other, constraints=tuple(new)), self._indices).pairs
        made, labels = self.settled.made, self.settled.labels
        return any(made[labels[side]].any() for pair in pairs for side in pair)

    def _settle(self) -> Settled:
        pairs = [pair for each in self._bound for pair in each.pairs]
        blockers = [blocker for each in self._bound for blocker in each.blockers]
        return settle(self._indices, pairs, [*blockers, *self._ends], self.makers())
