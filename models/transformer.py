"""Twelve encoder blocks of BERT-base as an exporter writes them at opset 17.

Linear layers are MatMul and Add, attention is MatMul, Div, Softmax and MatMul on transposed
heads, and Gelu is spelt with Erf: x / 2 * (1 + erf(x / sqrt(2))).

1. Devlin, Chang, Lee, Toutanova, "BERT: pre-training of deep bidirectional transformers for
   language understanding", NAACL 2019.
"""

import numpy as np
from graph_builder import Builder, Feature, weights_from
from onnx import ModelProto, TensorProto

BLOCKS = 12
HIDDEN = 768
HEADS = 12
HEAD_SIZE = HIDDEN // HEADS
FEED_FORWARD = 3072
VOCABULARY = 30522
POSITIONS = 512
SEGMENTS = 2
LENGTH = 128

TO_HEADS = [0, 2, 1, 3]
"""(N, L, heads, size) to (N, heads, L, size), and back."""
TO_TRANSPOSED_HEADS = [0, 2, 3, 1]
"""(N, L, heads, size) to (N, heads, size, L)."""


def scalar(b: Builder, name: str, value: float) -> str:
    """Return the name of a shared float32 constant."""
    return b.constant(name, np.array(value, np.float32))


def layer_norm(b: Builder, x: Feature, name: str) -> Feature:
    """LayerNormalization over the last axis, its scale and bias slightly scattered."""
    weight = b.weight(f"{name}.weight", (x.channels,), 1.0, 0.05)
    bias = b.weight(f"{name}.bias", (x.channels,), 0.0, 0.05)
    out = b.node("LayerNormalization", name, x.name, weight, bias, axis=-1, epsilon=1e-12)
    return Feature(out, x.channels)


def embed(b: Builder, name: str, rows: int, indices: str) -> Feature:
    """Rows of a table of (rows, HIDDEN) picked by Gather."""
    table = b.weight(f"{name}.weight", (rows, HIDDEN), 0.0, 0.02)
    return Feature(b.node("Gather", name, table, indices), HIDDEN)


def embeddings(b: Builder, input_ids: Feature) -> Feature:
    """Normalised sum of word, position and segment embeddings; all tokens are of segment 0."""
    positions = b.constant("position_ids", np.arange(LENGTH, dtype=np.int64))
    segments = b.constant("token_type_ids", np.zeros(LENGTH, np.int64))
    x = b.add(
        embed(b, "embeddings.word", VOCABULARY, input_ids.name),
        embed(b, "embeddings.segment", SEGMENTS, segments),
        "embeddings.add_segment",
    )
    x = b.add(x, embed(b, "embeddings.position", POSITIONS, positions), "embeddings.add_position")
    return layer_norm(b, x, "embeddings.norm")


def heads(b: Builder, x: Feature, name: str, axes: list[int]) -> str:
    """Project (N, L, HIDDEN), split it into heads and transpose them by `axes`."""
    shape = b.constant("split_heads", np.array([0, 0, HEADS, HEAD_SIZE], np.int64))
    x = b.linear(x, name, HIDDEN)
    split = b.node("Reshape", f"{name}.split", x.name, shape)
    return b.node("Transpose", f"{name}.transpose", split, perm=axes)


def attention(b: Builder, x: Feature, name: str) -> Feature:
    """Multi-head self-attention without mask: (N, L, HIDDEN) to the same shape."""
    query = heads(b, x, f"{name}.query", TO_HEADS)
    key = heads(b, x, f"{name}.key", TO_TRANSPOSED_HEADS)
    value = heads(b, x, f"{name}.value", TO_HEADS)
    scores = b.node("MatMul", f"{name}.scores", query, key)
    scale = scalar(b, "sqrt_head_size", HEAD_SIZE**0.5)
    scores = b.node("Div", f"{name}.scale", scores, scale)
    weights = b.node("Softmax", f"{name}.softmax", scores, axis=-1)
    context = b.node("MatMul", f"{name}.context", weights, value)
    context = b.node("Transpose", f"{name}.transpose", context, perm=TO_HEADS)
    shape = b.constant("join_heads", np.array([0, 0, HIDDEN], np.int64))
    joined = b.node("Reshape", f"{name}.join", context, shape)
    return b.linear(Feature(joined, HIDDEN), f"{name}.output", HIDDEN)


def gelu(b: Builder, x: Feature, name: str) -> Feature:
    """Five nodes for x / 2 * (1 + erf(x / sqrt(2)))."""
    scaled = b.node("Div", f"{name}.div", x.name, scalar(b, "sqrt_two", 2**0.5))
    erf = b.node("Erf", f"{name}.erf", scaled)
    shifted = b.node("Add", f"{name}.add", erf, scalar(b, "one", 1.0))
    product = b.node("Mul", f"{name}.mul", x.name, shifted)
    return Feature(b.node("Mul", f"{name}.half", product, scalar(b, "half", 0.5)), x.channels)


def encoder_block(b: Builder, x: Feature, name: str) -> Feature:
    """Attention and feed-forward, each summed with its input and then normalised [1]."""
    y = b.add(attention(b, x, f"{name}.attention"), x, f"{name}.attention.residual")
    x = layer_norm(b, y, f"{name}.attention.norm")
    y = gelu(b, b.linear(x, f"{name}.intermediate", FEED_FORWARD), f"{name}.gelu")
    y = b.add(b.linear(y, f"{name}.output", HIDDEN, gain=2.0), x, f"{name}.output.residual")
    return layer_norm(b, y, f"{name}.output.norm")


def transformer12(seed: int | None = 0, batch: int | None = None) -> ModelProto:
    """Encoder of BERT-base [1]: int64 input_ids (N, 128) to last_hidden_state (N, 128, 768).

    The pooler and the attention mask are left out.
    """
    b = Builder("transformer12", weights_from(seed), batch)
    x = embeddings(b, b.input("input_ids", [LENGTH], TensorProto.INT64))
    for index in range(BLOCKS):
        x = encoder_block(b, x, f"encoder.{index}")
    return b.finish(x, "last_hidden_state", [LENGTH, HIDDEN])
