"""Weights of operators on integers are pruned in place: same file but for codes and biases."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from body_builders import loop
from builders import make_model, op
from integer_builders import NETS, ORT, conv_integer, matmul_integer, n_bits, qlinear_convolutions
from onnx import NodeProto, TensorProto, numpy_helper
from pruning_builders import Net
from test_passes import compile_net, error_of
from test_prune_stored_weights import PIPELINES, declared

from eapc.commands.compiler import analyze
from eapc.commands.preparation import Settings
from eapc.layers import exposed, find_layers
from eapc.model import Array, Model
from eapc.pipeline import Compilation
from eapc.runtime import collect_outputs


@cache
def pruned(name: str, pipeline: str) -> Compilation:
    return compile_net(NETS[name](), pipeline)


@pytest.mark.parametrize("name", NETS)
def test_every_layer_is_found_and_nothing_is_left_alone(name: str) -> None:
    found = find_layers(NETS[name]().model)
    assert found.skipped == ()
    assert {tied.weight for tied in found.layers} <= {"w", "v", "r"}
    assert all(tied.first.node.name for tied in found.layers)


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("name", NETS)
def test_the_file_is_of_the_same_kind_and_has_the_zeros_asked_for(name: str, pipeline: str) -> None:
    done = pruned(name, pipeline % 0.5)
    before, after = done.model.original.to_proto(), done.model.to_proto()
    assert declared(after) == declared(before)
    assert list(after.graph.node) == list(before.graph.node)
    for tied in find_layers(done.model).layers:
        record = done.record.layers[tied.weight]
        assert tied.nonzero(done.model) == record.nonzero_weights == record.weights // 2
    changed = {t.name for t in after.graph.initializer} - {
        t.name for t in before.graph.initializer if t in after.graph.initializer
    }
    assert changed <= {"w", "ws", "v", "vs", "r", "b", "c"}  # those of activations stay


@pytest.mark.parametrize("name", NETS)
def test_analysis_counts_the_same_zeros(name: str) -> None:
    done = pruned(name, PIPELINES[0] % 0.5)
    report = analyze(done.model, Settings()).energy
    records = done.record.layers.values()
    assert report.nonzero_weights == sum(record.nonzero_weights for record in records)
    assert report.weights == sum(record.weights for record in records)


@pytest.mark.parametrize("name", NETS)
def test_refitted_answers_better_than_the_largest_alone(name: str) -> None:
    refitted, largest = (error_of(pruned(name, each % 0.5)) for each in reversed(PIPELINES))
    assert refitted < 0.9 * largest


@pytest.mark.parametrize("name", NETS)
def test_on_real_numbers_it_answers_as_on_integers(name: str) -> None:
    """But for what is rounded the other way, which is a step of the result's grid at most."""
    net = NETS[name]()
    codes = collect_outputs(net.model, net.data, 1)["y"]
    real = collect_outputs(exposed(net.model), net.data, 1)["y"]
    spread = float(codes.std())
    assert np.abs(real - codes).mean() < 0.02 * spread


def test_a_zero_is_the_zero_point_and_survivors_of_pruning_alone_stay() -> None:
    done = compile_net(qlinear_convolutions(np.dtype(np.uint8), None, 7), PIPELINES[0] % 0.5)
    now, own = (m.constants["w"].astype(int) for m in (done.model, done.model.original))
    assert ((now == own) | (now == 135)).all()
    assert np.count_nonzero(now != 135) == 288


def test_packed_codes_beyond_the_inputs_stay_as_they_are() -> None:
    """Rows of 40 inputs fill 2.5 blocks of 16; the last 8 codes of each mean nothing."""
    done = compile_net(n_bits(), PIPELINES[1] % 0.5)
    now, own = (m.constants["w"] for m in (done.model, done.model.original))
    np.testing.assert_array_equal(now[:, 2, 4:], own[:, 2, 4:])
    assert (now != own).any()


def test_packed_codes_are_those_of_the_layer() -> None:
    """Two inputs in a byte, the first in its lower half; (code - zero point) * scale."""
    tensors: dict[str, Array] = {
        "w": np.array([[[0x31, 0xF8] + [0x88] * 6]], np.uint8),
        "ws": np.array([0.5], np.float32), "wz": np.array([0x08], np.uint8),
    }  # fmt: skip
    node = op("MatMulNBits", "x w ws wz", "y", domain=ORT, K=5, N=1, bits=4, block_size=16)
    net = Net(make_model([node], {"x": ("N", 5)}, ["y"], tensors), {})
    (tied,) = find_layers(net.model).layers
    np.testing.assert_array_equal(tied.matrix(net.model)[0, 0], [-3.5, -2.5, 0, 3.5, 0])
    assert tied.nonzero(net.model) == 3
    written = tied.stored(net.model, np.array([[[0.5, 0, 1, -4, 0]]], np.float32))
    assert written.ravel()[:3].tolist() == [0x89, 0x0A, 0x88]


