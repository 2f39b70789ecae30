"""Integers that stand for real numbers: scale * (code - zero point)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eapc.errors import ModelError
from eapc.model.tensors import Array, type_bits

_WIDEST = 32


def is_code(dtype: np.dtype[Any]) -> bool:
    """True for integers of up to 32 bits, those below a byte included."""
    return dtype.name.startswith(("int", "uint")) and type_bits(dtype) <= _WIDEST


def code_range(dtype: np.dtype[Any], told: int | None = None) -> tuple[int, int]:
    """The least and greatest code of an integer type, also of one below a byte.

    Codes of fewer bits than the type has, `told`, have no greatest negative one: -7 to 7 of 4 bits.
    Raises ModelError for other types.
    """
    if not is_code(dtype):
        raise ModelError(f"codes of type {dtype.name} have no rule")
    whole = type_bits(dtype)
    bits = min(told or whole, whole)
    if dtype.name.startswith("u"):
        return 0, (1 << bits) - 1
    return -(1 << bits - 1) + (bits < whole), (1 << bits - 1) - 1


def nearest_steps(values: Array, step: Array, low: Array, high: Array) -> Array:
    """Whole numbers n from `low` to `high` for which n * step comes nearest to values; float64.

    Where a value is not 0 neither is n: what would round to 0 takes the number beside it, on its
    own side where the range has one. Where the step is 0 so is n.
    """
    safe = np.where(step == 0, 1, step)
    wanted = np.divide(values, safe, dtype=np.float64)
    steps = np.clip(np.rint(wanted), low, high)
    lost = (steps == 0) & (wanted != 0)
    if lost.any():
        side = np.where(wanted < 0, -1, 1)
        side = np.where((side < low) | (side > high), -side, side)
        steps = np.where(lost, side, steps)
    found: Array = np.where(step == 0, 0, steps)
    return found


@dataclass(frozen=True)
class Dequantization:
    """How integers are read: the product of scales * (code - zero point), all constants by name.

    A list runs along `axis`, with one number for each `block` of it; without an axis all are
    broadcast to the integers' shape.
    """

    scales: tuple[str, ...]
    zero: str = ""
    axis: int | None = None
    block: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """All constants that it takes."""
        return (*self.scales, *filter(None, [self.zero]))


@dataclass(frozen=True)
class Codes:
    """How a constant's integers of some type are read: scales and zero points, all of its shape.

    `bits` are how many of the type's they have, None if all; `ends` the least and the greatest
    where a Clip says so.
    """

    dtype: np.dtype[Any]
    scale: Array
    zero: Array
    bits: int | None = None
    ends: tuple[int, int] | None = None

    @property
    def bounds(self) -> tuple[Array, Array]:
        """How many steps below and above zero the type's range reaches; int64."""
        least, greatest = self.ends or code_range(self.dtype, self.bits)
        zero = self.zero.astype(np.int64)
        return least - zero, greatest - zero

    def values(self, codes: Array) -> Array:
        """What codes stand for, in the scale's type."""
        steps = codes.astype(np.int64) - self.zero.astype(np.int64)
        found: Array = self.scale * steps.astype(self.scale.dtype)
        return found

    def nearest(self, values: Array) -> Array:
        """The codes nearest to real numbers: zeros are the zero point, nothing else becomes it."""
        scale = self.scale.astype(np.float64)
        steps = nearest_steps(values.astype(np.float64), scale, *self.bounds)
        return (steps.astype(np.int64) + self.zero.astype(np.int64)).astype(self.dtype)

    def rounded(self, values: Array) -> Array:
        """The codes that QuantizeLinear makes of real numbers, in float32; any may be zero."""
        scale = np.asarray(self.scale, np.float32)
        steps = np.rint(values.astype(np.float32) / np.where(scale == 0, 1, scale))
        low, high = self.bounds
        whole = np.clip(np.where(scale == 0, 0, steps), low, high).astype(np.int64)
        found: Array = (whole + self.zero.astype(np.int64)).astype(self.dtype)
        return found
