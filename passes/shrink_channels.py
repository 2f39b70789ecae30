"""shrink-channels: take out the channels that no output depends on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from eapc.channels import ChannelGroup, remove_channels, silent_channels
from eapc.model import Array, Model
from eapc.pipeline import Compilation, LayerRecord, Pass

from .annotate_energy import shapes_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShrinkChannels(Pass):
    """Take out the channels that are zero or that nothing reads, so that tensors get smaller.

    Those that prune-channels has chosen go with them.
    """

    name: ClassVar[str] = "shrink-channels"

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with a smaller model; unchanged where no channel is silent.

        A channel may be read by nothing but channels that go, so this repeats until all stay.
        """
        model, chosen = compilation.model, compilation.record.channels
        while (smaller := _shrunk(replace(compilation, model=model), chosen)) is not None:
            model, chosen = smaller, {}
        if model is compilation.model:
            return compilation
        records = _records(compilation.record.layers, model)
        return compilation.with_model(model).with_record(
            layers=records, channels={}, curves=None, channel_plan=None
        )


def _records(before: Mapping[str, LayerRecord], model: Model) -> dict[str, LayerRecord]:
    """What is known of the layers that are left, as large as they are now."""
    found = {}
    for weight, record in before.items():
        value = model.constant(weight)
        if value is not None:
            nonzero = int(np.count_nonzero(value))
            found[weight] = replace(record, weights=value.size, nonzero_weights=nonzero)
    return found


def _shrunk(compilation: Compilation, chosen: Mapping[str, Sequence[int]]) -> Model | None:
    """The model without its silent channels; None where there are none to take out.

    Of the groups that `chosen` names nothing but these channels stays either.
    """
    model = compilation.model
    groups, silent = silent_channels(model, shapes_of(compilation)[0])
    gone = {
        group.name: np.union1d(silent[group.name], _others(group, chosen))
        for group in groups.groups
    }
    kept = {group.name: _kept(group, gone[group.name]) for group in groups.groups}
    kept = {
        group.name: kept[group.name]
        for group in groups.groups
        if len(kept[group.name]) < group.size
    }
    if not kept:
        return None
    count = sum(group.size - len(kept[group.name]) for group in groups.groups if group.name in kept)
    logger.info("%d channels in %d groups go", count, len(kept))
    return remove_channels(model, groups, kept)


def _others(group: ChannelGroup, chosen: Mapping[str, Sequence[int]]) -> Array:
    """The channels of a group that were not chosen to stay; none where nobody has chosen."""
    stay = chosen.get(group.name, range(group.size))
    return np.setdiff1d(np.arange(group.size), np.asarray(stay, np.int64))


def _kept(group: ChannelGroup, silent: Array) -> Array:
    """The channels that stay: those with a say, or the first where there must be one."""
    loud = np.setdiff1d(np.arange(group.size), silent)
    return loud if len(loud) or group.may_vanish else np.zeros(1, np.int64)
