"""Resize and Upsample: each axis of its own is a product with a matrix of a few taps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eapc.autograd.arrays import ints
from eapc.autograd.rules import Call, rule
from eapc.errors import ModelError

Reals = NDArray[np.float64]


@rule("Upsample")
def upsample(call: Call, x: Tensor, scales: Tensor | None = None) -> Tensor:
    """Resize by factors, places counted from the first corner."""
    factors = call.get("scales") if scales is None else scales.tolist()
    old = Call(
        "Resize",
        {
            "mode": call.get("mode", "nearest"),
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        },
        call.opset,
    )
    return _resized(old, x, [(axis, factor, None) for axis, factor in enumerate(factors)])


@rule("Resize")
def resize(
    call: Call,
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    """x (any axes) at another resolution: nearest, linear or cubic along each axis."""
    if call.opset < 11:
        assert roi is not None  # the second input was the factors then
        names = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return resize(Call("Resize", {**names, **call.attributes}, 11), x, None, roi)  # type: ignore[return-value]
    if call.get("coordinate_transformation_mode") == "tf_crop_and_resize" or call.get("antialias"):
        raise ModelError("Resize with tf_crop_and_resize or antialias has no rule")
    axes = [axis % x.dim() for axis in call.get("axes", range(x.dim()))]
    if sizes is None or not sizes.numel():
        assert scales is not None  # one of the two is given
        return _resized(call, x, [(a, s, None) for a, s in zip(axes, scales.tolist(), strict=True)])
    wanted = _fitted(call, ints(sizes), [x.shape[axis] for axis in axes])
    return _resized(call, x, [(a, scale, n) for a, (scale, n) in zip(axes, wanted, strict=True)])


def _fitted(
    call: Call, sizes: Sequence[int], lengths: Sequence[int]
) -> Sequence[tuple[float, int]]:
    """Factor and size of each axis, one factor for all where proportions are to stay."""
    policy = call.get("keep_aspect_ratio_policy", "stretch")
    factors = [size / length for size, length in zip(sizes, lengths, strict=True)]
    if policy == "stretch":
        return list(zip(factors, sizes, strict=True))
    factor = min(factors) if policy == "not_larger" else max(factors)
    return [(factor, math.floor(factor * length + 0.5)) for length in lengths]


def _resized(call: Call, x: Tensor, axes: Sequence[tuple[int, float, int | None]]) -> Tensor:
    for axis, scale, size in axes:
        length = x.shape[axis]
        count = math.floor(length * scale) if size is None else size
        if count == length and scale == 1:
            continue
        matrix = torch.from_numpy(_taps(call, length, count, scale)).to(x.dtype)
        x = (x.transpose(axis, -1) @ matrix.t()).transpose(axis, -1)
    return x


def _taps(call: Call, length: int, count: int, scale: float) -> Reals:
    """The matrix (count, length) that takes an axis to its new length."""
    places = _places(call, length, count, scale)
    mode = call.get("mode", "nearest")
    if mode == "nearest":
        found = np.zeros((count, length))
        nearest = _nearest(call.get("nearest_mode", "round_prefer_floor"), places)
        found[np.arange(count), nearest.clip(0, length - 1)] = 1
        return found
    return _weighed(call, places, length, mode)


def _places(call: Call, length: int, count: int, scale: float) -> Reals:
    """Where each new element lies in the old axis."""
    at = np.arange(count, dtype=np.float64)
    how = call.get("coordinate_transformation_mode", "half_pixel")
    if how == "asymmetric":
        return at / scale
    if how == "align_corners":
        return at * (length - 1) / (count - 1) if count > 1 else 0 * at
    if how == "pytorch_half_pixel" and count <= 1:
        return 0 * at
    if how == "tf_half_pixel_for_nn":
        return (at + 0.5) / scale
    centre = (at + 0.5) / scale - 0.5
    if how == "half_pixel_symmetric":
        centre += length / 2 * (1 - count / (scale * length))
    return centre


def _nearest(mode: str, places: Reals) -> NDArray[np.int64]:
    if mode == "floor":
        return np.floor(places).astype(np.int64)
    if mode == "ceil":
        return np.ceil(places).astype(np.int64)
    if mode == "round_prefer_ceil":
        return np.floor(places + 0.5).astype(np.int64)
    return np.ceil(places - 0.5).astype(np.int64)


def _weighed(call: Call, places: Reals, length: int, mode: str) -> Reals:
    """Taps of a linear or cubic kernel; those outside count as the edge, or not at all."""
    reach = 1 if mode == "linear" else 2
    sharpness = call.get("cubic_coeff_a", -0.75)
    found = np.zeros((len(places), length))
    for row, place in enumerate(places):
        taps = np.arange(math.floor(place - reach) + 1, math.ceil(place + reach))
        distance = np.abs(taps - place)
        weights = np.maximum(0, 1 - distance) if mode == "linear" else _cubic(distance, sharpness)
        if call.get("exclude_outside", 0):
            weights = np.where((taps >= 0) & (taps < length), weights, 0)
        np.add.at(found[row], taps.clip(0, length - 1), weights / weights.sum())
    return found


def _cubic(distance: Reals, a: float) -> Reals:
    """Keys, "Cubic convolution interpolation for digital image processing", 1981."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


@rule("GridSample")
def grid_sample(call: Call, x: Tensor, grid: Tensor) -> Tensor:
    """x (N, C, *spatial) at places of a grid (N, *out, axes) from -1 to 1."""
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(call.get("mode", "linear"))
    return torch.nn.functional.grid_sample(
        x,
        grid,
        mode or call.get("mode"),
        call.get("padding_mode", "zeros"),
        bool(call.get("align_corners", 0)),
    )
