"""What each width does to the outputs: of weights, of tensors on one grid."""

from __future__ import annotations

import numpy as np
import pytest
from builders import make_model, normal, op
from structured_builders import answers, inputs_of
from test_quantization import concat, residual

from eapc.calibration import Probes
from eapc.data import dataset
from eapc.layers import layers_of
from eapc.model import Model
from eapc.quantization import activation_curves, planned, weight_curves
from eapc.quantization.width_curves import rounded_name, with_rounding
from eapc.runtime import Engine

WIDTHS = (8, 6, 4, 2)


def chain_of_two() -> Model:
    """y = relu(x w) v, whose first weights are -3, -1, 0, 1 and 3 times .5: 3 bits hold them."""
    rng = np.random.default_rng(0)
    weights = 0.5 * rng.choice([-3, -1, 0, 1, 3], (8, 6)).astype(np.float32)
    weights[0] = 1.5
    nodes = [op("MatMul", "x w", "h"), op("Relu", "h", "r"), op("MatMul", "r v", "y")]
    tensors = {"w": weights, "v": normal((6, 3), 2, 0.5)}
    return Model.from_proto(make_model(nodes, {"x": ("N", 8)}, ["y"], tensors))


def test_rounding_by_hand() -> None:
    """0.4 is one step of .25 and .6; 3 is beyond seven steps; -1 is beyond -2."""
    model = Model.from_proto(make_model([op("Neg", "x", "y")], {"x": ("N", 4)}, ["y"], {}))
    rounded, names = with_rounding(model, ["x"])
    numbers = dict(zip(names, (0.25, -2.0, 7.0), strict=True))
    rounded = rounded.with_weights({n: np.array(v, np.float32) for n, v in numbers.items()})
    data = dataset({"x": np.array([[0.4, 3.0, -1.0, 0.1]], np.float32)}, model.inputs, "test")
    assert answers(rounded, data)["y"].tolist() == [[-0.5, -1.75, 0.5, 0.0]]


def test_an_output_is_rounded_too() -> None:
    model = Model.from_proto(make_model([op("Neg", "x", "y")], {"x": ("N", 2)}, ["y"], {}))
    rounded, names = with_rounding(model, ["y"])
    numbers = dict(zip(names, (0.5, -7.0, 7.0), strict=True))
    rounded = rounded.with_weights({n: np.array(v, np.float32) for n, v in numbers.items()})
    data = dataset({"x": np.array([[0.6, -1.4]], np.float32)}, model.inputs, "test")
    assert answers(rounded, data)[rounded_name("y")].tolist() == [[-0.5, 1.5]]


def test_weights_lose_nothing_on_a_grid_that_holds_them() -> None:
    model = chain_of_two()
    data = dataset({"x": normal((200, 8), 3, 1.0)}, model.inputs, "test")
    layers = layers_of(model).layers
    first, last = weight_curves(model, layers, Probes(data, data), Engine(1), (3, 2))
    assert (first.name, first.tensors, first.widths) == ("w", ("w",), (3, 2))
    assert first.errors[0] < 1e-9
    assert first.errors[1] > 1e-3
    assert last.errors[0] > 1e-3


@pytest.mark.parametrize("density", [1.0, 0.35])
def test_fewer_bits_of_weights_never_lose_less(density: float) -> None:
    model = residual()
    data = inputs_of(model)
    layers = layers_of(model).layers
    probes, engine = Probes(data, data), Engine(1)
    curves = list(weight_curves(model, layers, probes, engine, WIDTHS, density))
    assert [curve.name for curve in curves] == ["w1", "w2", "w3"]
    for curve in curves:
        assert (np.diff(curve.errors) >= 0).all()
        assert 4 * curve.errors[0] < curve.errors[-1]
    assert list(weight_curves(model, layers, probes, engine, WIDTHS, density, 2)) == curves[2:]


def test_each_group_of_tensors_has_a_curve() -> None:
    """Codes are moved by the pooling and by the Flatten, so these have no width of their own."""
    prepared, plan = planned(residual(), inputs_of(residual()))
    model = prepared.model
    data = inputs_of(model)
    curves = list(activation_curves(model, plan, data, Engine(1), WIDTHS))
    assert [curve.tensors for curve in curves] == [("x",), ("r1",), ("c2",), ("r2", "p", "f")]
    for curve in curves:
        assert (np.diff(curve.errors) >= 0).all()
        assert 10 * curve.errors[0] < curve.errors[-1]
    assert list(activation_curves(model, plan, data, Engine(1), WIDTHS, 3)) == curves[3:]


def test_tensors_that_are_joined_are_rounded_together() -> None:
    """On the grid of b, which is nine times as large: a loses more than on one of its own."""
    prepared, plan = planned(concat(), inputs_of(concat()))
    model = prepared.model
    data = inputs_of(model)
    curves = {c.name: c for c in activation_curves(model, plan, data, Engine(1), (4,))}
    joined = next(curve for curve in curves.values() if "c" in curve.tensors)
    assert set(joined.tensors) == {"a", "b", "c"}
