"""Workloads of attention: ONNX's operator of opset 23 and onnxruntime's.

Priced like attention that is exported node by node: scores = Q K^T, softmax, scores V, each
handed on through memory.
"""

from __future__ import annotations

from eapc.workload.loop_nests import ConvWorkload, StreamWorkload
from eapc.workload.rules import Operands, Part, Shape, UnmodelledError, Work, workload_rule

ORT = "com.microsoft"

_PER_SCORE = 5
"""Scaling, adding the mask, and the three operations of a softmax."""


def _parts(
    batch: int,
    heads: tuple[int, int],
    lengths: tuple[int, int],
    sizes: tuple[int, int],
    names: tuple[str, str, str],
    result: str,
) -> tuple[Part, ...]:
    """macs = batch * heads * queries * keys * (head size + value size).

    `heads` of queries share the second number of heads of keys and values; `lengths` are those
    of queries and keys, `sizes` those of a key and a value, `names` the tensors that hold query,
    key and value, `result` the one that is written.
    """
    (own, stored), (queries, keys), (head_size, value_size) = heads, lengths, sizes
    query, key, value = names
    groups, rows = batch * stored, queries * (own // stored)
    scores = batch * own * queries * keys
    scoring = ConvWorkload(1, groups, keys, head_size, rows, 1)
    softmax = StreamWorkload(_PER_SCORE * scores, ifmap_words=scores, ofmap_words=scores)
    mixing = ConvWorkload(1, groups, value_size, keys, rows, 1)
    return (
        Part(scoring, weights=key, ifmap=query),
        Part(softmax),
        Part(mixing, weights=value, ofmap=result),
    )


def _split(shape: Shape, heads: int) -> tuple[int, int, int]:
    """(batch, length, head size) of (batch, heads, length, size) or (batch, length, width)."""
    if len(shape) == 4:
        return shape[0], shape[2], shape[3]
    if len(shape) == 3 and heads:
        return shape[0], shape[1], shape[2] // heads
    raise UnmodelledError(f"attention over {len(shape)} axes")


def _past(operands: Operands, index: int, axis: int) -> int:
    """Keys that an earlier run has left, which are an optional input."""
    return operands.input(index)[axis] if operands.node.input(index) else 0


@workload_rule("Attention")
def attention(operands: Operands) -> Work:
    """Q, K, V of (batch, heads, length, size) or (batch, length, heads * size); past in 4, 5."""
    node, q, k = operands.node, operands.input(0), operands.input(1)
    heads = q[1] if len(q) == 4 else node.attribute("q_num_heads", 0)
    stored = k[1] if len(k) == 4 else node.attribute("kv_num_heads", 0)
    return _attention(operands, heads, stored, _past(operands, 4, 2))


def _attention(operands: Operands, heads: int, stored: int, past: int) -> Work:
    """Of query, key and value in tensors of their own, the first three inputs."""
    node = operands.node
    batch, queries, size = _split(operands.input(0), heads)
    _, keys, _ = _split(operands.input(1), stored)
    _, _, value_size = _split(operands.input(2), stored)
    names = (node.inputs[0], node.inputs[1], node.inputs[2])
    lengths, sizes = (queries, keys + past), (size, value_size)
    return Work(_parts(batch, (heads, stored), lengths, sizes, names, node.outputs[0]))


@workload_rule("Attention", domain=ORT)
def fused_attention(operands: Operands) -> Work:
    """x (batch, length, width) @ w (width, q + k + v), then attention; past keys in 4, axis 3."""
    node, w = operands.node, operands.input(1)
    batch, length, width = operands.input(0)
    heads = node.attribute("num_heads", 1)
    third = w[1] // 3
    query_width, _, value_width = node.attribute("qkv_hidden_sizes", [third] * 3)
    keys = length + _past(operands, 4, 3)
    projection = ConvWorkload(batch, 1, w[1], width, length, 1)
    sizes = (query_width // heads, value_width // heads)
    parts = _parts(batch, (heads, heads), (length, keys), sizes, ("", "", ""), node.outputs[0])
    projected = Part(projection, weights=node.inputs[1], ifmap=node.inputs[0])
    return Work((projected, *parts))


@workload_rule("MultiHeadAttention", domain=ORT)
def multi_head_attention(operands: Operands) -> Work:
    """Q (batch, length, width), K and V the same or split in heads; past keys in 6."""
    node = operands.node
    if len(operands.input(0)) != 3 or not node.input(2):
        raise UnmodelledError("query, key and value packed in one tensor")
    heads = node.attribute("num_heads", 1)
    return _attention(operands, heads, heads, _past(operands, 6, 2))
