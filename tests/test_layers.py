"""Which nodes are layers, what stands behind them, and why others are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from builders import Array, Initializers, constant_node, ints, loaded, make_graph, normal, op, value
from constant_builders import KINDS
from onnx import NodeProto, TensorProto, helper

from eapc.errors import ModelError
from eapc.layers import Layer, PrunableLayers, TiedLayers, find_layers
from eapc.model import Model, as_seen, as_stored

IMAGE = ("N", 3, 5, 5)
ROWS = ("N", 6)


def conv_net(
    nodes: Sequence[NodeProto], tensors: Initializers | None = None, outputs: Sequence[str] = ("y",)
) -> Model:
    """Nodes behind x (N, 3, 5, 5), with w (4, 3, 3, 3) and b (4,) at hand."""
    given = {"w": normal((4, 3, 3, 3)), "b": normal((4,), 1), **(tensors or {})}
    return loaded(nodes, {"x": IMAGE}, list(outputs), given)


def dense_net(
    nodes: Sequence[NodeProto],
    tensors: Initializers | None = None,
    outputs: Sequence[str] = ("y",),
    x: Sequence[int | str] = ROWS,
) -> Model:
    """Nodes behind x (N, 6), with w (6, 4) and b (4,) at hand."""
    given = {"w": normal((6, 4)), "b": normal((4,), 1), **(tensors or {})}
    return loaded(nodes, {"x": x}, list(outputs), given)


def only_layer(model: Model) -> Layer:
    (tied,) = find_layers(model).layers
    (layer,) = tied.users
    return layer


def reasons(found: PrunableLayers) -> dict[str, str]:
    return {skip.name: skip.reason for skip in found.skipped}


def only_reason(model: Model) -> str:
    found = find_layers(model)
    assert found.layers == ()
    (skip,) = found.skipped
    return skip.reason


def statistics(
    gamma: Sequence[float] = (1, 2, 3, 4), var: Sequence[float] = (1, 4, 9, 0.25)
) -> dict[str, Array]:
    rows = {"gamma": gamma, "beta": (0.1, 0.2, 0.3, 0.4), "mean": (1, 2, 3, 4), "var": var}
    return {name: np.array(row, np.float32) for name, row in rows.items()}


NORMALIZED = (
    op("Conv", "x w", "c", "conv"),
    op("BatchNormalization", "c gamma beta mean var", "y", "bn", epsilon=0.0),
)


# --- where a bias may go ---------------------------------------------------------------------


def test_the_own_bias_takes_up_the_mean() -> None:
    model = conv_net([op("Conv", "x w b", "y", "conv")])
    layer = only_layer(model)
    assert layer.bias is not None
    assert layer.bias.tensor == "b"
    np.testing.assert_array_equal(layer.bias.factor, np.ones(4, np.float32))
    np.testing.assert_array_equal(layer.offset, normal((4,), 1))
    moved = layer.bias.moved(normal((4,), 1), np.arange(4, dtype=np.float32))
    np.testing.assert_allclose(moved, normal((4,), 1) + np.arange(4))


def test_a_layer_without_anything_to_move_has_no_sink() -> None:
    layer = only_layer(conv_net([op("Conv", "x w", "c", "conv"), op("Relu", "c", "y")]))
    assert layer.bias is None
    assert layer.other == ""
    np.testing.assert_array_equal(layer.offset, np.zeros(4))
    np.testing.assert_array_equal(layer.scale, np.ones(4))


def test_normalization_scales_outputs_and_takes_up_the_mean() -> None:
    layer = only_layer(conv_net(NORMALIZED, statistics()))
    assert layer.bias is not None
    assert layer.bias.tensor == "beta"
    np.testing.assert_allclose(layer.scale, [1, 1, 1, 8])
    np.testing.assert_array_equal(layer.bias.factor, np.ones(4))


def test_an_own_bias_before_a_normalization_moves_by_the_unscaled_change() -> None:
    nodes = [op("Conv", "x w b", "c", "conv"), NORMALIZED[1]]
    layer = only_layer(conv_net(nodes, statistics()))
    assert layer.bias is not None
    assert layer.bias.tensor == "b"
    np.testing.assert_allclose(layer.bias.factor, [1, 1, 1, 1 / 8])


def test_a_channel_that_is_multiplied_by_zero_moves_nothing() -> None:
    nodes = [op("Conv", "x w b", "c", "conv"), NORMALIZED[1]]
    layer = only_layer(conv_net(nodes, statistics(gamma=(1, 0, 3, 4))))
    assert layer.bias is not None
    np.testing.assert_allclose(layer.scale, [1, 0, 1, 8])
    np.testing.assert_allclose(layer.bias.factor, [1, 0, 1, 1 / 8])


@pytest.mark.parametrize("var", [(1, 4, 9, -1.0), (0, 4, 9, 1)])
def test_a_normalization_without_a_real_scale_is_not_followed(var: Sequence[float]) -> None:
    layer = only_layer(conv_net(NORMALIZED, statistics(var=var)))
    np.testing.assert_array_equal(layer.scale, np.ones(4))
    assert layer.bias is None


def test_a_normalization_of_something_else_is_not_followed() -> None:
    nodes = [
        op("Conv", "x w", "c", "conv"),
        op("ReduceMean", "c", "scale", axes=[0, 2, 3], keepdims=0),
        op("BatchNormalization", "z scale beta mean var", "y", epsilon=0.0),
        op("Conv", "x w2", "z", "other"),
    ]
    order = [nodes[0], nodes[1], nodes[3], nodes[2]]
    found = find_layers(conv_net(order, {**statistics(), "w2": normal((4, 3, 3, 3), 5)}))
    for tied in found.layers:
        np.testing.assert_array_equal(tied.first.scale, np.ones(4))


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1)])
@pytest.mark.parametrize("order", ["c k", "k c"])
def test_a_constant_added_after_a_convolution_is_a_sink(shape: tuple[int, ...], order: str) -> None:
    nodes = [op("Conv", "x w", "c", "conv"), op("Add", order, "y")]
    layer = only_layer(conv_net(nodes, {"k": normal(shape)}))
    assert layer.bias is not None
    assert layer.bias.tensor == "k"
    assert layer.bias.moved(normal(shape), np.ones(4, np.float32)).shape == shape


@pytest.mark.parametrize(
    "shape", [(4,), (4, 1), (1, 4, 1), (4, 1, 1, 1), (1,), (), (1, 1, 1, 1), (1, 4, 4, 4)]
)
def test_a_constant_along_another_axis_is_no_sink(shape: tuple[int, ...]) -> None:
    nodes = [op("Conv", "x w", "c", "conv", pads=[1, 1, 0, 0]), op("Add", "c k", "y")]
    layer = only_layer(conv_net(nodes, {"k": normal(shape)}))
    assert layer.bias is None


def test_constants_of_one_dimensional_convolutions() -> None:
    nodes = [op("Conv", "x w", "c", "conv"), op("Add", "c k", "y")]
    given = {"w": normal((4, 3, 3)), "k": normal((4, 1))}
    layer = only_layer(loaded(nodes, {"x": ("N", 3, 9)}, ["y"], given))
    assert layer.bias is not None
    assert layer.bias.tensor == "k"


@pytest.mark.parametrize(("shape", "is_sink"), [((4,), True), ((1, 4), True), ((5, 4), False)])
def test_constants_added_to_rows(shape: tuple[int, ...], is_sink: bool) -> None:
    nodes = [op("MatMul", "x w", "c", "dense"), op("Add", "c k", "y")]
    layer = only_layer(dense_net(nodes, {"k": normal(shape)}, x=("N", 5, 6)))
    assert (layer.bias is not None) == is_sink


@pytest.mark.parametrize("shape", [(3, 1, 4), (1, 3, 1, 4)])
def test_a_constant_for_each_output_of_a_stack_is_a_sink(shape: tuple[int, ...]) -> None:
    nodes = [op("MatMul", "x w", "h"), op("Add", "h c", "a"), op("Relu", "a", "y")]
    constant = normal(shape)
    tensors: Initializers = {"w": normal((3, 6, 4)), "c": constant}
    layer = only_layer(loaded(nodes, {"x": (2, 3, 5, 6)}, ["y"], tensors))
    assert layer.bias is not None
    assert layer.clipping is not None
    np.testing.assert_array_equal(layer.clipping.shift, constant.ravel())
    moved = layer.bias.moved(constant, np.arange(12, dtype=np.float32))
    np.testing.assert_allclose(moved, constant + np.arange(12).reshape(shape), rtol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (1, 1, 4), (3, 1, 1)])
def test_a_constant_for_several_outputs_of_a_stack_is_no_sink(shape: tuple[int, ...]) -> None:
    """What it adds is known for the clipping that follows, but it cannot move each by itself."""
    nodes = [op("MatMul", "x w", "h"), op("Add", "h c", "a"), op("Relu", "a", "y")]
    tensors: Initializers = {"w": normal((3, 6, 4)), "c": normal(shape)}
    layer = only_layer(loaded(nodes, {"x": (2, 3, 5, 6)}, ["y"], tensors))
    assert layer.bias is None
    assert layer.clipping is not None
    spread = np.broadcast_to(tensors["c"], (3, 1, 4)).ravel()
    np.testing.assert_array_equal(layer.clipping.shift, spread)


def test_a_bias_behind_a_cast_moves_in_its_own_type() -> None:
    nodes = [
        op("Cast", "h", "wide", to=TensorProto.FLOAT),
        op("MatMul", "x w", "m"),
        op("Add", "m wide", "y"),
    ]
    bias = np.array([1, 2, 3, 65504], np.float16)
    model = dense_net(nodes, {"w": normal((6, 4)), "h": bias})
    sink = only_layer(model).bias
    assert sink is not None
    assert (sink.tensor, sink.source.tensor) == ("h", "wide")
    moved = sink.changed(model, np.array([0.5, -2, 1e-3, 1e6], np.float32))
    assert moved.dtype == np.float16
    assert moved.tolist() == [1.5, 0.0, float(np.float16(3.001)), 65504.0]


@pytest.mark.parametrize(("shape", "is_sink"), [((4, 1), True), ((), False), ((1, 1), False)])
def test_the_bias_of_a_gemm_with_weights_in_front(shape: tuple[int, ...], is_sink: bool) -> None:
    """y (4, columns) = W (4, 6) @ x: an output is a row."""
    bias = normal(shape)
    layer = only_layer(
        loaded([op("Gemm", "w x b", "y")], {"x": (6, 3)}, ["y"], {"w": normal((4, 6)), "b": bias})
    )
    assert (layer.bias is not None) == is_sink
    np.testing.assert_array_equal(layer.offset, np.broadcast_to(bias, (4, 1)).ravel())


def test_a_bias_per_column_keeps_weights_in_front_as_they_are() -> None:
    tensors: Initializers = {"w": normal((4, 6)), "b": normal((4,))}
    model = loaded([op("Gemm", "w x b", "y")], {"x": (6, 4)}, ["y"], tensors)
    assert "the bias has shape (4,), not one per output" in only_reason(model)


def test_the_bias_of_gemm_counts_beta_times() -> None:
    nodes = [op("Gemm", "x w b", "y", "gemm", beta=0.5)]
    layer = only_layer(dense_net(nodes))
    assert layer.bias is not None
    np.testing.assert_allclose(layer.bias.factor, np.full(4, 2))
    np.testing.assert_allclose(layer.offset, 0.5 * normal((4,), 1))


def test_a_bias_that_gemm_ignores_is_no_sink() -> None:
    layer = only_layer(dense_net([op("Gemm", "x w b", "y", "gemm", beta=0.0)]))
    assert layer.bias is None
    np.testing.assert_array_equal(layer.offset, np.zeros(4))


def test_one_bias_for_all_outputs_is_an_offset_but_no_sink() -> None:
    layer = only_layer(dense_net([op("Gemm", "x w b", "y")], {"b": np.array([2.0], np.float32)}))
    assert layer.bias is None
    np.testing.assert_array_equal(layer.offset, np.full(4, 2))


def test_a_shared_bias_stays() -> None:
    nodes = [
        op("Conv", "x w b", "p", "one"),
        op("Conv", "x w2 b", "q", "two"),
        op("Relu", "p", "y"),
        op("Relu", "q", "z"),
    ]
    found = find_layers(conv_net(nodes, {"w2": normal((4, 3, 3, 3), 7)}, ["y", "z"]))
    assert [tied.first.bias for tied in found.layers] == [None, None]


def test_a_bias_that_is_an_output_stays() -> None:
    model = conv_net([op("Conv", "x w b", "y", "conv")], outputs=["y", "b"])
    assert only_layer(model).bias is None


def test_a_computed_bias_keeps_the_layer_as_it_is() -> None:
    nodes = [
        op("ReduceMean", "x", "mean", keepdims=0),
        op("Mul", "b mean", "b2"),
        op("Conv", "x w b2", "y", "conv"),
    ]
    assert only_reason(conv_net(nodes)).startswith("the bias is computed, not constant; add it")


def test_the_other_branch_of_a_residual_sum() -> None:
    nodes = [
        *NORMALIZED[:1],
        op("BatchNormalization", "c gamma beta mean var", "n", "bn"),
        op("Relu", "x2", "other"),
        op("Add", "other n", "y"),
    ]
    given = {**statistics(), "w": normal((4, 3, 3, 3)), "b": normal((4,))}
    inputs = {"x": IMAGE, "x2": ("N", 4, 3, 3)}
    layer = only_layer(loaded(nodes, inputs, ["y"], given))
    assert layer.other == "other"
    assert layer.bias is not None
    assert layer.bias.tensor == "beta"


def test_a_sum_behind_a_tensor_with_several_readers_is_not_followed() -> None:
    nodes = [
        op("Conv", "x w", "c", "conv"),
        op("Add", "c k", "y"),
        op("Relu", "c", "z"),
    ]
    layer = only_layer(conv_net(nodes, {"k": normal((4, 1, 1))}, ["y", "z"]))
    assert layer.bias is None


def test_doubling_is_no_residual_sum() -> None:
    layer = only_layer(conv_net([op("Conv", "x w", "c"), op("Add", "c c", "y")]))
    assert (layer.bias, layer.other) == (None, "")


# --- where weights may be --------------------------------------------------------------------


def tied_of(model: Model) -> TiedLayers:
    (tied,) = find_layers(model).layers
    return tied


SOURCES = {
    "Constant": ([constant_node("w", normal((6, 4)), "const")], {}),
    "Identity": ([op("Identity", "r", "w")], {"r": normal((6, 4))}),
    "Transpose": ([op("Transpose", "r", "w")], {"r": normal((4, 6))}),
    "Transpose of three axes": (
        [op("Transpose", "r", "t", perm=[2, 0, 1]), op("Reshape", "t shape", "w")],
        {"r": normal((2, 4, 3)), "shape": ints(6, -1)},
    ),
    "Reshape that keeps an axis": (
        [op("Reshape", "r shape", "w")],
        {"r": normal((6, 2, 2)), "shape": ints(0, 4)},
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_weights_are_found_and_written_back(name: str) -> None:
    nodes, tensors = SOURCES[name]
    model = loaded([*nodes, op("MatMul", "x w", "y", "dense")], {"x": ROWS}, ["y"], tensors)
    tied = tied_of(model)
    root = model.constants.value(tied.weight)
    assert root is not None
    matrix = tied.matrix(model)
    assert matrix.shape == (1, 4, 6)
    np.testing.assert_array_equal(tied.stored(model, matrix), root)
    changed = model.with_weights({tied.weight: tied.stored(model, 2 * matrix)})
    np.testing.assert_array_equal(tied.matrix(changed), 2 * matrix)


@pytest.mark.parametrize(
    ("nodes", "tensors", "reason"),
    [
        (
            [
                op("Abs", "s", "t"),
                op("DynamicQuantizeLinear", "t", "c cs cz"),
                op("DequantizeLinear", "q cs", "w"),
                op("MatMul", "x w", "y"),
            ],
            {"q": np.ones((6, 4), np.int8), "s": np.ones(3, np.float32)},
            "scales or zero points that are computed",
        ),
        (
            [
                op("Cast", "h", "i", to=TensorProto.INT8),
                op("Cast", "i", "w", to=TensorProto.FLOAT),
                op("MatMul", "x w", "y"),
            ],
            {"h": np.ones((6, 4), np.float16)},
            "cast to integers",
        ),
        (
            [op("Cast", "q", "w", to=TensorProto.FLOAT), op("MatMul", "x w", "y")],
            {"q": np.ones((6, 4), np.int64)},
            "type int64; prune the float model first",
        ),
        (
            [op("Cast", "d", "w", to=TensorProto.FLOAT), op("MatMul", "x w", "y")],
            {"d": np.full((6, 4), 1e39)},
            "too large for the type that they are cast to",
        ),
        ([op("MatMul", "x w", "y")], {"w": np.ones(6, np.float32)}, "a vector"),
        ([op("MatMul", "x w", "y")], {"w": np.ones((6, 0), np.float32)}, "empty"),
    ],
)
def test_why_a_dense_layer_is_left_alone(
    nodes: list[NodeProto], tensors: Initializers, reason: str
) -> None:
    assert reason in only_reason(loaded(nodes, {"x": (3, 6)}, ["y"], tensors))


@pytest.mark.parametrize("opset", [11, 17])
def test_weights_behind_axes_of_size_one(opset: int) -> None:
    """Up to opset 12 axes are an attribute."""
    ways = (("Unsqueeze", "h", "w2"), ("Squeeze", "w2", "w"))
    nodes = [
        op(kind, x, y, axes=[1]) if opset < 13 else op(kind, f"{x} ax", y) for kind, x, y in ways
    ]
    weight = normal((6, 4))
    tensors = {"h": weight} | ({"ax": ints(1)} if opset > 12 else {})
    nodes.append(op("MatMul", "x w", "y"))
    layer = only_layer(model := loaded(nodes, {"x": (3, 6)}, ["y"], tensors, opset))
    assert layer.source.root == "h"
    np.testing.assert_array_equal(as_seen(model, layer.source), weight)
    np.testing.assert_array_equal(as_stored(model, layer.source, 2 * weight), 2 * weight)


def test_weights_behind_a_reshape_to_a_computed_shape() -> None:
    nodes = [
        op("Shape", "x", "s", start=1),
        op("Concat", "s four", "shape", axis=0),
        op("Reshape", "r shape", "w"),
        op("MatMul", "x w", "y", "dense"),
    ]
    model = loaded(nodes, {"x": ROWS}, ["y"], {"r": normal((24,)), "four": ints(4)})
    assert "computed shape" in only_reason(model)


def test_computed_convolution_weights() -> None:
    nodes = [
        op("ReduceMean", "x", "mean", keepdims=0),
        op("Mul", "w mean", "w2"),
        op("Conv", "x w2", "y", "conv"),
    ]
    assert only_reason(conv_net(nodes)) == "weights are computed, not constant"


@pytest.mark.parametrize("kind", KINDS)
def test_constants_of_every_kind_make_the_layers_of_the_dense_twin(kind: str) -> None:
    models = [Model.from_proto(model) for model in KINDS[kind]()]
    found, wanted = (find_layers(model).layers for model in models)
    assert [tied.first.node.key for tied in found] == ["one", "two"]
    for tied, twin in zip(found, wanted, strict=True):
        np.testing.assert_allclose(tied.matrix(models[0]), twin.matrix(models[1]), rtol=1e-5)
        np.testing.assert_allclose(tied.first.offset, twin.first.offset, rtol=1e-5)
        assert (tied.first.bias is None) == (twin.first.bias is None)
        assert (tied.first.clipping is None) == (twin.first.clipping is None)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_bounds_of_a_clip_are_numbers_in_tensors_of_any_rank(shape: tuple[int, ...]) -> None:
    nodes = [op("Conv", "x w b", "c", "conv"), op("Clip", "c low high", "y")]
    bounds = {"low": np.zeros(shape, np.float32), "high": np.full(shape, 6, np.float32)}
    clipping = only_layer(conv_net(nodes, bounds)).clipping
    assert clipping is not None
    assert (clipping.low, clipping.high) == (0, 6)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"group": 3}, "its weights' 4 channels do not divide into 3 groups"),
        ({"kernel_shape": [5, 5]}, "kernel_shape is [5, 5], its weights' kernel is [3, 3]"),
        ({"strides": [2]}, "strides is [2], its kernel has 2 axes"),
        ({"pads": [1, 1]}, "pads is [1, 1], its kernel has 2 axes"),
    ],
)
def test_convolutions_whose_attributes_contradict_their_weights(
    attributes: dict[str, Any], reason: str
) -> None:
    model = conv_net([op("Conv", "x w", "y", "c", **attributes)])
    assert [skip.reason for skip in find_layers(model).skipped] == [reason]


def test_a_kernel_without_spatial_axes_is_left_alone() -> None:
    model = conv_net([op("Conv", "x b", "y", "c")])
    (skipped,) = find_layers(model).skipped
    assert skipped.reason == "its weights have shape [4], a kernel has three axes or more"


def test_a_normalization_of_other_channels_is_not_followed() -> None:
    """Scales without elements would broadcast against any offset but the layer's."""
    nodes = [op("Conv", "x w", "c", "c"), op("BatchNormalization", "c e b b v", "y")]
    empty = {"e": np.empty(0, np.float32), "v": np.ones(4, np.float32)}
    (tied,) = find_layers(conv_net(nodes, empty)).layers
    assert tied.first.scale.tolist() == [1, 1, 1, 1]


