"""Scaled dot-product attention (ONNX operator Attention, opset 23) and rotary embeddings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eapc.autograd.rules import Call, rule
from eapc.errors import ModelError

_RULED = {"is_causal", "kv_num_heads", "q_num_heads", "scale", "softcap", "softmax_precision"}


@rule("Attention")
def attention(
    call: Call,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_k: Tensor | None = None,
    past_v: Tensor | None = None,
    lengths: Tensor | None = None,
) -> list[Tensor]:
    """softmax(q k^T scale + mask) v by head; also the keys and values with those of the past."""
    more = sorted(set(call.attributes) - _RULED)
    if more or lengths is not None or call.outputs > 3:
        named = ", ".join(more) or "lengths of keys or the product as output"
        raise ModelError(f"Attention with {named} has no rule")
    flat = q.dim() == 3
    heads, groups = call.get("q_num_heads", 0), call.get("kv_num_heads", 0)
    if flat:
        q, k, v = _by_head(q, heads), _by_head(k, groups), _by_head(v, groups)
    k = k if past_k is None else torch.cat((past_k, k), 2)
    v = v if past_v is None else torch.cat((past_v, v), 2)
    each = q.shape[1] // k.shape[1]
    scale = call.get("scale", 1 / math.sqrt(q.shape[-1]))
    scores = q @ k.repeat_interleave(each, 1).transpose(-1, -2) * scale
    if cap := call.get("softcap", 0.0):
        scores = cap * torch.tanh(scores / cap)
    if call.get("is_causal", 0):
        before = k.shape[2] - q.shape[2] if past_k is not None else 0
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1 + before)
        scores = scores.masked_fill(ahead, -math.inf)
    if mask is not None:
        mask = mask[..., : scores.shape[-1]]
        is_flag = mask.dtype == torch.bool
        scores = scores.masked_fill(~mask, -math.inf) if is_flag else scores + mask
    y = scores.softmax(-1) @ v.repeat_interleave(each, 1)
    y = y.transpose(1, 2).flatten(2) if flat else y
    return [y, k, v][: call.outputs]


def _by_head(x: Tensor, heads: int) -> Tensor:
    """x (batch, time, heads x size) as (batch, heads, time, size)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


@rule("RotaryEmbedding")
def rotary_embedding(
    call: Call, x: Tensor, cos: Tensor, sin: Tensor, places: Tensor | None = None
) -> Tensor:
    """Pairs of x's elements turned by the angle of their place."""
    flat = x.dim() == 3
    if flat:
        x = _by_head(x, call.get("num_heads"))
    size = call.get("rotary_embedding_dim", 0) or x.shape[-1]
    turned, rest = x[..., :size], x[..., size:]
    if places is not None:
        cos, sin = cos[places.long()], sin[places.long()]
    cos, sin = (each[:, None, :, : size // 2] for each in (cos, sin))
    if call.get("interleaved", 0):
        real, imaginary = turned[..., 0::2], turned[..., 1::2]
    else:
        real, imaginary = turned.chunk(2, -1)
    pair = (cos * real - sin * imaginary, sin * real + cos * imaginary)
    interleaved = bool(call.get("interleaved", 0))
    y = torch.stack(pair, -1).flatten(-2) if interleaved else torch.cat(pair, -1)
    y = torch.cat((y, rest), -1)
    return y.transpose(1, 2).flatten(2) if flat else y
