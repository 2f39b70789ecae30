"""shrink-channels: take out the channels that no output depends on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eapc.channels import ChannelGroup, remove_channels, silent_channels
from eapc.model import Model
from eapc.pipeline import Compilation, Conditions, Pass
from eapc.shapes import infer_shapes, input_shapes
from eapc.tensors import Array

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShrinkChannels(Pass):
    """Take out the channels that are zero or that nothing reads, so that tensors get smaller."""

    name: ClassVar[str] = "shrink-channels"

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with a smaller model; unchanged where no channel is silent.

        A channel may be read by nothing but channels that go, so this repeats until all stay.
        """
        model = compilation.model
        while (smaller := _shrunk(model, compilation.conditions)) is not None:
            model = smaller
        return compilation if model is compilation.model else compilation.with_model(model)


def _shrunk(model: Model, conditions: Conditions) -> Model | None:
    """The model without its silent channels; None where there are none to take out."""
    sizes = input_shapes(model, conditions.input_shapes, conditions.batch)
    groups, silent = silent_channels(model, infer_shapes(model, sizes))
    kept = {group.name: _kept(group, silent[group.name]) for group in groups.groups}
    kept = {
        group.name: kept[group.name]
        for group in groups.groups
        if len(kept[group.name]) < group.size
    }
    if not kept:
        return None
    gone = sum(group.size - len(kept[group.name]) for group in groups.groups if group.name in kept)
    logger.info("%d channels in %d groups are silent", gone, len(kept))
    return remove_channels(model, groups, kept)


def _kept(group: ChannelGroup, silent: Array) -> Array:
    """The channels that stay: those with a say, or the first where there must be one."""
    loud = np.setdiff1d(np.arange(group.size), silent)
    return loud if len(loud) or group.may_vanish else np.zeros(1, np.int64)