def test_integer_weights_are_left_alone() -> None:
    nodes = [op("MatMul", "x w", "y", "dense")]
    inputs = [value("x", ROWS, TensorProto.INT32)]
    outputs = [value("y", ("N", 4), TensorProto.INT32)]
    model = loaded(nodes, inputs, outputs, {"w": np.ones((6, 4), np.int32)})
    assert only_reason(model) == "weights have type int32; prune the float model first"


@pytest.mark.parametrize("tensor", ["w", "r"])
def test_weights_that_are_an_output_are_left_alone(tensor: str) -> None:
    nodes = [op("Transpose", "r", "w"), op("MatMul", "x w", "y", "dense")]
    model = loaded(nodes, {"x": ROWS}, ["y", tensor], {"r": normal((4, 6))})
    assert only_reason(model) == "weights are an output of the model; remove that output"


def test_a_layer_that_reads_a_constant_is_left_alone() -> None:
    nodes = [op("MatMul", "k w", "c", "folded"), op("Add", "x c", "y")]
    model = loaded(nodes, {"x": ("N", 4)}, ["y"], {"k": normal((3, 6)), "w": normal((6, 4))})
    assert "constant" in only_reason(model)


def test_layers_that_no_output_needs_are_left_alone() -> None:
    nodes = [op("MatMul", "x w", "y", "used"), op("MatMul", "x v", "z", "dead")]
    tensors = {"w": normal((6, 4)), "v": normal((6, 4), 1)}
    found = find_layers(loaded(nodes, {"x": ROWS}, ["y"], tensors))
    assert [tied.weight for tied in found.layers] == ["w"]
    assert reasons(found) == {"dead": "no output needs it; simplify the model to be rid of it"}


