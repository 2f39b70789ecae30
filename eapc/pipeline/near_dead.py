"""How much of a compilation's model is near-dead, and how large its inputs may be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eapc.channels import (
    ChannelGroup,
    NearDeadLayer,
    NearDeadWeights,
    dead_channels,
    near_dead_channels,
    near_dead_weights,
)
from eapc.data import Dataset
from eapc.model import Array
from eapc.pipeline.analyses import shapes_of
from eapc.pipeline.compilation import Compilation
from eapc.scale import declared_ranges

LARGEST_INPUT = 2.0**16
"""Magnitude that inputs may have where nothing tells: no sample of 8 or 16 bits is larger."""

_BEYOND_DATA = 16
"""Inputs may be so many times as large as those looked at: four more bits."""

_LOOKED_AT = 16
"""Inputs of the calibration data that are looked at for their magnitude, evenly spaced."""


@dataclass(frozen=True)
class NearDead:
    """How many weights and channels of a model are near-dead, in all and by layer.

    `layers` has those with near-dead weights, or that make near-dead channels.
    """

    weights: int = 0
    channels: int = 0
    layers: tuple[NearDeadLayer, ...] = ()


def near_dead_of(compilation: Compilation) -> NearDead:
    """What is near-dead; channels that are dead as it is do not count."""
    weights = near_dead_weights_of(compilation)
    if not weights.fills:
        return NearDead(weights.count, 0, _with_channels(weights.layers, (), {}))
    model, shapes = compilation.model, shapes_of(compilation)[0]
    groups, exact = dead_channels(model, shapes)
    _, found = near_dead_channels(model, shapes, weights)
    more = {name: len(np.setdiff1d(dead, exact[name])) for name, dead in found.items()}
    layers = _with_channels(weights.layers, groups.groups, more)
    return NearDead(weights.count, sum(more.values()), layers)


def near_dead_weights_of(compilation: Compilation) -> NearDeadWeights:
    """The near-dead weights, for inputs within `input_limits`."""
    shapes = shapes_of(compilation)[0]
    return near_dead_weights(compilation.model, shapes, input_limits(compilation))


def input_limits(compilation: Compilation) -> dict[str, float]:
    """The largest magnitude of each input.

    That is 16 times what calibration inputs have; without them what the network declares, what an
    integer type holds, or `LARGEST_INPUT`.
    """
    model, data = compilation.model, compilation.calibration
    limits = {
        spec.name: LARGEST_INPUT if spec.is_float else _largest(spec.dtype) for spec in model.inputs
    }
    limits |= {each.name: max(abs(each.low), abs(each.high)) for each in declared_ranges(model)}
    if data is not None and not data.synthesised:
        limits |= {name: _BEYOND_DATA * most for name, most in _magnitudes(data).items()}
    return limits


def _largest(dtype: np.dtype[np.generic]) -> float:
    if dtype.kind == "b":
        return 1.0
    return 2.0 ** (8 * dtype.itemsize) if dtype.kind in "iu" else math.inf


def _magnitudes(data: Dataset) -> dict[str, float]:
    """The largest absolute value of each input in a few samples."""
    step = max(1, len(data) // _LOOKED_AT)
    few = data.take(slice(0, None, step))
    few = few if few.usable else data
    found: dict[str, float] = {}
    for feed in few.batches(_LOOKED_AT):
        for name, value in feed.items():
            found[name] = max(found.get(name, 0.0), _magnitude(value))
    return found


def _magnitude(value: Array) -> float:
    if not value.size or value.dtype.kind not in "fiub":
        return math.inf
    return float(np.abs(value.astype(np.float64)).max())


def _with_channels(
    layers: Sequence[NearDeadLayer], groups: Sequence[ChannelGroup], found: Mapping[str, int]
) -> tuple[NearDeadLayer, ...]:
    """The layers with near-dead weights, or near-dead channels that their weights make."""
    made: dict[str, int] = {}
    for group in groups:
        for key in group.producers:
            made[key] = made.get(key, 0) + found[group.name]
    counted = (replace(layer, near_dead_channels=made.get(layer.node, 0)) for layer in layers)
    return tuple(each for each in counted if each.near_dead_weights or each.near_dead_channels)
