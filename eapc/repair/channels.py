"""What repairing may move: the shift and the scale of every channel that a layer makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eapc.calibration import Batches, scaled_matrix, unscaled_matrix
from eapc.layers import TiedLayers
from eapc.model import Array, BiasSink, Model

_PROBE = 0.1
"""Finite differences, relative to a channel's size: far above rounding, yet small."""


@dataclass(frozen=True)
class LayerChannels:
    """Shifts of one layer's channels, for each bias that takes them, and their scales.

    A change is a vector of `size` numbers: shifts of z, in units of what channels vary by, a bias
    after another, then relative changes of the weights that make a channel, all times `_PROBE`.
    """

    tied: TiedLayers
    sinks: tuple[BiasSink, ...]
    units: Array

    @classmethod
    def of(cls, model: Model, tied: TiedLayers, seen: Mapping[str, Batches]) -> LayerChannels:
        """Those of a layer whose inputs have been `seen`.

        A channel's size is that of independent inputs: |w| rms(x). Those without weights are
        as large as the others.
        """
        first = np.asarray(seen[tied.first.x][0], np.float64)
        norms = np.sqrt(np.square(scaled_matrix(tied, model), dtype=np.float64).sum(axis=2)).ravel()
        sizes = norms * np.sqrt(np.square(first).mean())
        alive = sizes > 0
        sizes[~alive] = sizes[alive].mean() if alive.any() else 1.0
        sinks = tuple(user.bias for user in tied.users if user.bias)
        return cls(tied, sinks, sizes)

    @property
    def size(self) -> int:
        """How many numbers there are to choose."""
        return channels_of(self.tied)

    def changed(self, model: Model, change: Array) -> dict[str, Array]:
        """The layer's constants after a change (size,), zeros where they were."""
        *shifts, scales = np.split(_PROBE * change, len(self.sinks) + 1)
        found = {
            sink.tensor: sink.changed(model, shift * self.units)
            for sink, shift in zip(self.sinks, shifts, strict=True)
        }
        if scales.any():
            matrix = scaled_matrix(self.tied, model)
            scaled = matrix * (1 + scales).reshape(*matrix.shape[:2], 1).astype(np.float32)
            found[self.tied.weight] = self.tied.stored(model, unscaled_matrix(self.tied, scaled))
        return found


def channels_of(tied: TiedLayers) -> int:
    """Shifts and scales of a layer's channels."""
    return len(tied.first.scale) * (1 + sum(user.bias is not None for user in tied.users))
