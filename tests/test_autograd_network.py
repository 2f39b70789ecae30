"""A model in torch: what is trained of it, and that it computes what onnxruntime does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from builders import Array, loaded, make_graph, make_model, normal, op
from onnx import TensorProto, helper, numpy_helper
from pruning_builders import NETS

from eapc.autograd import Network, parameters_of, unruled
from eapc.autograd.arrays import tensor_of
from eapc.data import Dataset
from eapc.errors import ModelError
from eapc.model import Model
from eapc.runtime import open_model
from eapc.synthesis import synthesise

SHARED = (
    "cifar10_resnet20_bn",
    "cifar10_resnet20_qdq_int8",
    "imagenet_squeezenet1_1",
    "mlperf_tiny_ad_int8",
    "mlperf_tiny_kws_int8",
    "mlperf_tiny_vww_float",
    "mnist-8",
    "ultraface_rfb320",
)


def relative_error(model: Model, data: Dataset) -> float:
    """The largest mean error of torch's outputs, relative to how far onnxruntime's spread."""
    feed = next(data.batches(4))
    theirs = open_model(model, 1).run(feed)
    network = Network(model, parameters_of(model))
    mine = network.run({name: tensor_of(x) for name, x in feed.items()}, list(theirs))
    return max(
        float(np.abs(y.detach().numpy() - wanted).mean() / (np.abs(wanted - wanted.mean()).mean()))
        for y, wanted in zip(mine, theirs.values(), strict=True)
    )


@pytest.mark.parametrize("name", NETS)
def test_networks_of_every_kind_run(name: str) -> None:
    net = NETS[name]()
    coarse = any(i.dtype.itemsize == 2 for i in net.model.inputs)
    assert relative_error(net.model, net.data) < (3e-2 if coarse else 1e-4)


@pytest.mark.parametrize("name", SHARED)
def test_shared_networks_run(name: str, shared_data: Path) -> None:
    model = Model.load(shared_data / f"models/{name}.onnx")
    data = synthesise(model, {}, 4, np.random.default_rng(0), 1)
    assert relative_error(model, data) < (2e-2 if "int8" in name else 1e-4)
    stored = Network(model, parameters_of(model)).stored()
    for key, array in stored.items():
        np.testing.assert_array_equal(array, model.constants[key])


# --- what is trained -----------------------------------------------------------------------------


def model_of(nodes: list[onnx.NodeProto], constants: dict[str, Array]) -> Model:
    return loaded(nodes, {"x": ["N", 2]}, ["y"], constants)


W = np.array([[1.0, 0.0], [-2.0, 0.5]], np.float32)


def test_zeros_of_weights_stay_and_those_of_biases_need_not() -> None:
    model = model_of([op("Gemm", "x w b", "y")], {"w": W, "b": np.zeros(2, np.float32)})
    parameters = parameters_of(model)
    assert list(parameters) == ["w", "b"]
    network = Network(model, parameters)
    (y,) = network.run({"x": torch.tensor([[1.0, 3.0]])}, ["y"])
    y.sum().backward()  # type: ignore[no-untyped-call]
    # dy/dw is x by row; the zero at (0, 1) gets none
    assert parameters["w"].value.grad is not None
    assert parameters["w"].value.grad.tolist() == [[1.0, 0.0], [3.0, 3.0]]
    assert parameters["b"].value.grad is not None
    assert parameters["b"].value.grad.tolist() == [1.0, 1.0]
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.value += 1
    stored = network.stored()
    assert stored["w"].tolist() == [[2.0, 0.0], [-1.0, 1.5]]
    assert stored["b"].tolist() == [1.0, 1.0]


def test_a_weight_that_two_layers_read_is_one_parameter() -> None:
    nodes = [
        op("MatMul", "x w", "h"),
        op("Transpose", "w", "t", perm=[1, 0]),
        op("MatMul", "h t", "y"),
    ]
    model = model_of(nodes, {"w": W})
    parameters = parameters_of(model)
    assert list(parameters) == ["w"]
    (y,) = Network(model, parameters).run({"x": torch.eye(2)}, ["y"])
    np.testing.assert_allclose(y.detach().numpy(), W @ W.T)


def test_arithmetic_is_left_alone() -> None:
    """A number and a map of constants are no weights; one number per channel is."""
    nodes = [
        op("Mul", "x two", "a"),
        op("Add", "a grid", "b"),
        op("Add", "b shift", "c"),
        op("Mul", "c scale", "y"),
    ]
    constants: dict[str, Array] = {
        "two": np.array(2.0, np.float32),
        "grid": np.ones((3, 2), np.float32),
        "shift": np.zeros((1, 2), np.float32),
        "scale": np.ones(2, np.float32),
    }
    assert list(parameters_of(model_of(nodes, constants))) == ["shift", "scale"]


def test_quantised_weights_stay_on_their_grid() -> None:
    """Scale 0.5, zero point 3: a weight of 0.7 is the code 4, which stands for 0.5."""
    codes = np.array([[5, 3], [1, 4]], np.int8)
    nodes = [op("DequantizeLinear", "q s z", "w"), op("MatMul", "x w", "y")]
    constants: dict[str, Array] = {
        "q": codes,
        "s": np.array(0.5, np.float32),
        "z": np.array(3, np.int8),
    }
    model = model_of(nodes, constants)
    parameters = parameters_of(model)
    (parameter,) = parameters.values()
    assert parameter.value.tolist() == [[1.0, 0.0], [-1.0, 0.5]]
    network = Network(model, parameters)
    with torch.no_grad():
        parameter.value += torch.tensor([[-0.3, 0.7], [100.0, -1.0]])
    (y,) = network.run({"x": torch.eye(2)}, ["y"])
    assert y.tolist() == [[0.5, 0.0], [62.0, -0.5]]
    assert network.stored()["q"].tolist() == [[4, 3], [127, 2]]
    y.sum().backward()  # type: ignore[no-untyped-call]
    # straight through where the code is within -128 and 127 and not a zero
    assert parameter.value.grad is not None
    assert parameter.value.grad.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_operators_may_be_left_out() -> None:
    model = NETS["residual"]().model
    every = parameters_of(model)
    frozen = parameters_of(model, {"BatchNormalization": False})
    assert set(every) - set(frozen) == {"pg", "pb", "qg", "qb"} & set(every)
    assert set(every) - set(frozen)


# --- what cannot be run --------------------------------------------------------------------------


def test_operators_without_a_rule_are_all_named() -> None:
    nodes = [
        op("Foo", "x", "a", "first", domain="my.domain"),
        op("NonMaxSuppression", "a a", "b", "second"),
        op("Foo", "b", "y", "third", domain="my.domain"),
    ]
    model = model_of(nodes, {})
    assert unruled(model) == ["my.domain.Foo ('first')", "NonMaxSuppression ('second')"]
    with pytest.raises(ModelError, match=r"no rule for my\.domain\.Foo \('first'\), NonMax"):
        Network(model)


def test_what_torch_refuses_names_the_node() -> None:
    model = model_of([op("MatMul", "x w", "y", "product")], {"w": np.ones((3, 2), np.float32)})
    with pytest.raises(ModelError, match=r"'y' \(MatMul\): mat1 and mat2"):
        Network(model).run({"x": torch.ones(1, 2)}, ["y"])


def test_local_functions_and_branches_run() -> None:
    function = helper.make_function(
        "local", "Twice", ["a"], ["b"], [op("Add", "a a", "b")], [helper.make_opsetid("", 17)]
    )
    then = make_graph([op("Identity", "h", "t")], {}, ["t"])
    other = make_graph([op("Neg", "h", "e")], {}, ["e"])
    nodes = [
        helper.make_node("Twice", ["x"], ["h"], domain="local"),
        op("ReduceSum", "h", "total", keepdims=0),
        op("Greater", "total zero", "positive"),
        op("If", "positive", "y", then_branch=then, else_branch=other),
    ]
    zero = np.array(0.0, np.float32)
    proto = make_model(nodes, {"x": ["N", 2]}, ["y"], {"zero": zero})
    proto.functions.append(function)
    network = Network(Model.from_proto(proto))
    assert network.run({"x": torch.tensor([[1.0, 2.0]])}, ["y"])[0].tolist() == [[2.0, 4.0]]
    assert network.run({"x": torch.tensor([[1.0, -2.0]])}, ["y"])[0].tolist() == [[-2.0, 4.0]]


def test_types_of_16_bits_are_computed_at_32() -> None:
    half = tensor_of(np.array([1.5], np.float16))
    assert (half.dtype, half.item()) == (torch.float32, 1.5)
    codes = helper.make_tensor("codes", TensorProto.INT4, [2], [-8, 7])
    assert tensor_of(numpy_helper.to_array(codes)).tolist() == [-8, 7]


def test_recurrent_weights_and_slopes_are_trained() -> None:
    shapes = {"w": (1, 8, 2), "r": (1, 8, 2), "b": (1, 16)}
    constants: dict[str, Array] = {name: normal(shape) for name, shape in shapes.items()}
    constants["slope"] = np.array([0.25], np.float32)
    nodes = [op("LSTM", "x w r b", "h", hidden_size=2), op("PRelu", "h slope", "y")]
    model = loaded(nodes, {"x": ["T", "N", 2]}, ["y"], constants)
    parameters = parameters_of(model)
    assert list(parameters) == ["w", "r", "b", "slope"]
    x = tensor_of(normal((3, 2, 2), 7))
    (y,) = Network(model, parameters).run({"x": x}, ["y"])
    y.square().sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in parameters.items():
        assert parameter.value.grad is not None
        step = 1e-3 * parameter.value.grad.sign()
        ends = []
        for sign in (1, -1):
            moved = {**constants, name: constants[name] + sign * step.numpy()}
            changed = loaded(nodes, {"x": ["T", "N", 2]}, ["y"], moved)
            (found,) = open_model(changed, 1).run({"x": x.numpy()}).values()
            ends.append(float(np.square(found).sum()))
        expected = 2e-3 * float(parameter.value.grad.abs().sum())
        assert ends[0] - ends[1] == pytest.approx(expected, rel=2e-2)
