"""Normalisations and softmax."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from eapc.autograd.rules import Call, rule


@rule("BatchNormalization", weights=(1,), shifts=(2,))
def batch_normalization(
    call: Call, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """x with the statistics of the file: those of a batch are for training from nothing."""
    return F.batch_norm(x, mean, variance, scale, shift, eps=call.get("epsilon", 1e-5))


@rule("InstanceNormalization", weights=(1,), shifts=(2,))
def instance_normalization(call: Call, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Each channel's map of each input with mean 0 and variance 1, scaled and shifted."""
    return F.instance_norm(x, weight=scale, bias=shift, eps=call.get("epsilon", 1e-5))


@rule("LayerNormalization", weights=(1,), shifts=(2,))
def layer_normalization(
    call: Call, x: Tensor, scale: Tensor, shift: Tensor | None = None
) -> list[Tensor]:
    """x with mean 0 and variance 1 over the last axes, scaled and shifted; mean, 1 / deviation."""
    axis = call.get("axis", -1) % x.dim()
    over = tuple(range(axis, x.dim()))
    mean = x.mean(over, keepdim=True)
    spread = torch.rsqrt((x - mean).square().mean(over, keepdim=True) + call.get("epsilon", 1e-5))
    y = (x - mean) * spread * scale
    return [y if shift is None else y + shift, mean, spread][: call.outputs]


@rule("SkipLayerNormalization", domain="com.microsoft", weights=(2,), shifts=(3, 4))
def skip_layer_normalization(
    call: Call,
    x: Tensor,
    skip: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    bias: Tensor | None = None,
) -> list[Tensor]:
    """Layer normalisation of x + skip + bias; the sum is the fourth output."""
    total = x + skip if bias is None else x + skip + bias
    y = F.layer_norm(total, total.shape[-1:], scale, shift, call.get("epsilon", 1e-12))
    return [y, y.new_empty(0), y.new_empty(0), total][: call.outputs]


@rule("RMSNormalization", "SimplifiedLayerNormalization", weights=(1,))
def rms_normalization(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    """x over its root mean square over the last axes, scaled."""
    over = tuple(range(call.get("axis", -1) % x.dim(), x.dim()))
    return x * torch.rsqrt(x.square().mean(over, keepdim=True) + call.get("epsilon", 1e-5)) * scale


@rule("GroupNormalization", weights=(1,), shifts=(2,))
def group_normalization(call: Call, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Groups of channels with mean 0 and variance 1; up to opset 20 scaled by group."""
    groups = call.get("num_groups")
    if call.opset < 21:
        scale, shift = (each.repeat_interleave(x.shape[1] // groups) for each in (scale, shift))
    return F.group_norm(x, groups, scale, shift, call.get("epsilon", 1e-5))


@rule("MeanVarianceNormalization")
def mean_variance_normalization(call: Call, x: Tensor) -> Tensor:
    """x with mean 0 and variance 1 over some axes."""
    axes = tuple(call.get("axes", (0, 2, 3)))
    mean = x.mean(axes, keepdim=True)
    variance = (x * x).mean(axes, keepdim=True) - mean * mean
    return (x - mean) / (variance.sqrt() + 1e-9)


@rule("LpNormalization")
def lp_normalization(call: Call, x: Tensor) -> Tensor:
    """x over its 1- or 2-norm along an axis, 0 where that is 0."""
    norm = torch.linalg.vector_norm(x, call.get("p", 2), call.get("axis", -1), keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


@rule("LRN")
def local_response_normalization(call: Call, x: Tensor) -> Tensor:
    """x over a power of the squares of channels beside it."""
    size, alpha = call.get("size"), call.get("alpha", 1e-4)
    before = (size - 1) // 2
    squares = x.square().transpose(1, -1)
    summed = F.pad(squares, (before, size - 1 - before)).unfold(-1, size, 1).sum(-1)
    factor = summed.transpose(1, -1) * (alpha / size) + call.get("bias", 1.0)
    found: Tensor = x / factor.pow(call.get("beta", 0.75))
    return found


@rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(call: Call, x: Tensor) -> Tensor:
    """Shares along an axis; up to opset 12 along all axes from it on together."""
    if call.opset >= 13:
        return _shares(call.op_type, x, call.get("axis", -1))
    axis = call.get("axis", 1) % max(1, x.dim())
    rows = x.reshape(int(torch.tensor(x.shape[:axis]).prod()), -1)
    return _shares(call.op_type, rows, -1).reshape(x.shape)


def _shares(op_type: str, x: Tensor, axis: int) -> Tensor:
    if op_type == "Hardmax":
        first = x.argmax(axis, keepdim=True)
        return torch.zeros_like(x).scatter(axis, first, 1)
    return (F.softmax if op_type == "Softmax" else F.log_softmax)(x, axis)
