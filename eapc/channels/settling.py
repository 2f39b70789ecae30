"""Which indices of axes go together, which of those can go, and what blocks the others.

Every index of every axis longer than 1 has a number of its own (shorter axes have none, since
broadcasting makes them stand for any length). Dependencies between indices make a graph whose
connected components are what must stay or go as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from eapc.channels.constraints import Axis, Dependency, FixedAxis, RatioConstraint, Weights
from eapc.channels.groups import Rewrite
from eapc.channels.nodes import Graph, NodeConstraints
from eapc.model import Array

ONE_CHANNEL = "there is one channel, and one must stay"
NO_INDICES = np.empty(0, np.int64)


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

    def blocked(self, labels: Array) -> Array:
        """The components that must stay, some more than once; `labels` has each index's."""
        if self.other is None:
            return labels[self.one]
        ones = np.bincount(labels[self.one], minlength=len(labels))
        others = np.bincount(labels[self.other], minlength=len(labels))
        return np.flatnonzero(ones * self.ratio[1] != others * self.ratio[0])


@dataclass(frozen=True)
class NumberedConstraints:
    """What one node says, in numbered indices; `makers` are weights with several channels."""

    stated: NodeConstraints
    pairs: tuple[tuple[Array, Array], ...]
    blockers: tuple[Blocker, ...]
    makers: tuple[Weights, ...]


def numbered(place: int, stated: NodeConstraints, indices: AxisIndices) -> NumberedConstraints:
    """The pairs that a node puts together, and what it blocks."""
    axes = stated.axes
    name = f"{axes.op_type} '{stated.key}'"
    effect = f"needs all of their channels: {stated.reason}" if stated.reason else axes.row.effect
    pairs, blockers = [], []
    for each in stated.of(Dependency):
        one, other = (
            indices.of(each.one, each.one_indices),
            indices.of(each.other, each.other_indices),
        )
        if len(one) and len(other):
            pairs.append((one, other))
        else:  # it is tied to what stands for any length
            single = np.concatenate([one, other])
            blockers.append(Blocker(place, 0, f"{name} {effect}", single))
    for fixed in stated.of(FixedAxis):
        is_own = fixed.axis.operand in (*axes.inputs, *axes.outputs)
        why = effect if is_own or stated.reason else "computes with the number of their channels"
        why = f"needs all of their channels: {fixed.reason}" if fixed.reason else why
        rank, own = 1 if fixed.reason else 2, indices.of(fixed.axis)
        blockers.append(Blocker(place, rank, f"{name} {why}", own, override=fixed.override))
    for ratio in stated.of(RatioConstraint):
        sides = indices.of(ratio.one), indices.of(ratio.other, ratio.indices)
        why = f"{name} has a shape that need not follow"
        blockers.append(Blocker(place, 0, why, *sides, ratio.ratio, ratio.override))
    makers = tuple(weights for weights in stated.of(Weights) if weights.axis.size > 1)
    return NumberedConstraints(stated, tuple(pairs), tuple(blockers), makers)


def ends(
    graph: Graph, stated: Sequence[NodeConstraints], indices: AxisIndices
) -> Iterator[Blocker]:
    """What the model shows outside, or takes from there, right behind the node that makes it."""
    places = {name: place for place, each in enumerate(stated) for name in each.axes.node.outputs}
    outputs, inputs = graph.model.outputs, {spec.name for spec in graph.model.inputs}
    read = {name for each in stated for name in each.axes.node.inputs}
    outside = read - places.keys() - graph.model.constants.plain.keys()
    for name in sorted(outside.union(outputs)):
        operand = graph.operand(name)
        lengths = graph.dimensions.of(name) if name in outputs else None
        fixed = (each.axis for each in graph.fixed_lengths(lengths))
        for axis in (*(operand.axes() if operand else ()), *fixed):
            tensor = axis.operand.tensor
            reason = f"their channels meet '{tensor}', which is computed out of constants"
            if tensor in outputs:
                reason = f"their channels reach the output '{tensor}'"
            elif tensor in places:
                reason = "the number of their channels reaches an output"
            elif tensor in inputs:
                reason = f"their channels are those of the input '{tensor}'"
            yield Blocker(places.get(tensor, -1) + 0.5, 0, reason, indices.of(axis))


@dataclass(frozen=True)
class Settled:
    """What all nodes say together: the component of every index, and what blocks components.

    `made` is True for those that weights make; `first` is the place in `blockers` of the one that
    counts, beyond its end where none does. `overrides` are those that lift blockers.
    """

    indices: AxisIndices
    nodes: Sequence[NumberedConstraints]
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

    def components(self, axis: Axis) -> Array:
        """The component of each index of an axis; none where its length is below 2."""
        return self.labels[self.indices.of(axis)]

    def held(self) -> dict[str, Blocker]:
        """By node with weights, none of whose channels can go, what blocks them first."""
        found = {}
        for place, stated in enumerate(each.stated for each in self.nodes):
            node, graph = stated.axes.node, stated.axes.graph
            if stated.reason and any(map(graph.is_weights, node.inputs[:2])):
                found[stated.key] = Blocker(place, 0, stated.reason, NO_INDICES)
            for weights in (each for each in stated.of(Weights) if each.makes):
                own = self.components(weights.axis)
                if not len(own):
                    found[stated.key] = Blocker(place, 0, ONE_CHANNEL, own)
                elif not self.alive[own].any():
                    found[stated.key] = self.blockers[self.first[own].min()]
        return found


def settle(
    indices: AxisIndices, nodes: Sequence[NumberedConstraints], ends: Sequence[Blocker]
) -> Settled:
    """What goes together and what can go, once everything has been said."""
    labels = _components(indices.count, [pair for each in nodes for pair in each.pairs])
    blockers = [*(blocker for each in nodes for blocker in each.blockers), *ends]
    overrides = _overrides(blockers, labels)
    blockers = [each for each in blockers if each.override not in overrides]
    blockers.sort(key=lambda each: (each.place, each.rank))
    made, since = np.zeros(indices.count, np.bool_), np.zeros(indices.count)
    for place, each in reversed(list(enumerate(nodes))):
        for maker in (maker for maker in each.makers if maker.makes):
            own = labels[indices.of(maker.axis)]
            made[own], since[own] = True, place
    first = _first(blockers, labels, since)
    return Settled(indices, nodes, labels, made, blockers, first, overrides)


def _components(count: int, pairs: Sequence[tuple[Array, Array]]) -> Array:
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
    # what nothing can be done about comes first
    for blocker in sorted(blockers, key=lambda each: bool(each.override) or each.other is not None):
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
