"""Grids of integers that stand for real numbers, and the least-squares choice of their steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eapc.model import Array
from eapc.quantization.value_counts import ValueCounts

_SHRINK = np.linspace(1.0, 0.2, 65)
"""Fractions of the whole range that are tried as clipping ranges."""

_LARGEST_BIAS = 2**30
_BIAS_ALONE = 2**24
"""Largest code of a bias whose layer has no other weights than zeros."""


@dataclass(frozen=True, eq=False)
class TensorGrid:
    """Codes q of a tensor: x = scale * (q - zero_point).

    `scale` is () for the whole tensor, or (channels,) along `axis`. Signed codes are symmetric:
    -127 to 127 at 8 bits, so that a weight and its negative are as far from 0.
    """

    scale: Array
    zero_point: int = 0
    bits: int = 8
    signed: bool = False
    axis: int | None = None

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest code."""
        half = 2 ** (self.bits - 1) - 1
        return (-half, half) if self.signed else (0, 2**self.bits - 1)

    def codes(self, values: Array) -> Array:
        """The nearest codes, int8 or uint8; ties go to the even one, as in ONNX."""
        ratio = values.astype(np.float64) / self._step(values.ndim)
        codes: Array = np.clip(np.rint(ratio) + self.zero_point, *self.ends)
        return codes.astype(np.int8 if self.signed else np.uint8)

    def values(self, codes: Array) -> Array:
        """What codes stand for, float32."""
        shifted = codes.astype(np.float64) - self.zero_point
        return (shifted * self._step(codes.ndim)).astype(np.float32)

    def _step(self, rank: int) -> Array:
        scale: Array = self.scale.astype(np.float64)
        return scale if self.axis is None else along(scale, self.axis, rank)


def along(vector: Array, axis: int, rank: int) -> Array:
    """A vector (channels,) that multiplies a tensor of a rank along an axis."""
    return vector.reshape([-1 if i == axis else 1 for i in range(rank)])


# --- activations ---------------------------------------------------------------------------------


def activation_grid(values: ValueCounts, bits: int = 8) -> TensorGrid:
    """The unsigned grid, with 0 on it, of the least squared error over counted values.

    Either end of the range is moved inwards in turn while the other stays.
    """
    low, high = min(values.low, 0.0), max(values.high, 0.0)
    if low == high:
        return _over(0.0, 1.0, bits)
    ends = [low, high]
    for place in (1, 0, 1) if low < 0 < high else (int(high > 0),):
        tried = [[*ends] for _ in _SHRINK]
        for each, fraction in zip(tried, _SHRINK, strict=True):
            each[place] = (low, high)[place] * fraction
        ends = min(tried, key=lambda pair: _squared_error(values, _over(pair[0], pair[1], bits)))
    return _over(ends[0], ends[1], bits)


def _over(low: float, high: float, bits: int) -> TensorGrid:
    """The grid whose lowest and highest codes are near the ends of a range that has 0 in it."""
    steps = 2**bits - 1
    scale = max((high - low) / steps, float(np.finfo(np.float32).tiny))
    zero_point = int(np.clip(np.rint(-low / scale), 0, steps))
    return TensorGrid(np.float32(scale) * np.ones((), np.float32), zero_point, bits)


def _squared_error(values: ValueCounts, grid: TensorGrid) -> float:
    rounded = grid.values(grid.codes(values.centres))
    return float((values.counts * (values.centres - rounded) ** 2).sum())


# --- weights -------------------------------------------------------------------------------------


def weight_grid(weights: Array, axis: int, bias_over_input: Array, bits: int = 8) -> TensorGrid:
    """The symmetric grid per channel along `axis` of the least squared error of the weights.

    `bias_over_input` is as for `storable`.
    """
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1).astype(np.float64)
    scale = _least_squares_scales(rows, 2 ** (bits - 1) - 1)
    return storable(TensorGrid(scale, 0, bits, signed=True, axis=axis), bias_over_input)


def storable(grid: TensorGrid, bias_over_input: Array) -> TensorGrid:
    """A grid of weights with scales, float32, by which their biases can be stored as well.

    `bias_over_input` (channels,) is each bias over the scale of what the layer reads, zeros
    without one. A channel of zeros alone, whose scale is 0, takes that of its nearest neighbour:
    a scale of its own would lose its bias or overflow it. No scale is so small that the bias's
    code leaves int32.
    """
    scale = grid.scale.astype(np.float64)
    bias = np.abs(bias_over_input.astype(np.float64))
    if not scale.any():
        scale[:] = bias.max(initial=0.0) / _BIAS_ALONE or 1.0
    scale = np.maximum(_from_neighbours(scale), bias / _LARGEST_BIAS)
    return replace(grid, scale=scale.astype(np.float32))


def _least_squares_scales(rows: Array, last: int) -> Array:
    """The scale of each row (channels, weights); 0 where all of it is zero."""
    whole = np.abs(rows).max(axis=1, initial=0.0) / last
    best: Array = whole.copy()
    least = np.full(len(rows), np.inf)
    for fraction in _SHRINK[_SHRINK >= 0.5]:
        scale = np.where(whole > 0, whole * fraction, 1.0)[:, None]
        rounded = scale * np.clip(np.rint(rows / scale), -last, last)
        error = ((rows - rounded) ** 2).sum(axis=1)
        best = np.where(error < least, whole * fraction, best)
        least = np.minimum(error, least)
    return best


def _from_neighbours(scale: Array) -> Array:
    """The scales with each 0 replaced by the nearest other; of two, by the one before it."""
    known = np.flatnonzero(scale)
    nearest = np.abs(np.arange(len(scale))[:, None] - known).argmin(axis=1)
    filled: Array = scale[known[nearest]]
    return filled


def bias_codes(bias: Array, input_scale: Array, weights: TensorGrid) -> Array:
    """A bias (channels,) as int32 codes of the scale of the products: input's times weights'."""
    step = float(input_scale) * weights.scale.astype(np.float64)
    codes: Array = np.rint(bias.astype(np.float64) / step).astype(np.int32)
    return codes
