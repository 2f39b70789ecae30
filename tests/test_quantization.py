"""Quantized models: what the file holds, and that onnxruntime runs it on integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import make_model, normal, op
from structured_builders import inputs_of

from eapc.commands import compiler
from eapc.commands.compiler import Settings
from eapc.errors import ModelError, PassError, UsageError
from eapc.goals import Sparsity, Width
from eapc.model import Model, infer_shapes
from eapc.pipeline import Recipe
from eapc.quantization import Quantized, plan_of, quantize
from eapc.runtime import Engine, collect_outputs


def residual() -> Model:
    """Two convolutions with Relu, a sum, a pooling and a classifier."""
    nodes = [
        op("Conv", "x w1 b1", "c1", name="one", pads=[1, 1, 1, 1]),
        op("Relu", "c1", "r1", name="relu"),
        op("Conv", "r1 w2 b2", "c2", name="two", pads=[1, 1, 1, 1]),
        op("Add", "c2 r1", "s", name="sum"),
        op("Relu", "s", "r2", name="relu2"),
        op("MaxPool", "r2", "p", name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        op("Flatten", "p", "f", name="flat"),
        op("Gemm", "f w3 b3", "y", name="classify", transB=1),
    ]
    weights = {
        "w1": normal((4, 3, 3, 3), 1), "b1": normal((4,), 2),
        "w2": normal((4, 4, 3, 3), 3), "b2": normal((4,), 4),
        "w3": normal((5, 64), 5), "b3": normal((5,), 6),
    }  # fmt: skip
    proto = make_model(nodes, {"x": ("N", 3, 8, 8)}, ["y"], weights)
    return Model.from_proto(proto)


def concat() -> Model:
    nodes = [
        op("Conv", "x w1", "a", name="left"),
        op("Conv", "x w2", "b", name="right"),
        op("Concat", "a b", "c", name="join", axis=1),
        op("Conv", "c w3", "y", name="last"),
    ]
    weights = {"w1": normal((2, 3, 1, 1), 1), "w2": 9 * normal((2, 3, 1, 1), 2)}
    weights["w3"] = normal((2, 4, 1, 1), 3)
    return Model.from_proto(make_model(nodes, {"x": ("N", 3, 4, 4)}, ["y"], weights))


def quantized(model: Model) -> Quantized:
    return quantize(model, inputs_of(model, 64), engine=Engine(1))


def relative_error(model: Model, done: Quantized) -> float:
    data = inputs_of(model, 64)
    before = next(iter(collect_outputs(model, data, 1).values()))
    after = next(iter(collect_outputs(done.model, data, 1).values()))
    return float(np.square(after - before).sum() / np.square(before).sum())


def test_every_node_of_a_residual_network_runs_on_integers() -> None:
    done = quantized(residual())
    assert done.fusion.left == ()
    assert done.fusion.fused == 6  # two Conv, Add, MaxPool, Flatten and Gemm
    assert str(done.fusion) == "onnxruntime fuses 6 of 6 nodes to integers"
    assert relative_error(residual(), done) < 1e-3


def test_a_rectifier_is_folded_into_the_range() -> None:
    done = quantized(residual())
    assert done.plan.grids["r1"].zero_point == 0
    assert done.plan.grids["r2"].zero_point == 0
    assert {"c1", "s"}.isdisjoint(done.plan.tensors)
    assert "c2" in done.plan.tensors


def test_moves_keep_the_grid_and_a_sum_has_its_own() -> None:
    grids = quantized(residual()).plan.grids
    assert grids["r2"] is grids["p"] is grids["f"]
    assert grids["r1"] is not grids["r2"]


def test_operands_and_result_of_a_concat_share_a_grid() -> None:
    done = quantized(concat())
    grids = done.plan.grids
    assert grids["a"] is grids["b"] is grids["c"]
    assert done.fusion.left == ()


def test_inputs_and_outputs_stay_as_they_were() -> None:
    before, after = (m.to_proto().graph for m in (concat(), quantized(concat()).model))
    assert list(before.input) == list(after.input)
    assert list(before.output) == list(after.output)


def test_the_file_holds_integers_in_place_of_weights() -> None:
    proto = quantized(residual()).model.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    assert "w1" not in stored
    assert "b1" not in stored
    assert stored["w1@codes"].data_type == onnx.TensorProto.INT8
    assert list(stored["w1@codes@scale"].dims) == [4]
    assert stored["one@bias@codes"].data_type == onnx.TensorProto.INT32
    assert stored["x@zero"].data_type == onnx.TensorProto.UINT8


def test_the_scale_of_a_bias_is_that_of_input_times_weights() -> None:
    done = quantized(residual())
    constants = done.model.constants
    products = done.plan.grids["x"].scale * constants["w1@codes@scale"]
    assert constants["one@bias@scale"] == pytest.approx(products)
    restored = constants["one@bias@codes"] * products
    assert restored == pytest.approx(residual().constants["b1"], abs=float(products.max()))


def test_zeros_of_weights_stay_zeros() -> None:
    model = residual()
    weights = model.constants["w2"].copy()
    weights[:, ::2] = 0
    done = quantized(model.with_weights({"w2": weights}))
    assert not done.model.constants["w2@codes"][:, ::2].any()


def test_a_result_that_is_read_twice_is_rounded_for_both() -> None:
    """The first Relu's result is read by a convolution and by the sum."""
    nodes = quantized(residual()).model.nodes
    readers = [node.name for node in nodes if "r1@rounded" in node.inputs]
    assert readers == ["two", "sum"]


