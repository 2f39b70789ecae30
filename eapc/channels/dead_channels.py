"""Dead channels: those whose feature map is zero, or is read by zeros alone."""

from __future__ import annotations

import numpy as np

from eapc.channels.channel_constants import ChannelConstants
from eapc.channels.constraints import Dependency, Weights
from eapc.channels.finding import groups_and_constraints
from eapc.channels.groups import ChannelGroup, ChannelGroups
from eapc.channels.node_constraints import NodeConstraints
from eapc.model import Array, Model, Shapes

Used = dict[tuple[str, int], Array]
"""(tensor, axis) -> True where an index has an effect on a sum of products."""


def dead_channels(model: Model, shapes: Shapes) -> tuple[ChannelGroups, dict[str, Array]]:
    """The channel groups, and by name the sorted channels whose removal changes no output.

    A channel ends where layers sum products over it, and there in each product one factor must
    be zero: the feature map, whatever the input, or the weights that read it.
    """
    groups, said = groups_and_constraints(model, shapes)
    values = ChannelConstants(model, shapes, said)
    used: Used = {}
    for dependency in (each for one in said for each in _contractions(one)):
        pairs = tuple(zip((dependency.one, dependency.other), dependency.pairs(), strict=True))
        both = np.logical_and(*(values.of(axis)[indices] != 0 for axis, indices in pairs))
        for axis, indices in pairs:
            key = (axis.operand.tensor, axis.number)
            used.setdefault(key, np.zeros(axis.size, np.bool_))[indices[both]] = True
    return groups, {group.name: _dead(group, used) for group in groups.groups}


def _contractions(said: NodeConstraints) -> list[Dependency]:
    """The dependencies between the first two operands, along which products are summed.

    None of a convolution whose groups go whole: what it reads and writes is one channel.
    """
    weights = {each.axis.number for each in said.of(Weights)}
    operands = set(said.axes.inputs[:2])
    if not said.axes.row.contracts or len(weights) == 1 or len(operands) < 2:
        return []
    found = said.of(Dependency)
    return [each for each in found if {each.one.operand, each.other.operand} == operands]


def _dead(group: ChannelGroup, used: Used) -> Array:
    dead = np.ones(group.size, np.bool_)
    for cut in group.slices:
        found = used.get((cut.tensor, cut.axis))
        if found is not None:
            dead &= ~found[cut.indices].any(axis=1)
    return np.flatnonzero(dead)
