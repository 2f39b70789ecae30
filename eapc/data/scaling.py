"""Scaling that a data file describes itself: (x * scale - mean) / std."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from eapc.errors import DataError
from eapc.model import Array

_DEFAULTS = {"scale": 1.0, "mean": 0.0, "std": 1.0}


@dataclass(frozen=True)
class Affine:
    """x -> (x * scale - mean) / std; each of shape (1,), or (channels,) for one per channel."""

    scale: Array
    mean: Array
    std: Array

    def apply(self, x: Array) -> Array:
        """x float32 or float64, of any shape with a leading axis of samples; keeps the type.

        Raises DataError where no axis has as many entries as there are numbers per channel.
        """
        axis = self.channel_axis(x.shape)
        scale, mean, std = (_along(v, x.ndim, axis) for v in (self.scale, self.mean, self.std))
        result: Array = (x * scale - mean) / std
        return result.astype(x.dtype, copy=False)

    @property
    def channels(self) -> int:
        """How many channels have numbers of their own; 1 where all have the same."""
        return max(self.scale.size, self.mean.size, self.std.size)

    def channel_axis(self, shape: tuple[int, ...]) -> int:
        """Axis 1 unless only the last axis has as many entries as there are numbers."""
        length = self.channels
        if length == 1 or (len(shape) > 1 and shape[1] == length):
            return 1
        if len(shape) > 1 and shape[-1] == length:
            return len(shape) - 1
        raise DataError(f"scale, mean or std has {length} numbers; no channel axis of {shape} fits")


def _along(values: Array, rank: int, axis: int) -> Array:
    """One number, or one for each index of an axis of a tensor of that rank."""
    return values.reshape(() if values.size == 1 else (-1, *(1,) * (rank - axis - 1)))


def says_affine(names: Iterable[str]) -> bool:
    """Whether arrays of these names say a scaling."""
    return not _DEFAULTS.keys().isdisjoint(names)


def read_affine(origin: str, arrays: Mapping[str, Array]) -> Affine | None:
    """The scaling among named arrays; None where there is none.

    Raises DataError for what is no finite number or one per channel, and for a std of 0.
    """
    if not says_affine(arrays):
        return None
    values = {n: _numbers(origin, n, np.asarray(arrays.get(n, v))) for n, v in _DEFAULTS.items()}
    lengths = {value.size for value in values.values()} - {1}
    if len(lengths) > 1:
        found = ", ".join(f"{value.size} of {name}" for name, value in values.items())
        raise DataError(f"{origin}: expected one number or one per channel, got {found}")
    return Affine(**values)


def _numbers(origin: str, name: str, given: Array) -> Array:
    if given.dtype.kind not in "fiub" or not given.size:
        raise DataError(f"{origin}: {name} must be numbers, got {given.dtype} of {given.shape}")
    with np.errstate(over="ignore"):
        value = given.astype(np.float32).ravel()
    if not np.isfinite(value).all() or (name == "std" and not value.all()):
        raise DataError(f"{origin}: {name} must be finite{' and not 0' * (name == 'std')}")
    return value
