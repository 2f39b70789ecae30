"""shrink-channels: take out the channels that no output depends on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from eapc.channels import (
    ChannelGroup,
    ChannelGroups,
    channels_left,
    dead_channels,
    remove_channels,
)
from eapc.model import Array, Model
from eapc.pipeline import ChannelRecord, Compilation, LayerRecord, Pass, groups_of, shapes_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShrinkChannels(Pass):
    """Take out the channels that are zero or that nothing reads, so that tensors get smaller.

    Those that prune-channels has chosen go with them.
    """

    name: ClassVar[str] = "shrink-channels"

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with a smaller model; unchanged where no channel is dead.

        A channel may be read by nothing but channels that go, so this repeats until all stay.
        Where counts must be the planned ones, those that were chosen go and no others.
        """
        record, model = compilation.record, compilation.model
        model = model.with_plain(model.weights)
        planned = record.channel_plan is not None and record.channel_plan.ends_on_steps
        chosen = record.channels
        before, all_groups = model, None
        while True:
            groups, dead = _groups(compilation.with_model(model), planned)
            all_groups = all_groups or groups
            kept = _kept_of(groups, dead, chosen)
            if not kept:
                break
            model, chosen = remove_channels(model, groups, kept), {}
        if model is compilation.model:
            return compilation
        left = {g.name: (g.size, channels_left(g, before, model)) for g in all_groups.groups}
        found = tuple(_group_records(record.groups, left))
        plan, counts = record.channel_plan, {group.name: group.after for group in found}
        return compilation.with_model(model).with_record(
            layers=_records(record.layers, model),
            groups=found,
            channels={},
            curves=plan.layers_at(counts) if plan else None,
            channel_plan=None,
        )


def _group_records(
    known: Sequence[ChannelRecord], left: Mapping[str, tuple[int, int]]
) -> Iterator[ChannelRecord]:
    """The groups that were known before and those that lost channels, as they are now.

    `left` has, by group, how many channels there were when this began, and how many are left.
    """
    before = {record.name: record.before for record in known}
    for name, (size, after) in left.items():
        if name in before or after < size:
            yield ChannelRecord(name, before.get(name, size), after)
    yield from (record for record in known if record.name not in left)


def _records(before: Mapping[str, LayerRecord], model: Model) -> dict[str, LayerRecord]:
    """What is known of the layers that are left, as large as they are now."""
    found = {}
    for weight, record in before.items():
        value = model.constants.value(weight)
        if value is not None:
            nonzero = int(np.count_nonzero(value))
            found[weight] = replace(record, weights=value.size, nonzero_weights=nonzero)
    return found


def _groups(
    compilation: Compilation, only_chosen: bool
) -> tuple[ChannelGroups, Mapping[str, Array]]:
    """The channel groups, and by name the dead channels that may go unasked."""
    if only_chosen:
        return groups_of(compilation), {}
    return dead_channels(compilation.model, shapes_of(compilation)[0])


def _kept_of(
    groups: ChannelGroups, dead: Mapping[str, Array], chosen: Mapping[str, Sequence[int]]
) -> dict[str, Array]:
    """The channels that stay of each group that loses some.

    Of the groups that `chosen` names nothing but these channels stays either.
    """
    kept = {}
    for group in groups.groups:
        gone = np.union1d(dead.get(group.name, _NONE), _others(group, chosen))
        stay = _kept(group, gone)
        if len(stay) < group.size:
            kept[group.name] = stay
    if kept:
        sizes = {group.name: group.size for group in groups.groups}
        count = sum(sizes[name] - len(stay) for name, stay in kept.items())
        logger.info("%d channels in %d groups go", count, len(kept))
    return kept


_NONE = np.empty(0, np.int64)


def _others(group: ChannelGroup, chosen: Mapping[str, Sequence[int]]) -> Array:
    """The channels of a group that were not chosen to stay; none where nobody has chosen."""
    stay = chosen.get(group.name, range(group.size))
    return np.setdiff1d(np.arange(group.size), np.asarray(stay, np.int64))


def _kept(group: ChannelGroup, dead: Array) -> Array:
    """The channels that stay: those with a say, or the first where there must be one."""
    used = np.setdiff1d(np.arange(group.size), dead)
    return used if len(used) or group.may_vanish else np.zeros(1, np.int64)
