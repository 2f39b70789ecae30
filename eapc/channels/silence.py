"""Channels that say nothing: whose feature map is zero, or is read by zeros alone."""

from __future__ import annotations

import numpy as np

from eapc.channels.axis_rules import Port, Tie, Weights
from eapc.channels.finding import tied_groups
from eapc.channels.groups import ChannelGroup, ChannelGroups
from eapc.channels.sites import Said
from eapc.channels.steady_values import SteadyValues, tied_pairs
from eapc.model import Array, Model, Shapes
from eapc.operators import operator_of

Heard = dict[tuple[str, int], Array]
"""(tensor, axis) -> True where an index has an effect on a sum of products."""


def silent_channels(model: Model, shapes: Shapes) -> tuple[ChannelGroups, dict[str, Array]]:
    """The channel groups, and by name the sorted channels whose removal changes no output.

    A channel ends where layers sum products over it, and there in each product one factor must
    be zero: the feature map, whatever the input, or the weights that read it.
    """
    groups, said = tied_groups(model, shapes)
    values = SteadyValues(model, shapes, said)
    heard: Heard = {}
    for one in said:
        if operator_of(one.site.node).contracts and not _sums_within(one):
            for tie in _contractions(one):
                _listen(heard, tie, values)
    return groups, {group.name: _silent(group, heard) for group in groups.groups}


def _sums_within(said: Said) -> bool:
    """True for a convolution whose groups go whole: what it reads and writes is one channel."""
    weights = [effect for effect in said.effects if isinstance(effect, Weights)]
    return len({effect.axis for effect in weights}) == 1


def _contractions(said: Said) -> list[Tie]:
    """The ties between the first two operands, along which products are summed."""
    operands = {port for port in said.site.inputs[:2] if port is not None}
    ties = (effect for effect in said.effects if isinstance(effect, Tie))
    return [tie for tie in ties if tie.one != tie.other and {tie.one, tie.other} == operands]


def _listen(heard: Heard, tie: Tie, values: SteadyValues) -> None:
    one, other = tied_pairs(tie)
    loud = values.of(tie.one, tie.one_axis)[one] != 0
    loud &= values.of(tie.other, tie.other_axis)[other] != 0
    for port, axis, indices in ((tie.one, tie.one_axis, one), (tie.other, tie.other_axis, other)):
        found = heard.setdefault((port.tensor, axis), np.zeros(_length(port, axis), np.bool_))
        found[indices[loud]] = True


def _length(port: Port, axis: int) -> int:
    return port.shape[axis]


def _silent(group: ChannelGroup, heard: Heard) -> Array:
    silent = np.ones(group.size, np.bool_)
    for cut in group.slices:
        found = heard.get((cut.tensor, cut.axis))
        if found is not None:
            silent &= ~found[cut.indices].any(axis=1)
    return np.flatnonzero(silent)
