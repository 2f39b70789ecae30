"""Attention, and the operators that onnxruntime's optimiser makes, worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import Array, loaded, normal, op, value
from onnx import NodeProto
from work_builders import items_of, reason_of

from eapc.energy import NodeWork
from eapc.model import infer_shapes, input_shapes
from eapc.workload import ConvWorkload, StreamWorkload, Work

ORT = "com.microsoft"
Sizes = dict[str, tuple[int, ...]]


def item(node: NodeProto, inputs: Sizes, tensors: dict[str, Array] | None = None) -> NodeWork:
    model = loaded([node], inputs, [value(node.output[0], None)], tensors, opset=23)
    (found,) = items_of(model)
    assert not found.reason
    return found


def attention(node: NodeProto, inputs: Sizes, tensors: dict[str, Array] | None = None) -> Work:
    return item(node, inputs, tensors).work


# --- attention -------------------------------------------------------------------------------


def test_attention_over_heads() -> None:
    """2 sequences, 4 heads of 16; 5 queries, 7 keys, values of 8."""
    work = attention(
        op("Attention", "q k v", "y"),
        {"q": (2, 4, 5, 16), "k": (2, 4, 7, 16), "v": (2, 4, 7, 8)},
    )
    scoring, softmax, mixing = work.parts
    assert scoring.workload == ConvWorkload(1, 8, 7, 16, 5, 1)
    assert softmax.workload == StreamWorkload(5 * 280, ifmap_words=280, ofmap_words=280)
    assert mixing.workload == ConvWorkload(1, 8, 8, 7, 5, 1)
    assert (scoring.ifmap, scoring.weights) == ("q", "k")
    assert (mixing.weights, mixing.ofmap, work.ofmap) == ("v", "y", "y")
    assert sum(load.macs for load in work.workloads) == 8 * 5 * 7 * (16 + 8)


def test_attention_over_widths_equals_that_over_heads() -> None:
    split = attention(op("Attention", "q k v", "y"), dict.fromkeys("qkv", (2, 4, 5, 16)))
    joined = attention(
        op("Attention", "q k v", "y", q_num_heads=4, kv_num_heads=4),
        dict.fromkeys("qkv", (2, 5, 64)),
    )
    assert joined == split


def test_grouped_queries_share_their_keys() -> None:
    """8 heads of queries on 2 of keys: each key is read for the rows of four heads."""
    scoring, _, mixing = attention(
        op("Attention", "q k v", "y"),
        {"q": (1, 8, 5, 16), "k": (1, 2, 7, 16), "v": (1, 2, 7, 16)},
    ).workloads
    assert scoring == ConvWorkload(1, 2, 7, 16, 20, 1)
    assert mixing == ConvWorkload(1, 2, 16, 7, 20, 1)


def test_keys_of_the_past_count() -> None:
    node = op("Attention", "q k v - pk pv", "y", q_num_heads=2, kv_num_heads=2)
    inputs: Sizes = {
        **dict.fromkeys("qkv", (1, 1, 32)),
        **dict.fromkeys(("pk", "pv"), (1, 2, 9, 16)),
    }
    scoring, *_ = attention(node, inputs).workloads
    assert scoring == ConvWorkload(1, 2, 10, 16, 1, 1)


def test_attention_without_heads_says_so() -> None:
    node = op("Attention", "q k v", "y")
    assert "attention over 3 axes" in reason_of(node, dict.fromkeys("qkv", (1, 5, 32)))


def test_attention_with_its_projections() -> None:
    node = op("Attention", "x w b", "y", domain=ORT, num_heads=4)
    found = item(node, {"x": (2, 5, 64)}, {"w": normal((64, 192)), "b": normal((192,))})
    projection, scoring, _, mixing = found.work.parts
    assert projection.workload == ConvWorkload(2, 1, 192, 64, 5, 1)
    assert (projection.weights, projection.ifmap) == ("w", "x")
    assert scoring.workload == ConvWorkload(1, 8, 5, 16, 5, 1)
    assert mixing.workload == ConvWorkload(1, 8, 16, 5, 5, 1)


def test_attention_of_many_heads() -> None:
    node = op("MultiHeadAttention", "q k v", "y", domain=ORT, num_heads=4)
    work = attention(node, {"q": (2, 5, 64), "k": (2, 7, 64), "v": (2, 7, 32)})
    assert work.workloads[0] == ConvWorkload(1, 8, 7, 16, 5, 1)
    assert work.workloads[2] == ConvWorkload(1, 8, 8, 7, 5, 1)


def test_a_packed_query_is_not_modelled() -> None:
    node = op("MultiHeadAttention", "q", "y", domain=ORT, num_heads=4)
    assert "packed" in reason_of(node, {"q": (2, 5, 4, 3, 16)})


# --- what the optimiser makes ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "a", "b"),
    [
        ({}, (2, 5, 16), (2, 16, 7)),
        ({"transA": 1}, (2, 16, 5), (2, 16, 7)),
        ({"transB": 1, "alpha": 0.125}, (2, 5, 16), (2, 7, 16)),
        ({"transA": 1, "transB": 1}, (2, 16, 5), (2, 7, 16)),
    ],
)
def test_a_fused_product(
    attributes: dict[str, Any], a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    node = op("FusedMatMul", "a b", "y", domain=ORT, **attributes)
    model = loaded([node], {"a": a, "b": b}, [value("y", None)])
    (found,) = items_of(model)
    assert found.work.workloads == (ConvWorkload(1, 2, 7, 16, 5, 1),)
    assert infer_shapes(model, input_shapes(model, {}, None)).main("y") == (2, 5, 7)


def test_a_fused_convolution() -> None:
    node = op("FusedConv", "x w", "y", domain=ORT, activation="Relu", pads=[1, 1, 1, 1])
    (load,) = attention(node, {"x": (1, 4, 8, 8)}, {"w": normal((6, 4, 3, 3))}).workloads
    assert load.macs == 6 * 4 * 9 * 64


def test_a_fused_gemm() -> None:
    node = op("FusedGemm", "x w", "y", domain=ORT, transB=1, activation="Relu")
    (load,) = attention(node, {"x": (3, 10)}, {"w": normal((7, 10))}).workloads
    assert load == ConvWorkload(3, 1, 7, 10, 1, 1)


@pytest.mark.parametrize(("op_type", "each"), [("Gelu", 3), ("FastGelu", 4), ("QuickGelu", 3)])
def test_activation_functions(op_type: str, each: int) -> None:
    (load,) = attention(op(op_type, "x", "y", domain=ORT), {"x": (2, 5)}).workloads
    assert load == StreamWorkload(10 * each, ifmap_words=10, ofmap_words=10)


def test_a_normalised_sum_reads_both() -> None:
    node = op("SkipLayerNormalization", "x s g", "y", domain=ORT)
    (load,) = attention(node, {"x": (2, 5, 8), "s": (2, 5, 8)}, {"g": normal((8,))}).workloads
    assert load == StreamWorkload(640, ifmap_words=160, weight_words=8, ofmap_words=80)


def test_shapes_pass_through_the_operators_of_onnxruntime() -> None:
    """A block of a transformer as the optimiser leaves it: every node is modelled."""
    nodes = [
        op("Attention", "x w b", "a", domain=ORT, num_heads=4),
        op("MatMul", "a p", "m"),
        op("SkipLayerNormalization", "m x g", "n mean var sum", domain=ORT),
        op("MatMulNBits", "n q t", "h", domain=ORT, K=64, N=32, bits=4, block_size=32),
        op("FastGelu", "h", "f", domain=ORT),
        op("FusedMatMul", "f p2", "o", domain=ORT, transB=1),
        op("Add", "o sum", "y"),
    ]
    tensors = {
        "w": normal((64, 192)), "b": normal((192,)), "p": normal((64, 64)), "g": normal((64,)),
        "q": np.zeros((32, 2, 16), np.uint8), "t": normal((64,)), "p2": normal((64, 32)),
    }  # fmt: skip
    items = items_of(loaded(nodes, {"x": (2, 5, 64)}, ["y"], tensors))
    assert [found.reason for found in items] == [""] * 7
    assert items[4].fused_into == items[3].node.key
    assert items[6].work.workloads[0].ofmap_words == 2 * 5 * 64
