"""Operators on integers taken apart into real numbers, and what the file has for each layer."""

from __future__ import annotations

import numpy as np
import pytest
from builders import make_model, op, scalar
from integer_builders import NETS, ORT, matmul_integer, qlinear_convolutions
from onnx import TensorProto, helper
from pruning_builders import Net

from eapc.layers import find_layers, without_integers
from eapc.model import Array, Model, as_seen, codes_of, find_weights, told_bits


def test_a_model_of_real_numbers_is_left_as_it_is() -> None:
    model = NETS["blocked"]().model
    assert without_integers(model) is model


def test_real_numbers_have_the_same_outputs_under_the_same_names() -> None:
    model = qlinear_convolutions().model
    apart = without_integers(model)
    assert list(apart.outputs) == list(model.outputs)
    kinds = [node.op_type for node in apart.nodes]
    assert kinds.count("Conv") == 2
    assert not any(kind.startswith("QLinear") for kind in kinds)


@pytest.mark.parametrize("name", NETS)
def test_layers_stand_for_nodes_of_the_file(name: str) -> None:
    model = NETS[name]().model
    for tied in find_layers(model).layers:
        assert tied.first.node in model.nodes
        assert codes_of(model, tied.first.source) is not None


def test_dynamic_scales_end_in_the_layer() -> None:
    """(codes - zero point) times the weights' scale: that of the input is the input's."""
    net = matmul_integer(1, np.dtype(np.uint8), 3)
    (tied,) = find_layers(net.model).layers
    w, scale = (net.model.constants[name].astype(np.float32) for name in ("w", "ws"))
    np.testing.assert_allclose(tied.matrix(net.model)[0], ((w - 131) * scale).T, rtol=1e-6)
    assert tied.first.y == "m"
    assert tied.first.bias is not None


def test_an_integer_product_that_others_read_is_in_units_of_one() -> None:
    net = matmul_integer()
    net.proto.graph.node.append(op("Identity", "i", "again"))
    net.proto.graph.output.add(name="again")
    (tied,) = find_layers(net.model).layers
    np.testing.assert_array_equal(tied.matrix(net.model)[0], net.model.constants["w"].T)


def scaled(*nodes: str, **tensors: Array) -> Model:
    """x times w, which `nodes` make of q: each is an operator and its operands."""
    made = []
    for each in nodes:
        kind, *operands, result = each.split()
        made.append(op(kind, " ".join(operands), result))
        if kind == "Cast":
            made[-1].attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
    made.append(op("MatMul", "x w", "y", "product"))
    return Net(make_model(made, {"x": ("N", 2)}, ["y"], tensors), {}).model


CODES = np.array([[1, -2, 3], [4, 5, -6]], np.int8)


def test_weights_behind_cast_sub_and_mul_are_codes() -> None:
    model = scaled(
        "Cast q f",
        "Sub f z d",
        "Mul d s w",
        q=CODES,
        z=scalar(1),
        s=np.array([0.5, 1, 2], np.float32),
    )
    source = find_weights(model, "w")
    assert source is not None
    assert source.root == "q"
    np.testing.assert_array_equal(as_seen(model, source), [[0, -3, 4], [1.5, 4, -14]])


def test_a_scale_may_be_the_first_operand() -> None:
    model = scaled("Cast q f", "Mul s f w", q=CODES, s=scalar(0.5))
    source = find_weights(model, "w")
    assert source is not None
    assert source.root == "q"
    np.testing.assert_array_equal(as_seen(model, source), CODES / 2)


def test_a_scale_that_changes_the_shape_is_none() -> None:
    model = scaled("Cast q f", "Mul f s w", q=CODES[:1], s=np.ones((2, 1), np.float32))
    source = find_weights(model, "w")
    assert source is not None
    assert source.root == "w"


def test_gemm_of_integers_has_its_bias_in_units_of_both_scales_and_alpha() -> None:
    tensors: dict[str, Array] = {
        "xs": scalar(0.1), "xz": np.array(0, np.uint8), "w": CODES, "ws": scalar(0.5),
        "wz": np.array(0, np.int8), "b": np.array([10, 20, -30], np.int32),
    }  # fmt: skip
    nodes = [
        op("QuantizeLinear", "x xs xz", "xq"),
        op("QGemm", "xq xs xz w ws wz b", "y", "gemm", domain=ORT, alpha=2.0),
    ]
    model = Net(make_model(nodes, {"x": ("N", 2)}, ["y"], tensors), {}).model
    layer = find_layers(model).layers[0].first
    np.testing.assert_allclose(layer.offset, [1, 2, -3], rtol=1e-6)
    assert layer.bias is None  # its unit is no constant of the file


def test_a_node_that_the_file_has_not_tells_no_width() -> None:
    """Operators on integers are taken apart into nodes that the file has not."""
    proto = make_model([op("Relu", "x", "y", name="relu")], {"x": (1,)}, ["y"], {})
    other = make_model([op("Sqrt", "x", "y", name="root")], {"x": (1,)}, ["y"], {})
    model, stranger = Model.from_proto(proto), Model.from_proto(other).nodes[0]
    assert told_bits(model, stranger) is None
