"""Operators that carry a state along a sequence, and gates: onnxruntime's and ONNX's latest."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from builders import Array, loaded, normal, op, scalar, value
from onnx import TensorProto
from work_builders import items_of

from eapc.commands.compiler import analyze
from eapc.energy import NodeWork
from eapc.model import Model, Shapes, infer_shapes, input_shapes
from eapc.workload import ConvWorkload, StreamWorkload

ORT = "com.microsoft"
DOMAINS = ("", ORT)


def the_item(model: Model) -> NodeWork:
    item = items_of(model)[0]
    assert not item.reason
    return item


def shapes_of(model: Model) -> Shapes:
    return infer_shapes(model, input_shapes(model, {}, None))


# --- linear attention ------------------------------------------------------------------------

BATCH, STEPS, HEADS, KEPT, KEY, VALUE = 2, 3, 4, 2, 8, 16


def linear_attention(domain: str, **how: Any) -> Model:
    inputs = {
        "q": (BATCH, STEPS, HEADS * KEY),
        "k": (BATCH, STEPS, KEPT * KEY),
        "v": (BATCH, STEPS, KEPT * VALUE),
        "g": (BATCH, STEPS, KEPT),
    }
    node = op(
        "LinearAttention", "q k v - g g", "y s", domain=domain,
        q_num_heads=HEADS, kv_num_heads=KEPT, **how,
    )  # fmt: skip
    outputs = [onnx.ValueInfoProto(name=name) for name in ("y", "s")]
    return loaded([node], inputs, outputs, opset=20)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(
    ("rule", "passes", "operations"),
    [
        ("linear", 4 + 2, 0),
        ("gated", 4 + 2, 2 * 8 * 16),
        ("delta", 4 + 2 + 2, 2 * 2 * 16),
        ("gated_delta", 4 + 2 + 2, 2 * 8 * 16 + 2 * 2 * 16),
    ],
)
def test_linear_attention(domain: str, rule: str, passes: int, operations: int) -> None:
    """4 heads read 8 x 16 states, 2 states are written and, by delta rules, looked up before."""
    item = the_item(linear_attention(domain, update_rule=rule))
    assert sum(p.workload.macs * p.times for p in item.work.parts) == 2 * 3 * passes * 8 * 16
    streams = [(p.workload, p.times) for p in item.work.parts]
    done = [load.operations * n for load, n in streams if isinstance(load, StreamWorkload)]
    assert sum(done) == 2 * 3 * operations


@pytest.mark.parametrize("domain", DOMAINS)
def test_shapes_of_linear_attention(domain: str) -> None:
    shapes = shapes_of(linear_attention(domain))
    assert shapes.main("y") == (BATCH, STEPS, HEADS * VALUE)
    assert shapes.main("s") == (BATCH, KEPT, KEY, VALUE)


def test_what_linear_attention_is_not_modelled_with() -> None:
    unknown = items_of(linear_attention("", update_rule="none such"))[0].reason
    assert unknown == "4 and 2 heads under the rule 'none such'"
    assert items_of(linear_attention(ORT, state_window=2))[0].reason == "a window of states"


# --- causal convolutions ---------------------------------------------------------------------


def causal(domain: str, inputs: str = "x w", x: tuple[int, ...] = (2, 6, 10), **how: Any) -> Model:
    node = op("CausalConvWithState", inputs, "y", domain=domain, **how)
    fed = {"x": x, "p": (2, 6, 3)} if "p" in inputs else {"x": x}
    tensors = {"w": normal((6, 1, 4))}
    return loaded([node], fed, [onnx.ValueInfoProto(name="y")], tensors, opset=20)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_causal_convolution(domain: str) -> None:
    """6 channels of 10 positions, 4 taps: 1 + 2 + 3 pairs lie before the first position."""
    model = causal(domain)
    (load,) = the_item(model).work.workloads
    assert load == ConvWorkload(2, 6, 1, 1, 1, 10, filter_columns=4, unpadded_fraction=34 / 40)
    assert load.macs == 2 * 6 * 10 * 4
    assert shapes_of(model).main("y") == (2, 6, 10)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_state_takes_the_place_of_padding(domain: str) -> None:
    first, behind = the_item(causal(domain, "x w - p", activation="silu")).work.workloads
    assert isinstance(first, ConvWorkload)
    assert first.unpadded_fraction == 1
    assert behind == StreamWorkload(operations=3 * 2 * 6 * 10)


def test_a_causal_convolution_of_channels_last() -> None:
    (load,) = the_item(causal(ORT, x=(2, 10, 6), channels_last=1, dilation=2)).work.workloads
    assert isinstance(load, ConvWorkload)
    assert (load.groups, load.ofmap_columns, load.dilation_columns) == (6, 10, 2)
    assert load.unpadded_fraction == (40 - 2 - 4 - 6) / 40


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (causal(ORT, state_window=2), "state_window"),
        (causal(ORT, x=(2, 6, 4, 10), ndim=2), "more than one spatial axis"),
    ],
)
def test_causal_convolutions_that_are_not_modelled(model: Model, said: str) -> None:
    assert items_of(model)[0].reason == said


# --- gates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_gate_of_two_halves(domain: str) -> None:
    """Three operations of a Swish and a product, for 2 * 6 values."""
    node = op("SwiGLU", "a b", "y", domain=domain)
    inputs = {"a": (2, 6), "b": (2, 6)}
    model = loaded([node], inputs, [onnx.ValueInfoProto(name="y")], opset=20)
    (load,) = the_item(model).work.workloads
    assert load == StreamWorkload(operations=48, ifmap_words=24, ofmap_words=12)


def test_a_gate_of_halves_in_one_tensor() -> None:
    node = op("SwiGLU", "a", "y", domain=ORT)
    model = loaded([node], {"a": (2, 12)}, [onnx.ValueInfoProto(name="y")], opset=20)
    (load,) = the_item(model).work.workloads
    assert load == StreamWorkload(operations=48, ifmap_words=24, ofmap_words=12)


# --- tables of blocks ------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "bits", "words"), [(np.uint8, 4, 64), (np.uint8, 8, 32)])
def test_rows_of_a_quantized_table(kind: type[np.generic], bits: int, words: int) -> None:
    node = op(
        "GatherBlockQuantized", "t i s", "y", domain=ORT,
        bits=bits, block_size=16, quantize_axis=1, gather_axis=0,
    )  # fmt: skip
    tensors: dict[str, Array] = {
        "t": np.ones((9, 32), kind),
        "s": normal((9, words // 16)),
    }
    fed = [value("i", (3, 5), TensorProto.INT64)]
    model = loaded([node], fed, [onnx.ValueInfoProto(name="y")], tensors)
    assert shapes_of(model).main("y") == (3, 5, words)
    (load,) = the_item(model).work.workloads
    assert load == StreamWorkload(weight_words=15 * words, ofmap_words=15 * words)


# --- quantized by onnxruntime's own ----------------------------------------------------------


def test_an_lstm_that_quantizes_as_it_goes() -> None:
    """20 steps, 16 values, 32 units: 20 * 4 * 32 * (16 + 32) MACs on weights of 8 bits."""
    tensors: dict[str, Array] = {
        "w": np.full((1, 16, 128), 3, np.int8),
        "r": np.full((1, 32, 128), 3, np.int8),
        "s": normal((1,)),
        "z": np.array([3], np.int8),
    }
    node = op(
        "DynamicQuantizeLSTM", "x w r - - - - - s z s -", "y h c", "cell",
        domain=ORT, hidden_size=32,
    )  # fmt: skip
    outputs = [onnx.ValueInfoProto(name=name) for name in ("y", "h", "c")]
    model = loaded([node], {"x": (20, 1, 16)}, outputs, tensors)
    shapes = shapes_of(model)
    assert [shapes.main(n) for n in "yhc"] == [(20, 1, 1, 32), (1, 1, 32), (1, 1, 32)]
    parts = the_item(model).work.parts
    assert sum(p.workload.macs * p.times for p in parts) == 122_880
    assert [p.workload.bits.weights for p in parts[:2]] == [8, 8]


@pytest.mark.parametrize(
    ("zeros", "nonzero"),
    [
        ([3, 3], 2 * 5 * 8 - 3 - 2),
        ([3, 4], 2 * 5 * 8 - 3 - 1),
        (np.arange(16).reshape(2, 8), 2 * 5 * 8 - 1),
    ],
)
def test_zero_points_of_both_directions(zeros: Any, nonzero: int) -> None:
    """W (2, 3, 8) of 100 but three 3 in one direction, two 3 and a 4 in the other, R of 100.

    With one zero point per direction and gate, 0 to 7 and 8 to 15, one 3 of gate 3 is zero.
    """
    w = np.full((2, 3, 8), 100, np.int8)
    w[0, 0, 3] = w[0, 1, 5] = w[0, 2, 5] = 3
    w[1, :, 1] = 3, 3, 4
    tensors: dict[str, Array] = {
        "w": w,
        "r": np.full((2, 2, 8), 100, np.int8),
        "s": normal((2,)),
        "z": np.array(zeros, np.int8),
    }
    node = op(
        "DynamicQuantizeLSTM", "x w r - - - - - s z s z", "y h c", "cell",
        domain=ORT, hidden_size=2, direction="bidirectional",
    )  # fmt: skip
    outputs = [onnx.ValueInfoProto(name=name) for name in ("y", "h", "c")]
    report = analyze(loaded([node], {"x": (20, 1, 3)}, outputs, tensors)).energy
    assert (report.weights, report.nonzero_weights) == (2 * 5 * 8, nonzero)


def test_quantization_by_onnxruntimes_own_operators() -> None:
    nodes = [
        op("QuantizeLinear", "x s z", "q", domain=ORT),
        op("DequantizeLinear", "q s z", "d", domain=ORT),
        op("MatMul", "d w", "y"),
    ]
    tensors: dict[str, Array] = {"s": scalar(0.1), "z": scalar(3, np.uint8), "w": normal((8, 2))}
    items = items_of(loaded(nodes, {"x": (4, 8)}, [value("y", None)], tensors))
    assert [item.reason for item in items] == ["", "", ""]
    operations = [item.work.workloads[0] for item in items[:2]]
    assert [each.operations for each in operations if isinstance(each, StreamWorkload)] == [64, 64]
    assert items[2].work.workloads[0].bits.ifmap == 8
