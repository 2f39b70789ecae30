"""Quantized layers: what onnxruntime runs of them, and probes of them with other counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from builders import Array, loaded, normal, op, scalar
from onnx import numpy_helper
from test_profiling_layer_kinds import shapes_of
from test_profiling_operators import profile
from test_quantization import concat, quantized, residual

from eapc.model import Model
from eapc.profiling import (
    LayerKind,
    Probe,
    ProbeMaker,
    constant_tensors,
    find_kernels,
    layer_kind,
    running_graph,
    sized,
)
from eapc.profiling import layer_timer as layer_timer_module
from eapc.runtime import Session, optimised_model

Operands = dict[str, Array]


def integer_kinds(model: Model) -> list[LayerKind]:
    """The layers of a model in the graph that runs."""
    running = running_graph(model, 1)
    constants = constant_tensors(model, running)
    return [layer_kind(each, shapes_of(model), constants) for each in find_kernels(model, running)]


def fixed(model: Model) -> Model:
    """The model with a batch of one."""
    proto = model.to_proto(embed=True)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    return Model.from_proto(proto)


def qdq_residual() -> Model:
    return fixed(quantized(residual()).model)


def stored(probe: Probe) -> Mapping[str, Array]:
    return {t.name: numpy_helper.to_array(t) for t in probe.model.graph.initializer}


def run_ops(probe: Probe) -> Counter[str]:
    return Counter(node.op_type for node in optimised_model(probe.model, 1).graph.node)


def grid(name: str, zero: int, kind: type[np.generic]) -> Operands:
    return {f"{name}s": scalar(0.05), f"{name}z": scalar(zero, kind)}


# --- kernels -------------------------------------------------------------------------------------


def test_a_quantized_network_runs_as_these_layers() -> None:
    kinds = {kind.kernel.host.key: kind for kind in integer_kinds(qdq_residual())}
    assert kinds["two"].name == (
        "DequantizeLinear Conv[pads=1,1,1,1] QuantizeLinear: 1x*x8x8 uint8 channels-last"
        " -> 1x*x8x8 uint8 channels-last"
    )
    assert {key: kind.kernel.runs for key, kind in kinds.items()} == {
        "x@Q": "QuantizeLinear",
        "one": "QLinearConv",
        "two": "QLinearConv",
        "sum": "QLinearAdd",
        "pool": "NhwcMaxPool",
        "flat": "Flatten",
        "classify": "QGemm",
    }
    assert set(kinds["sum"].kernel.inputs) == {"c2@codes", "r1@codes"}
    assert kinds["sum"].kernel.outputs == ("r2@codes",)
    assert [node.op_type for node in kinds["one"].kernel.nodes][-2:] == ["Relu", "QuantizeLinear"]


def test_axes_of_quantized_layers_vary() -> None:
    model = qdq_residual()
    kinds = {kind.kernel.host.key: kind for kind in integer_kinds(model)}
    specs = shapes_of(model).by_scope[""]
    assert kinds["one"].counts(specs) == (3, 4)
    assert kinds["classify"].counts(specs) == (64, 5)
    assert kinds["sum"].counts(specs) == (0, 4)
    assert kinds["one"].independent
    assert kinds["classify"].independent
    assert not kinds["sum"].independent
    assert all(kinds[key].is_free for key in ("one", "two", "sum", "pool", "x@Q"))


def test_codes_that_are_joined_count_together() -> None:
    model = fixed(quantized(concat()).model)
    (join,) = [kind for kind in integer_kinds(model) if kind.joins]
    assert join.kernel.runs == "QLinearConcat"
    assert join.counts(shapes_of(model).by_scope[""]) == (0, 4)


def signed() -> Model:
    """Codes of int8, which x86 runs as those of uint8."""
    nodes = [
        op("QuantizeLinear", "x xs xz", "q"),
        op("DequantizeLinear", "q xs xz", "d"),
        op("DequantizeLinear", "w ws wz", "v", axis=0),
        op("Gemm", "d v", "g", name="gemm", transB=1),
        op("QuantizeLinear", "g ys yz", "r"),
        op("DequantizeLinear", "r ys yz", "y"),
    ]
    weights: Operands = {
        "w": np.ones((6, 8), np.int8), "ws": np.full(6, 0.01, np.float32),
        "wz": np.zeros(6, np.int8), **grid("x", -128, np.int8), **grid("y", 3, np.int8),
    }  # fmt: skip
    return loaded(nodes, {"x": (1, 8)}, ["y"], weights, opset=13)


def test_codes_are_timed_as_they_run() -> None:
    model = signed()
    (gemm,) = [kind for kind in integer_kinds(model) if kind.kernel.host.key == "gemm"]
    as_unsigned = gemm.kernel.unsigned == {"q", "r"}  # not so on ARM
    probe = ProbeMaker(model, {}).layer(sized(gemm, shapes_of(model), 4, 3), 1)
    assert run_ops(probe)["QGemm"] == 1
    zeros = {int(v) for v in stored(probe).values() if v.dtype == np.uint8 and not v.ndim}
    assert as_unsigned == ("1x* uint8 plain -> 1x* uint8 plain" in gemm.name)
    if as_unsigned:
        assert zeros == {0, -128 + 128, 3 + 128}


# --- probes --------------------------------------------------------------------------------------


def test_a_probe_has_weights_biases_and_scales_of_its_counts() -> None:
    model = qdq_residual()
    (one,) = [kind for kind in integer_kinds(model) if kind.kernel.host.key == "one"]
    probe = ProbeMaker(model, {}).layer(sized(one, shapes_of(model), 2, 12), 1)
    shapes = Counter((v.shape, v.dtype.name) for v in stored(probe).values())
    assert shapes[(12, 2, 3, 3), "int8"] == 1  # weights
    assert shapes[(12,), "int32"] == 2  # bias and its zero points
    assert shapes[(12,), "float32"] == 2  # scales of both
    assert shapes[(12,), "int8"] == 1
    assert run_ops(probe)["QLinearConv"] == 3  # one in front and one behind


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_probes_of_quantized_layers_run_on_integers(share: float) -> None:
    model = qdq_residual()
    maker, shapes = ProbeMaker(model, {}), shapes_of(model)
    for kind in integer_kinds(model):
        ins, outs = (int(count * share) for count in kind.counts(shapes.by_scope[""]))
        if share < 1 and not kind.is_free:
            continue
        whole, bare = (
            make(sized(kind, shapes, ins, outs), 2) for make in (maker.layer, maker.bare)
        )
        assert Session(whole.model, 1).run(whole.feed)
        added = run_ops(whole) - run_ops(bare)
        assert added[kind.kernel.runs] == 2, kind.name


def test_depthwise_convolutions_are_resized() -> None:
    nodes = [
        op("Conv", "x w1", "a", name="point"),
        op("Conv", "a w2", "b", name="depth", group=6, pads=[1, 1, 1, 1]),
        op("Conv", "b w3", "y", name="last"),
    ]
    weights = {"w1": normal((6, 3, 1, 1)), "w2": normal((6, 1, 3, 3)), "w3": normal((2, 6, 1, 1))}
    float_model = loaded(nodes, {"x": ("N", 3, 6, 6)}, ["y"], weights)
    model = fixed(quantized(float_model).model)
    (depth,) = [kind for kind in integer_kinds(model) if kind.kernel.host.key == "depth"]
    assert depth.is_free
    probe = ProbeMaker(model, {}).layer(sized(depth, shapes_of(model), 0, 16), 1)
    assert (16, 1, 3, 3) in {value.shape for value in stored(probe).values()}
    assert Session(probe.model, 1).run(probe.feed)


def qoperator() -> Model:
    """A file of QLinear operators."""
    nodes = [
        op("QuantizeLinear", "x xs xz", "q"),
        op("QLinearConv", "q xs xz w ws wz as az b", "a", name="conv", kernel_shape=[3, 3]),
        op("QLinearAdd", "a as az a as az ts tz", "t", name="sum", domain="com.microsoft"),
        op("DequantizeLinear", "t ts tz", "y"),
    ]
    weights: Operands = {
        "w": np.ones((4, 3, 3, 3), np.int8), "ws": np.full(4, 0.01, np.float32),
        "wz": np.zeros(4, np.int8), "b": np.zeros(4, np.int32),
        **grid("x", 128, np.uint8), **grid("a", 0, np.uint8), **grid("t", 0, np.uint8),
    }  # fmt: skip
    return loaded(nodes, {"x": (1, 3, 8, 8)}, ["y"], weights, opset=13)


def test_files_of_quantized_operators_are_timed() -> None:
    model = qoperator()
    kinds = {kind.kernel.host.key: kind for kind in integer_kinds(model)}
    shapes = shapes_of(model)
    assert kinds["conv"].counts(shapes.by_scope[""]) == (3, 4)
    assert kinds["conv"].independent
    probe = ProbeMaker(model, {}).layer(sized(kinds["conv"], shapes, 5, 16), 1)
    shaped = {(v.shape, v.dtype.name) for v in stored(probe).values()}
    assert {((16, 5, 3, 3), "int8"), ((16,), "float32"), ((16,), "int32")} <= shaped
    assert Session(probe.model, 1).run(probe.feed)
    assert kinds["sum"].is_free


def test_products_of_integers_are_timed() -> None:
    nodes = [
        op("DynamicQuantizeLinear", "x", "q s z", name="round"),
        op("MatMulInteger", "q w z", "m", name="product"),
        op("Cast", "m", "c", to=1),
        op("Mul", "c s", "y"),
    ]
    model = loaded(nodes, {"x": (1, 8)}, ["y"], {"w": np.ones((8, 6), np.int8)}, opset=13)
    found = profile(model, 0.0)
    assert found.missing == ()
    assert found.layers


# --- the whole -----------------------------------------------------------------------------------


class Costs:
    """Stands in for a stopwatch: each node that onnxruntime runs takes what its operator costs."""

    MS: Mapping[str, float] = {"QLinearConv": 1.0, "QLinearAdd": 3.0, "QGemm": 2.0}

    def __init__(self, model: onnx.ModelProto, _: object, threads: int = 0) -> None:
        nodes = optimised_model(model, threads).graph.node
        self.ms = 0.01 + sum(self.MS.get(node.op_type, 0.0) for node in nodes)

    def seconds(self, runs: int) -> list[float]:
        return [self.ms / 1e3] * runs


def test_quantized_layers_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_timer_module, "Stopwatch", Costs)
    model = qdq_residual()
    found = profile(model, 0.0, Probe(model.to_proto(embed=True), {"x": normal((1, 3, 8, 8))}))
    assert found.missing == ()
    assert found.whole_ms == pytest.approx(2 * 1 + 3 + 2 + 0.01)
    assert found.sum_ms == pytest.approx(found.whole_ms, rel=0.01)
