"""shrink-channels: take out the channels that no output depends on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from eapc.channels import (
    ChannelGroup,
    ChannelGroups,
    channels_left,
    dead_channels,
    near_dead_channels,
    remove_channels,
)
from eapc.layers import layers_of
from eapc.model import Array, Model
from eapc.pipeline import (
    ChannelRecord,
    Compilation,
    LayerRecord,
    Pass,
    change_of_outputs,
    groups_of,
    near_dead_of,
    near_dead_weights_of,
    shapes_of,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShrinkChannels(Pass):
    """Take out the channels that are zero or that nothing reads, so that tensors get smaller.

    Those that prune-channels has chosen go with them.
    """

    name: ClassVar[str] = "shrink-channels"

    near_dead: bool = field(
        default=False,
        metadata={"help": "channels below the last bit of the sums that they are added to go too"},
    )

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with a smaller model; unchanged where no channel is dead.

        Where counts must be the planned ones, those that were chosen go and no others. Near-dead
        channels go only where outputs stay the same within rounding; a note says what came of it.
        """
        plan = compilation.record.channel_plan
        if plan is not None and plan.ends_on_steps:
            return _recorded(compilation, _shrunk(compilation, _no_others))
        exact = _shrunk(compilation, _exactly_dead)
        done = _recorded(compilation, exact)
        near = near_dead_weights_of(done)
        nothing = "" if exact.gone or compilation.record.channels else _NOTHING
        if not near.fills:
            return _noted(done, nothing)
        if not self.near_dead:
            return _noted(done, _left_in(done, exact) or nothing)
        more = _shrunk(compilation, _nearly_dead)
        if more.gone == exact.gone:
            return _noted(done, nothing)
        change = change_of_outputs(compilation, more.model)
        note = _NEAR_DEAD_NOTE[change.is_rounding].format(more.gone - exact.gone, change)
        return _noted(_recorded(compilation, more) if change.is_rounding else done, note)


_NOTHING = "no channel is exactly zero, and none is near-dead: all stay"
_NEAR_DEAD_NOTE = {
    True: "near-dead channels taken out: {:,}; {}",
    False: "near-dead channels that stay: {:,}; {}",
}

Dead = Callable[[Compilation], tuple[ChannelGroups, Mapping[str, Array]]]
"""The channel groups, and by name the channels that may go unasked."""


@dataclass(frozen=True)
class _Shrunk:
    """A smaller model, how many channels went unasked, and (before, after) of each group."""

    model: Model
    gone: int
    left: Mapping[str, tuple[int, int]]


def _shrunk(compilation: Compilation, dead_of: Dead) -> _Shrunk:
    """The model without the channels that were chosen to go and those that are dead.

    A channel may be read by nothing but channels that go, so this repeats until all stay.
    """
    model, chosen = compilation.model, compilation.record.channels
    model = model.with_plain(model.weights)
    before, all_groups, gone = model, None, 0
    while True:
        groups, dead = dead_of(compilation.with_model(model))
        all_groups = all_groups or groups
        kept = _kept_of(groups, dead, chosen)
        if not kept:
            break
        gone += _unasked(groups, kept, chosen)
        model, chosen = remove_channels(model, groups, kept), {}
    left = {g.name: (g.size, channels_left(g, before, model)) for g in all_groups.groups}
    return _Shrunk(model, gone, left)


def _unasked(
    groups: ChannelGroups, kept: Mapping[str, Array], chosen: Mapping[str, Sequence[int]]
) -> int:
    """How many channels go that nobody chose."""
    known = groups.by_name()
    return sum(
        len(
            np.setdiff1d(
                np.arange(known[name].size), np.union1d(stay, _others(known[name], chosen))
            )
        )
        for name, stay in kept.items()
    )


def _recorded(compilation: Compilation, shrunk: _Shrunk) -> Compilation:
    """The compilation with the smaller model, and what its record says of it."""
    record, model = compilation.record, shrunk.model
    if model is compilation.model:
        return compilation
    found = tuple(_group_records(record.groups, shrunk.left))
    plan, counts = record.channel_plan, {group.name: group.after for group in found}
    return compilation.with_model(model).with_record(
        layers=_records(record.layers, model),
        groups=found,
        channels={},
        curves=plan.layers_at(counts) if plan else None,
        channel_plan=None,
    )


def _noted(compilation: Compilation, note: str) -> Compilation:
    notes = compilation.record.notes
    return compilation.with_record(notes=(*notes, note)) if note else compilation


def _left_in(done: Compilation, exact: _Shrunk) -> str:
    """What to say of near-dead channels that nobody has asked to take out."""
    channels = near_dead_of(done).channels
    if not channels:
        return ""
    nothing = "" if exact.gone else "no channel is exactly zero; "
    are = "channel is" if channels == 1 else "channels are"
    return (
        f"{nothing}{channels:,} {are} near-dead (below the last bit of the sums that they are "
        "added to): near_dead=true takes them out"
    )


def _no_others(compilation: Compilation) -> tuple[ChannelGroups, Mapping[str, Array]]:
    return groups_of(compilation), {}


def _exactly_dead(compilation: Compilation) -> tuple[ChannelGroups, Mapping[str, Array]]:
    return dead_channels(compilation.model, shapes_of(compilation)[0])


def _nearly_dead(compilation: Compilation) -> tuple[ChannelGroups, Mapping[str, Array]]:
    model, shapes = compilation.model, shapes_of(compilation)[0]
    return near_dead_channels(model, shapes, near_dead_weights_of(compilation))


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
    found, layers = {}, {tied.weight: tied for tied in layers_of(model).layers}
    for weight, record in before.items():
        value, tied = model.constants.value(weight), layers.get(weight)
        if value is not None:
            nonzero = tied.nonzero(model) if tied else int(np.count_nonzero(value))
            found[weight] = replace(record, weights=value.size, nonzero_weights=nonzero)
    return found


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