def test_a_bias_moves_in_units_of_input_scale_times_weight_scale() -> None:
    model = qlinear_convolutions().model
    bias = next(t for t in find_layers(model).layers if t.weight == "w").first.bias
    assert bias is not None
    change = np.arange(8) * 10.0 / 128 * model.constants["ws"]
    moved = bias.changed(model, change).astype(int) - model.constants["b"]
    assert moved.tolist() == [10 * i for i in range(8)]


def test_what_stands_behind_an_integer_operator_is_known() -> None:
    """The first result's range begins at 0, as behind a Relu, and ends at 0.02 * 255."""
    layers = {t.weight: t.first for t in find_layers(qlinear_convolutions().model).layers}
    clipping = layers["w"].clipping
    assert clipping is not None
    assert clipping.low == 0
    assert clipping.high == pytest.approx(5.1)
    assert layers["v"].other


def names_of(model: Model) -> dict[str, str]:
    found = find_layers(model)
    return {skip.name: skip.reason for skip in found.skipped}


def test_packed_inputs_in_another_order_are_left_alone() -> None:
    net = n_bits()
    net.proto.graph.node[0].input[4] = "b"
    assert names_of(net.model) == {"product": "weights are packed in a way of their own"}


def test_scales_that_are_computed_are_left_alone() -> None:
    net = conv_integer()
    net.proto.graph.node.insert(0, op("ReduceMean", "x", "mean", keepdims=0))
    assert not names_of(net.model)  # nothing reads it
    net = matmul_integer()
    net.proto.graph.node[3].input[1] = "xs"
    found = find_layers(net.model)
    assert {tied.weight for tied in found.layers} == {"w"}


def quantized_loop(kind: str) -> Net:
    """The weights of a Loop's body as int8 behind DequantizeLinear, or behind Cast and Mul."""
    net = loop()
    body = next(a.g for n in net.proto.graph.node for a in n.attribute if a.type == a.GRAPH)
    stored = {t.name: numpy_helper.to_array(t) for t in body.initializer if len(t.dims) == 2}
    kept = [t for t in body.initializer if t.name not in stored]
    nodes = []
    for name, weight in stored.items():
        scale = np.float32(np.abs(weight).max() / 100)
        kept.append(numpy_helper.from_array(np.rint(weight / scale).astype(np.int8), f"{name}q"))
        kept.append(numpy_helper.from_array(np.array([[scale]]), f"{name}s"))
        if kind == "Cast":
            nodes.append(op("Cast", f"{name}q", f"{name}f", to=TensorProto.FLOAT))
            nodes.append(op("Mul", f"{name}f {name}s", name))
        else:
            kept[-1] = numpy_helper.from_array(np.array(scale), f"{name}s")
            nodes.append(op("DequantizeLinear", f"{name}q {name}s", name))
    nodes += body.node
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del body.initializer[:], body.node[:]
    body.initializer.extend(kept)
    body.node.extend(nodes)
    return net


def test_integers_in_bodies_are_pruned() -> None:
    net = quantized_loop("Cast")
    refitted, largest = (compile_net(net, each % 0.5) for each in reversed(PIPELINES))
    assert refitted.record.skipped == ()
    assert all(r.nonzero_weights == r.weights // 2 for r in refitted.record.layers.values())
    for name in refitted.record.layers:
        assert refitted.model.constants.dtype(name) == np.int8
    assert error_of(refitted) < 0.9 * error_of(largest)


def test_products_that_onnxruntime_would_pack_in_bodies_are_listed() -> None:
    reasons = set(names_of(quantized_loop("DequantizeLinear").model).values())
    assert reasons == {"its weights are behind a DequantizeLinear inside a body"}


def test_operators_on_integers_in_bodies_are_listed() -> None:
    net = loop()
    body = next(a.g for n in net.proto.graph.node for a in n.attribute if a.type == a.GRAPH)
    product = next(node for node in body.node if node.name == "from_x")
    product.op_type, product.domain = "DynamicQuantizeMatMul", ORT
    product.input.extend(["us", "uz"])
    net.proto.opset_import.add(domain=ORT, version=1)
    for made in (np.ones((), np.float32), np.zeros((), np.int8)):
        name = "us" if made.dtype == np.float32 else "uz"
        body.initializer.append(numpy_helper.from_array(made, name))
    reasons = names_of(net.model)
    assert reasons == {"loop/body/from_x": "computes on integers inside a body"}