def test_layers_in_branches_have_names_of_their_own() -> None:
    """Both branches call their weights w."""
    then = make_graph([op("MatMul", "x w", "t", "inner")], {}, ["t"], {"w": normal((6, 4))})
    other = make_graph([op("MatMul", "x w", "e", "inner")], {}, ["e"], {"w": normal((6, 4), 1)})
    nodes = [op("If", "cond", "y", "if", then_branch=then, else_branch=other)]
    inputs = [value("x", ROWS), value("cond", (), TensorProto.BOOL)]
    found = find_layers(loaded(nodes, inputs, ["y"]))
    assert {tied.weight: tied.first.node.key for tied in found.layers} == {
        "if/else_branch/w": "if/else_branch/inner",
        "if/then_branch/w": "if/then_branch/inner",
    }


def test_custom_operators_and_products_of_activations_are_no_layers() -> None:
    nodes = [
        op("Transpose", "x", "t"),
        op("MatMul", "x t", "p"),
        op("Conv", "p w", "y", domain="my.own"),
    ]
    assert find_layers(loaded(nodes, {"x": ROWS}, ["y"])) == PrunableLayers((), ())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_an_error(bad: float) -> None:
    weight = normal((6, 4))
    weight[1, 2] = bad
    with pytest.raises(ModelError, match="weights 'w' hold NaN or infinity"):
        find_layers(dense_net([op("MatMul", "x w", "y")], {"w": weight}))