def test_a_rectifier_with_other_readers_is_not_folded() -> None:
    nodes = [
        op("Conv", "x w", "c", name="one"),
        op("Relu", "c", "r", name="relu"),
        op("Add", "c r", "y", name="sum"),
    ]
    proto = make_model(nodes, {"x": ("N", 3, 4, 4)}, ["y"], {"w": normal((2, 3, 1, 1))})
    plan = plan_of(
        Model.from_proto(proto), infer_shapes(Model.from_proto(proto), {"x": (1, 3, 4, 4)})
    )
    assert [each.folded for each in plan.nodes] == ["", ""]
    assert plan.tensors == ("x", "c", "r", "y")


def test_a_layer_that_stays_float_is_named_with_its_reason() -> None:
    nodes = [
        op("Gemm", "x w", "a", name="plain"),
        op("Gemm", "a v", "y", name="scaled", alpha=0.5),
    ]
    weights = {"w": normal((4, 3)), "v": normal((3, 2))}
    model = Model.from_proto(make_model(nodes, {"x": ("N", 4)}, ["y"], weights))
    done = quantized(model)
    (left,) = done.fusion.left
    assert left.node == "scaled"
    assert "not fused: scaled because alpha, beta or transA" in str(done.fusion)


def test_what_computes_on_floats_is_counted() -> None:
    nodes = [op("MatMul", "x w", "a"), op("Softmax", "a", "s"), op("MatMul", "s v", "y")]
    weights = {"w": normal((4, 3)), "v": normal((3, 2))}
    done = quantized(Model.from_proto(make_model(nodes, {"x": ("N", 4)}, ["y"], weights)))
    assert str(done.fusion).endswith("2 of 2 nodes to integers, in floats are 1 Softmax")


def test_a_network_without_layers_is_refused() -> None:
    model = Model.from_proto(make_model([op("Relu", "x", "y")], {"x": ("N", 4)}, ["y"]))
    with pytest.raises(ModelError, match="no layer can be quantized"):
        quantized(model)


def test_an_older_opset_is_raised() -> None:
    proto = make_model([op("Gemm", "x w", "y")], {"x": ("N", 4)}, ["y"], {"w": normal((4, 3))})
    proto.opset_import[0].version = 11
    assert quantized(Model.from_proto(proto)).model.opset == 13


def test_weights_that_an_old_file_declares_as_inputs_are_none() -> None:
    """Before IR version 4 every initializer is an input as well."""
    inputs: dict[str, tuple[str | int, ...]] = {"x": ("N", 4), "w": (4, 3)}
    nodes = [op("MatMul", "x w", "y")]
    proto = make_model(nodes, inputs, ["y"], {"w": normal((4, 3))}, opset=8, ir_version=3)
    model = Model.from_proto(proto)
    done = quantized(model)
    assert [value.name for value in done.model.to_proto().graph.input] == ["x"]
    assert relative_error(model, done) < 1e-3


def test_another_width_is_refused() -> None:
    with pytest.raises(UsageError, match="expected 8, got 4"):
        quantize(residual(), inputs_of(residual()), bits=4)


# --- the whole way -------------------------------------------------------------------------------


@pytest.fixture
def settings() -> Settings:
    return Settings(calibration=inputs_of(residual(), 64), threads=1)


def test_bits_alone_prune_nothing(settings: Settings, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    done = compiler.prune(residual(), settings, goal=Width(8), recipe=Recipe(bits=8), output=output)
    assert done.sparsity < 0.05
    assert done.energy_ratio < 0.8
    assert done.pipeline.endswith("annotate-energy, quantize, annotate-energy")
    assert done.agreement is not None
    assert "6 of 6" in done.compilation.record.notes[-1]
    assert "w1@codes" in Model.load(output).constants


def test_a_share_of_zeros_is_met_before_the_rest_is_quantized(settings: Settings) -> None:
    done = compiler.prune(residual(), settings, goal=Sparsity(0.5), recipe=Recipe(bits=8))
    assert done.pipeline.endswith("quantize, annotate-energy")
    codes = done.model.constants["w2@codes"]
    assert np.count_nonzero(codes) <= codes.size / 2


def test_the_pass_needs_no_goal(settings: Settings) -> None:
    done = compiler.run(residual(), "quantize", settings).compilation
    assert "w3@codes" in done.model.constants


def test_what_is_quantized_cannot_be_quantized_again(settings: Settings) -> None:
    done = compiler.run(residual(), "quantize", settings).compilation
    with pytest.raises(PassError, match="is quantized already"):
        compiler.run(done.model, "quantize", settings)
