"""Quantized models: what the file holds, and that onnxruntime runs it on integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import Array, make_model, normal, op
from structured_builders import inputs_of

from eapc.commands import compiler
from eapc.commands.compiler import Settings
from eapc.energy import GivenBits
from eapc.errors import ModelError, PassError, UsageError
from eapc.goals import Sparsity, Width
from eapc.model import Model, infer_shapes
from eapc.pipeline import Recipe
from eapc.quantization import Quantized, folded, plan_of, quantize
from eapc.runtime import Engine, collect_outputs

EIGHT = Recipe(bits=GivenBits(8, 8))


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
        op("Add", "c r", "s", name="sum"),
        op("Conv", "s w2", "y", name="two"),
    ]
    weights = {"w": normal((2, 3, 1, 1)), "w2": normal((2, 2, 1, 1))}
    proto = make_model(nodes, {"x": ("N", 3, 4, 4)}, ["y"], weights)
    plan = plan_of(
        Model.from_proto(proto), infer_shapes(Model.from_proto(proto), {"x": (1, 3, 4, 4)})
    )
    assert [each.folded for each in plan.nodes] == ["", "", ""]
    assert plan.tensors == ("x", "c", "r", "s", "y")


def test_a_layer_that_stays_float_is_named_with_its_reason() -> None:
    nodes = [
        op("Gemm", "x w", "a", name="plain"),
        op("Gemm", "a v c", "y", name="shifted"),
    ]
    weights = {"w": normal((4, 3)), "v": normal((3, 2)), "c": normal((2, 2))}
    model = Model.from_proto(make_model(nodes, {"x": (2, 4)}, ["y"], weights))
    done = quantized(model)
    (left,) = done.fusion.left
    assert left.node == "shifted"
    assert "not fused: shifted because its bias is no constant" in str(done.fusion)


def test_factors_of_a_product_go_into_its_weights() -> None:
    """0.5 x W + 2 b is a product with 0.5 W and 2 b."""
    nodes = [op("Gemm", "x w b", "y", name="scaled", alpha=0.5, beta=2.0)]
    weights = {"w": normal((4, 3)), "b": normal((1, 3), 1)}
    model = Model.from_proto(make_model(nodes, {"x": ("N", 4)}, ["y"], weights))
    made = folded(model).model
    (node,) = made.nodes
    assert not node.attributes
    assert made.constants[node.input(1)] == pytest.approx(0.5 * weights["w"])
    assert made.constants[node.input(2)] == pytest.approx(2 * weights["b"][0])
    done = quantized(model)
    assert done.fusion.left == ()
    assert relative_error(model, done) < 1e-3


def test_a_product_without_bias_is_not_given_one() -> None:
    """Beta multiplies nothing then."""
    nodes = [op("Gemm", "x w", "y", name="scaled", alpha=-3.0, beta=7.0, transB=1)]
    model = Model.from_proto(make_model(nodes, {"x": ("N", 4)}, ["y"], {"w": normal((3, 4))}))
    (node,) = folded(model).model.nodes
    assert len(node.inputs) == 2
    assert node.attributes == {"transB": 1}
    assert relative_error(model, quantized(model)) < 1e-3


def test_a_normalization_behind_a_scaled_product_is_folded_with_its_factors() -> None:
    """The bias may have any shape that broadcasts."""
    nodes = [
        op("Gemm", "x w b", "a", name="scaled", alpha=0.25, beta=3.0),
        op("BatchNormalization", "a g h m v", "y", name="norm"),
    ]
    weights = {
        "w": normal((4, 3)), "b": normal((1, 3), 1), "g": normal((3,), 2), "h": normal((3,), 3),
        "m": normal((3,), 4), "v": np.abs(normal((3,), 5)),
    }  # fmt: skip
    model = Model.from_proto(make_model(nodes, {"x": ("N", 4)}, ["y"], weights))
    done = quantized(model)
    assert done.fusion.left == ()
    assert not [node for node in done.model.nodes if node.op_type == "BatchNormalization"]
    assert relative_error(model, done) < 1e-2


def test_half_precision_is_refused_by_its_name() -> None:
    weights = {"w": normal((4, 3)).astype(np.float16)}
    made = make_model([op("Gemm", "x w", "y", name="half")], {"x": ("N", 4)}, ["y"], weights)
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    with pytest.raises(ModelError, match="'x' is float16, not float32"):
        quantized(Model.from_proto(made))


@pytest.mark.parametrize("shape", [(1, 3), (1,), ()])
def test_a_bias_of_any_shape_that_broadcasts_becomes_a_number_per_channel(
    shape: tuple[int, ...],
) -> None:
    nodes = [op("Gemm", "x w b", "y", name="classify")]
    weights = {"w": normal((4, 3)), "b": np.asarray(normal(shape, 1), np.float32)}
    model = Model.from_proto(make_model(nodes, {"x": ("N", 4)}, ["y"], weights))
    done = quantized(model)
    assert done.fusion.left == ()
    assert done.model.constants.shape("classify@bias@codes") == (3,)
    assert relative_error(model, done) < 1e-3


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
    with pytest.raises(UsageError, match="expected 2 to 8 bits, got 9"):
        quantize(residual(), inputs_of(residual()), bits=GivenBits(9))


# --- the whole way -------------------------------------------------------------------------------


@pytest.fixture
def settings() -> Settings:
    return Settings(calibration=inputs_of(residual(), 64), threads=1)


def test_bits_alone_prune_nothing(settings: Settings, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    done = compiler.prune(residual(), settings, goal=Width("8"), recipe=EIGHT, output=output)
    assert done.sparsity < 0.05
    assert done.energy_ratio < 0.8
    assert done.pipeline.endswith("annotate-energy, quantize, annotate-energy")
    assert done.agreement is not None
    assert "6 of 6" in done.compilation.record.notes[-1]
    assert "w1@codes" in Model.load(output).constants


def test_a_share_of_zeros_is_met_before_the_rest_is_quantized(settings: Settings) -> None:
    done = compiler.prune(residual(), settings, goal=Sparsity(0.5), recipe=EIGHT)
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


# --- what is folded ------------------------------------------------------------------------------


def normalised(**changes: str) -> Model:
    """Two convolutions with BatchNormalization, the first without a bias; `changes` rewire."""
    nodes = [
        op("Conv", "x w1", "c1", name="one", pads=[1, 1, 1, 1]),
        op("BatchNormalization", "c1 g h m v", "n1", name="norm", epsilon=0.5),
        op("Relu", "n1", "r1", name="relu"),
        op("Conv", f"r1 {changes.get('w2', 'w2')} b2", "c2", name="two"),
        op("BatchNormalization", "c2 g h m v", "n2", name="norm2", epsilon=0.5),
        op("Conv", f"{changes.get('last', 'n2')} w3", "y", name="last"),
    ]
    tensors = {
        "w1": normal((4, 4, 3, 3), 1), "w2": normal((4, 4, 3, 3), 2), "b2": normal((4,), 3),
        "w3": normal((2, 4, 1, 1), 4), "g": normal((4,), 5), "h": normal((4,), 6),
        "m": normal((4,), 7), "v": np.abs(normal((4,), 8)),
    }  # fmt: skip
    if "w2" in changes:
        del tensors["w2"]
    return Model.from_proto(make_model(nodes, {"x": ("N", 4, 6, 6)}, ["y"], tensors))


def test_normalizations_are_folded_into_the_layers_in_front() -> None:
    done = quantized(normalised())
    assert done.fusion.left == ()
    assert done.fusion.floats == ()
    assert not [n for n in done.model.nodes if n.op_type == "BatchNormalization"]
    assert relative_error(normalised(), done) < 1e-2
    onnx.checker.check_model(done.model.to_proto(), full_check=True)


def test_a_folded_bias_is_that_of_the_normalization() -> None:
    """Without a bias it is h - g m / sqrt(v + 0.5)."""
    made = folded(normalised()).model
    c = normalised().constants
    expected = c["h"] - c["g"] * c["m"] / np.sqrt(c["v"] + 0.5)
    (node,) = (node for node in made.nodes if node.key == "one")
    assert made.constants[node.input(2)] == pytest.approx(expected, rel=1e-5)
    scale = (c["g"] / np.sqrt(c["v"] + 0.5))[:, None, None, None]
    assert made.constants["w1"] == pytest.approx(c["w1"] * scale, rel=1e-5)


def test_what_others_read_too_is_kept_as_it_was() -> None:
    """Weights of two layers stay those of the one that is not folded."""
    shared = normalised(w2="w1")
    made = folded(shared).model
    ones = [node.input(1) for node in made.nodes if node.key in ("one", "two")]
    assert "w1" not in ones
    assert len(set(ones)) == 2
    assert relative_error(shared, quantized(shared)) < 1e-2


def test_a_normalization_beside_another_reader_stays() -> None:
    """The last convolution reads what `norm2` would be folded into."""
    shared = normalised(last="c2")
    proto = shared.to_proto()
    proto.graph.output.add().CopyFrom(onnx.helper.make_tensor_value_info("n2", 1, None))
    kept = folded(Model.from_proto(proto)).model
    assert [n.key for n in kept.nodes if n.op_type == "BatchNormalization"] == ["norm2"]


def test_widths_follow_what_is_folded() -> None:
    bits = GivenBits(by_tensor=(("c1", 5), ("w1", 4)))
    done = quantize(normalised(), inputs_of(normalised(), 64), bits, Engine(1))
    assert done.plan.grids["r1"].bits == 5
    assert {each.weights: each.weight_bits for each in done.plan.nodes if each.weights} == {
        "w1": 4, "w2": 8, "w3": 8,
    }  # fmt: skip
    assert done.unused == ()


def padded(value: float = 0.0, mode: str = "constant") -> Model:
    nodes = [
        op("Conv", "x w1", "c1", name="one"),
        op("Pad", "c1 pads value", "p", name="pad", mode=mode),
        op("Conv", "p w2", "y", name="two"),
    ]
    tensors: dict[str, Array] = {"w1": normal((4, 3, 1, 1), 1), "w2": normal((2, 4, 3, 3), 2)}
    tensors["pads"] = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    tensors["value"] = np.array(value, np.float32)
    return Model.from_proto(make_model(nodes, {"x": ("N", 3, 6, 6)}, ["y"], tensors))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_padding_is_done_on_codes(mode: str) -> None:
    """With the zero point, which is 0."""
    done = quantized(padded(mode=mode))
    assert done.fusion.left == ()
    assert done.fusion.fused == 3
    assert relative_error(padded(mode=mode), done) < 1e-3
    (pad,) = (node for node in done.model.nodes if node.op_type == "Pad")
    assert pad.inputs[0] == "c1@codes"
    assert done.model.constants[pad.inputs[2]] == done.plan.grids["c1"].zero_point


def test_padding_with_another_value_stays_float() -> None:
    done = quantized(padded(2.0))
    assert [each.node for each in done.fusion.left] == ["pad"]
    assert relative_error(padded(2.0), done) < 1e-3
