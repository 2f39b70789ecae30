"""Convolutions and matrix products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from eapc.autograd.gains import gain_of
from eapc.autograd.rules import Call, rule
from eapc.autograd.windows import Window, padded

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@rule("Conv", weights=(1,), shifts=(2,))
def convolution(call: Call, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """x (N, C, *spatial) with w (M, C / group, *kernel) and b (M,)."""
    window = Window.of(call, tuple(x.shape[2:]), tuple(w.shape[2:]))
    x, pads = padded(x, window.pads, 0.0)
    options = {"stride": window.strides, "dilation": window.dilations, "padding": pads}
    return _CONVOLUTIONS[w.dim() - 2](x, w, b, groups=call.get("group", 1), **options)


@rule("FusedConv", domain="com.microsoft", weights=(1,), shifts=(2,))
def fused_convolution(
    call: Call, x: Tensor, w: Tensor, b: Tensor | None = None, z: Tensor | None = None
) -> Tensor:
    """A convolution, z added, and an activation."""
    y = convolution(call, x, w, b)
    assert isinstance(y, Tensor)  # a convolution has one output
    y = y if z is None else y + z
    name = call.get("activation", "")
    if name == "Clip":
        low, high = call.get("activation_params")
        return torch.clamp(y, low, high)
    if not name:
        return y
    gain, given = gain_of(name), call.get("activation_params", ())
    return gain.function(y, *gain.parameters(iter(given[:1]), iter(given[1:])))


@rule("ConvTranspose", weights=(1,), shifts=(2,))
def transposed_convolution(call: Call, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """x (N, C, *spatial) with w (C, M / group, *kernel): the gradient of a convolution.

    Computed without padding; what pads or the output's shape leave out is cut away, and where
    the output reaches further there is nothing but the bias.
    """
    axes = w.dim() - 2
    strides, dilations = call.get("strides", [1] * axes), call.get("dilations", [1] * axes)
    whole = _TRANSPOSED[axes](
        x, w, None, stride=strides, groups=call.get("group", 1), dilation=dilations
    )
    begins, sizes = _extent(call, x, whole, strides)
    edges = [
        edge
        for begin, size, length in zip(begins, sizes, whole.shape[2:], strict=True)
        for edge in (-begin, begin + size - length)
    ]
    y = F.pad(whole, _last_axis_first(edges))
    return y if b is None else y + b.reshape(-1, *[1] * axes)


def _extent(
    call: Call, x: Tensor, whole: Tensor, strides: list[int]
) -> tuple[list[int], list[int]]:
    """Where the output begins in the unpadded one, and its size, by axis."""
    axes = x.dim() - 2
    extra = call.get("output_padding", [0] * axes)
    full = [length + more for length, more in zip(whole.shape[2:], extra, strict=True)]
    mode, shape = call.get("auto_pad", "NOTSET"), call.get("output_shape")
    if mode.startswith("SAME") and shape is None:
        shape = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
    if shape is None:
        pads = call.get("pads", [0] * 2 * axes) if mode == "NOTSET" else [0] * 2 * axes
        sizes = [length - pads[axis] - pads[axis + axes] for axis, length in enumerate(full)]
        return list(pads[:axes]), sizes
    sizes = list(shape)[-axes:]
    spare = [length - size for length, size in zip(full, sizes, strict=True)]
    if mode == "SAME_UPPER":
        return [cut // 2 for cut in spare], sizes
    return [cut - cut // 2 for cut in spare], sizes


def _last_axis_first(edges: list[int]) -> list[int]:
    """Pairs of (begin, end) by axis, in the order in which torch pads."""
    pairs = [edges[at : at + 2] for at in range(0, len(edges), 2)]
    return [edge for pair in reversed(pairs) for edge in pair]


@rule("Gemm", weights=(0, 1), shifts=(2,))
def gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """alpha a b + beta c, of transposed matrices where asked for."""
    a = a.t() if call.get("transA", 0) else a
    b = b.t() if call.get("transB", 0) else b
    y = call.get("alpha", 1.0) * (a @ b)
    return y if c is None else y + call.get("beta", 1.0) * c  # type: ignore[no-any-return]


@rule("MatMul", weights=(0, 1))
def matrix_product(_: Call, a: Tensor, b: Tensor) -> Tensor:
    """a b, numpy's."""
    return torch.matmul(a, b)


@rule("FusedMatMul", domain="com.microsoft", weights=(0, 1))
def fused_matrix_product(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """alpha a b, of transposed matrices where asked for."""
    a = a.transpose(-1, -2) if call.get("transA", 0) else a
    b = b.transpose(-1, -2) if call.get("transB", 0) else b
    return call.get("alpha", 1.0) * torch.matmul(a, b)  # type: ignore[no-any-return]


@rule("Einsum", weights=(0, 1))
def einsum(call: Call, *operands: Tensor) -> Tensor:
    """A sum of products by its equation."""
    return torch.einsum(call.get("equation").replace(" ", ""), *operands)


@rule("Det")
def determinant(_: Call, x: Tensor) -> Tensor:
    """The determinant of x (..., n, n)."""
    found: Tensor = torch.linalg.det(x)
    return found
