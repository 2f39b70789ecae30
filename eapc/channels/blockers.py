"""What each node says about its axes, in numbered indices, and in words for those that stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from eapc.channels.constraints import Dependency, FixedAxis, RatioConstraint, Weights
from eapc.channels.node_constraints import NodeConstraints
from eapc.channels.nodes import Graph
from eapc.channels.settling import NO_INDICES, AxisIndices, Blocker, Maker, Pairs, Settled

ONE_CHANNEL = "there is one channel, and one must stay"
_LENGTH = "computes with the number of their channels"


@dataclass(frozen=True)
class Bound:
    """What one node says, in numbered indices."""

    pairs: tuple[Pairs, ...]
    blockers: tuple[Blocker, ...]


def bound(place: int, said: NodeConstraints, indices: AxisIndices) -> Bound:
    """The pairs that a node puts together, and what it blocks."""
    axes = said.axes
    name = f"{axes.op_type} '{said.key}'"
    effect = f"needs all of their channels: {said.reason}" if said.reason else axes.row.effect
    pairs, blockers = [], []
    for each in said.of(Dependency):
        one, other = (
            indices.of(each.one, each.one_indices),
            indices.of(each.other, each.other_indices),
        )
        if len(one) and len(other):
            pairs.append((one, other))
        else:  # it is tied to what stands for any length
            single = np.concatenate([one, other])
            blockers.append(Blocker(place, 0, f"{name} {effect}", single))
    for fixed in said.of(FixedAxis):
        is_own = fixed.axis.operand in (*axes.inputs, *axes.outputs)
        why = effect if is_own or said.reason else _LENGTH
        why = f"needs all of their channels: {fixed.reason}" if fixed.reason else why
        rank, own = 1 if fixed.reason else 2, indices.of(fixed.axis)
        blockers.append(Blocker(place, rank, f"{name} {why}", own, override=fixed.override))
    for ratio in said.of(RatioConstraint):
        sides = indices.of(ratio.one), indices.of(ratio.other, ratio.indices)
        why = f"{name} has a shape that need not follow"
        blockers.append(Blocker(place, 0, why, *sides, ratio.ratio, ratio.override))
    return Bound(tuple(pairs), tuple(blockers))


def ends(graph: Graph, said: Sequence[NodeConstraints], indices: AxisIndices) -> Iterator[Blocker]:
    """What the model shows outside, or takes from there, right behind the node that makes it."""
    places = {name: place for place, each in enumerate(said) for name in each.axes.node.outputs}
    outputs, inputs = graph.model.outputs, {spec.name for spec in graph.model.inputs}
    read = {name for each in said for name in each.axes.node.inputs}
    outside = read - places.keys() - graph.model.view.constants.keys()
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


def makers(said: Sequence[NodeConstraints]) -> list[Maker]:
    """The axes of weights that make and read channels, in data-flow order."""
    return [
        Maker(place, each.key, weights.axis, weights.makes)
        for place, each in enumerate(said)
        for weights in each.of(Weights)
        if weights.axis.size > 1
    ]


def held(
    said: Sequence[NodeConstraints], settled: Settled, indices: AxisIndices
) -> dict[str, Blocker]:
    """By node with weights, none of whose channels can go, what blocks them first."""
    found = {}
    for place, each in enumerate(said):
        if each.reason and each.axes.graph.is_weights(each.axes.node.input(1)):
            found[each.key] = Blocker(place, 0, each.reason, NO_INDICES)
        for weights in each.of(Weights):
            own = settled.labels[indices.of(weights.axis)]
            if weights.makes and not len(own):
                found[each.key] = Blocker(place, 0, ONE_CHANNEL, own)
            elif weights.makes and not settled.alive[own].any():
                found[each.key] = settled.blockers[settled.first[own].min()]
    return found
