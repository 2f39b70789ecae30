"""Grids: quantised operators compute with codes as numbers, and gradients pass straight through.

Straight through: Bengio, Leonard, Courville, "Estimating or Propagating Gradients Through
Stochastic Neurons for Conditional Computation", 2013.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from eapc.autograd.rules import Call, rule
from eapc.model import code_range, numpy_type


def rounded(x: Tensor) -> Tensor:
    """The nearest whole numbers, with the gradient of x."""
    return x + (torch.round(x) - x).detach()


def within(x: Tensor, low: float, high: float) -> Tensor:
    """x within bounds, beyond which there is no gradient."""
    return x.clamp(low, high)


def spread(values: Tensor, like: Tensor, axis: int, block: int = 0) -> Tensor:
    """Scales or zero points (1,), (n,) or by blocks, in a shape that suits a tensor."""
    if block:
        return values.repeat_interleave(block, axis % like.dim()).narrow(axis, 0, like.shape[axis])
    if values.numel() == 1:
        return values.reshape(())
    if values.dim() != 1:
        return values
    return values.reshape([-1 if at == axis % like.dim() else 1 for at in range(like.dim())])


@rule("DequantizeLinear")
@rule("DequantizeLinear", domain="com.microsoft")
def dequantize(call: Call, codes: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """(codes - zero point) scale."""
    axis, block = call.get("axis", 1), call.get("block_size", 0)
    values = codes.to(scale.dtype)
    if zero is not None:
        values = values - spread(zero.to(scale.dtype), codes, axis, block)
    return values * spread(scale, codes, axis, block)


@rule("QuantizeLinear")
@rule("QuantizeLinear", domain="com.microsoft")
def quantize(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """Codes of x on a grid, as numbers."""
    axis, block = call.get("axis", 1), call.get("block_size", 0)
    low, high = _range(call, zero)
    codes = rounded(x / spread(scale, x, axis, block))
    if zero is not None:
        codes = codes + spread(zero.to(x.dtype), x, axis, block)
    return within(codes, low, high)


def _range(call: Call, zero: Tensor | None) -> tuple[int, int]:
    """The least and greatest code; of the type that the node or its zero point says."""
    to = call.get("output_dtype", 0)
    dtype = numpy_type(to) if to else np.dtype(np.uint8)
    if not to and zero is not None:
        dtype = call.stored.get(2, np.dtype(str(zero.dtype).removeprefix("torch.")))
    return code_range(dtype)


@rule("DynamicQuantizeLinear")
def quantize_dynamically(_: Call, x: Tensor) -> list[Tensor]:
    """Codes of x on the grid of 256 that holds it and zero; its scale and zero point."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    scale = ((high - low) / 255).detach()
    zero = torch.round((-low / scale).clamp(0, 255)).detach()
    return [within(rounded(x / scale) + zero, 0, 255), scale, zero.to(torch.uint8)]


@rule("MatMulInteger")
def integer_product(
    _: Call, a: Tensor, b: Tensor, zero_a: Tensor | None = None, zero_b: Tensor | None = None
) -> Tensor:
    """The product of codes less their zero points: a's by row, b's by column."""
    a, b = a.to(torch.float32), b.to(torch.float32)
    if zero_a is not None:
        a = a - (zero_a.reshape(-1, 1) if zero_a.dim() == 1 and zero_a.numel() > 1 else zero_a)
    return torch.matmul(a, b if zero_b is None else b - zero_b)