# --- shared weights --------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "kept"), [(1e200, True), (1e30, False)])
def test_doubles_beyond_float32_are_left_alone(size: float, kept: bool) -> None:
    found = find_layers(dense_net([op("MatMul", "x d", "y")], {"d": np.full((6, 4), size)}))
    reasons = [skip.reason for skip in found.skipped]
    assert reasons == (["weights are too large for float32; scale them down"] if kept else [])
    assert len(found.layers) == (0 if kept else 1)


def test_tied_weights_are_one_layer_in_common_units() -> None:
    nodes = [
        op("Conv", "x w", "c", "one"),
        op("BatchNormalization", "c gamma beta mean var", "n", epsilon=0.0),
        op("Relu", "n", "y"),
        op("Conv", "x2 w", "z", "two"),
    ]
    given = {**statistics(), "w": normal((4, 3, 3, 3))}
    found = find_layers(loaded(nodes, {"x": IMAGE, "x2": IMAGE}, ["y", "z"], given))
    (tied,) = found.layers
    first, second = tied.users
    assert (first.node.key, second.node.key) == ("one", "two")
    np.testing.assert_array_equal(first.scale, np.ones(4))
    assert first.bias is not None
    np.testing.assert_allclose(first.bias.factor, [1, 1, 1, 8])
    assert second.bias is None


