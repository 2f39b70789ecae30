"""Pooling: windows of which the greatest, the mean or a norm is taken."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from eapc.autograd.rules import Call, rule
from eapc.autograd.windows import Pads, Window, pad_with


def _grown(call: Call, window: Window, sizes: tuple[int, ...]) -> Pads:
    """Pads with what ceil_mode needs behind each axis for the last window, if it starts inside.

    From opset 19 on a window that would start in the padding behind is left out, as onnxruntime
    does for all opsets.
    """
    if not call.get("ceil_mode", 0):
        return window.pads
    grown = []
    for size, span, stride, (begin, end) in zip(
        sizes, window.spans, window.strides, window.pads, strict=True
    ):
        count = -(-(size + begin + end - span) // stride)
        if count * stride >= size + begin:
            count -= 1
        grown.append((begin, max(end, count * stride + span - size - begin)))
    return tuple(grown)


def _windows(x: Tensor, window: Window, pads: Pads, value: float) -> Tensor:
    """All windows of x (N, C, *spatial) as (N, C, *out, kernel elements)."""
    x = pad_with(x, pads, value)
    axes = len(window.kernel)
    for axis in range(axes):
        x = x.unfold(2 + axis, window.spans[axis], window.strides[axis])
    for axis in range(axes):
        step = window.dilations[axis]
        if step > 1:
            taps = torch.arange(0, window.spans[axis], step)
            x = x.index_select(2 + axes + axis, taps)
    return x.flatten(2 + axes)


def _is_plain(call: Call, window: Window) -> bool:
    """Whether torch's own pooling of two axes does the same."""
    edges = zip(window.pads, window.kernel, strict=True)
    fit = all(begin == end <= taps // 2 for (begin, end), taps in edges)
    return fit and len(window.kernel) == 2 and not call.get("ceil_mode", 0)


@rule("MaxPool")
def max_pool(call: Call, x: Tensor) -> Tensor:
    """The greatest of each window."""
    sizes = tuple(x.shape[2:])
    window = Window.of(call, sizes)
    if _is_plain(call, window) and x.is_floating_point():
        pads = [begin for begin, _ in window.pads]
        return F.max_pool2d(x, window.kernel, window.strides, pads, window.dilations)
    low = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    return _windows(x, window, _grown(call, window, sizes), low).amax(-1)


@rule("AveragePool")
def average_pool(call: Call, x: Tensor) -> Tensor:
    """The mean of each window, of elements inside or with count_include_pad of padding too."""
    sizes = tuple(x.shape[2:])
    window = Window.of(call, sizes)
    if _is_plain(call, window) and set(window.dilations) == {1}:
        pads = [begin for begin, _ in window.pads]
        whole = bool(call.get("count_include_pad", 0))
        return F.avg_pool2d(x, window.kernel, window.strides, pads, False, whole)
    around = _grown(call, window, sizes)
    total = _windows(x, window, around, 0.0).sum(-1)
    ones = torch.ones((1, 1, *sizes), dtype=x.dtype)
    if call.get("count_include_pad", 0):
        ones = pad_with(ones, window.pads, 1.0)
        around = tuple(
            (after[0] - before[0], after[1] - before[1])
            for before, after in zip(window.pads, around, strict=True)
        )
    return total / _windows(ones, window, around, 0.0).sum(-1)


@rule("LpPool")
def lp_pool(call: Call, x: Tensor) -> Tensor:
    """The p-norm of each window."""
    sizes, p = tuple(x.shape[2:]), call.get("p", 2)
    window = Window.of(call, sizes)
    windows = _windows(x, window, _grown(call, window, sizes), 0.0)
    return windows.abs().pow(p).sum(-1).pow(1 / p)


@rule("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(call: Call, x: Tensor) -> Tensor:
    """The mean, greatest or p-norm of each channel's map."""
    axes = tuple(range(2, x.dim()))
    if call.op_type == "GlobalMaxPool":
        return x.amax(axes, keepdim=True)
    if call.op_type == "GlobalAveragePool":
        return x.mean(axes, keepdim=True)
    p = call.get("p", 2)
    return x.abs().pow(p).sum(axes, keepdim=True).pow(1 / p)