def test_what_stands_behind_identity_is_shared_too() -> None:
    """Exporters that join equal constants leave an Identity where the second one was."""
    nodes = [
        op("Identity", "w", "w2"),
        op("Identity", "b", "b2"),
        op("Conv", "x w b", "y", "one"),
        op("Conv", "x2 w2 b2", "z", "two"),
    ]
    given = {"w": normal((4, 3, 3, 3)), "b": normal((4,), 1)}
    (tied,) = find_layers(loaded(nodes, {"x": IMAGE, "x2": IMAGE}, ["y", "z"], given)).layers
    assert tied.weight == "w"
    assert [user.node.key for user in tied.users] == ["one", "two"]
    for user in tied.users:
        np.testing.assert_array_equal(user.offset, given["b"])


def test_a_normalisation_behind_identity_scales() -> None:
    nodes = [
        op("Identity", "gamma", "gamma2"),
        op("Identity", "var", "var2"),
        op("Conv", "x w", "c", "one"),
        op("BatchNormalization", "c gamma2 beta mean var2", "y", epsilon=0.0),
    ]
    model = conv_net(nodes, statistics())
    plain = conv_net(
        [
            op("Conv", "x w", "c"),
            op("BatchNormalization", "c gamma beta mean var", "y", epsilon=0.0),
        ],
        statistics(),
    )
    np.testing.assert_array_equal(only_layer(model).scale, only_layer(plain).scale)
    assert (only_layer(model).scale != 1).any()


def test_weights_read_elsewhere_are_left_alone() -> None:
    nodes = [op("MatMul", "x w", "y", "dense"), op("Abs", "w", "z", "abs")]
    reason = only_reason(dense_net(nodes, outputs=["y", "z"]))
    assert reason == "weights are also read by Abs 'abs'; give it a copy of its own"


def test_an_embedding_that_is_the_classifier_too_is_left_alone() -> None:
    nodes = [
        op("Gather", "table ids", "e", "embed"),
        op("Transpose", "table", "t"),
        op("MatMul", "e t", "y", "classify"),
    ]
    inputs = [value("ids", ("N", 5), TensorProto.INT64)]
    model = loaded(nodes, inputs, ["y"], {"table": normal((9, 6))})
    assert "also read by Gather 'embed'" in only_reason(model)


def test_a_weight_that_is_its_own_bias_or_input_is_left_alone() -> None:
    model = loaded([op("Gemm", "x w w", "y", "odd")], {"x": (1, 1)}, ["y"], {"w": normal((1, 1))})
    found = find_layers(model)
    assert all(tied.first.bias is None for tied in found.layers)


def test_layers_come_in_data_flow_order(digits: object) -> None:
    model = Model.load(str(digits))
    found = find_layers(model)
    assert [tied.first.node.key for tied in found.layers] == [
        "stem",
        "block.conv1",
        "block.conv2",
        "narrow",
        "wide",
        "merge",
        "classifier",
    ]
    assert found.skipped == ()
    assert [tied.first.other != "" for tied in found.layers].count(True) == 1


def test_initializers_that_are_inputs_too_are_weights() -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(dense_net([op("Gemm", "x w b", "y", "gemm")]).view.proto)
    proto.ir_version = 3
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [6, 4]))
    assert only_layer(Model.from_proto(proto)).source.root == "w"


def test_layers_of_real_models(shared_data: Path) -> None:
    folder = shared_data / "models"
    faces = find_layers(Model.load(folder / "ultraface_rfb320.onnx"))
    assert len(faces.layers) > 40
    assert faces.skipped == ()
    voices = find_layers(Model.load(folder / "silero_vad.onnx"))
    assert len(voices.layers) == 20
    assert voices.skipped == ()
    resnet = find_layers(Model.load(folder / "cifar10_resnet20_bn.onnx"))
    assert len(resnet.layers) == 20
    assert sum(tied.first.other != "" for tied in resnet.layers) == 9
    assert all(tied.first.bias for tied in resnet.layers)
