"""What tells of a network's scale of inputs: where it is found, and how it is measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
from builders import Array, chain, loaded, normal, op
from integer_builders import dynamic_lstm
from onnx import NodeProto

from eapc.data import Dataset, dataset
from eapc.model import Model
from eapc.runtime import Session, with_outputs
from eapc.scale.evidence import (
    channel_moments,
    first_biases,
    scale_evidence,
    trained_normalizations,
)


def on(model: Model, x: Array) -> Dataset:
    return dataset({"x": x}, model.inputs, "test")


def of(nodes: list[NodeProto], **constants: Array) -> Model:
    return loaded(nodes, {"x": ("N", 2)}, [nodes[-1].output[0]], constants)


W = np.eye(2, dtype=np.float32)
ONES = np.ones(2, np.float32)


def test_moments_of_channels_are_those_of_all_runs_together() -> None:
    model = Model.from_proto(chain(["Conv", "Relu", "GlobalAveragePool"]))
    data = on(model, normal((10, 3, 8, 8)))
    session = Session(with_outputs(model.to_proto(), ["Relu_1_out"]), 1, optimise=False)
    runs = [session.run(feed)["Relu_1_out"] for feed in data.batches(10)]
    values = np.concatenate(runs).astype(np.float64)
    for axis, others in ((1, (0, 2, 3)), (-1, (0, 1, 2))):
        found = channel_moments(model, data, {"Relu_1_out": axis}, 1)["Relu_1_out"]
        np.testing.assert_allclose(found[0], values.mean(others), rtol=1e-5)
        np.testing.assert_allclose(found[1], values.var(others), rtol=1e-5)


# --- biases ------------------------------------------------------------------------------------


def tensors(model: Model) -> list[str]:
    return [bias.tensor for bias in first_biases(model)]


def test_a_layer_behind_another_bias_is_not_first() -> None:
    nodes = [op("Gemm", "x w b", "a"), op("Relu", "a", "c"), op("Gemm", "c w b", "y")]
    assert tensors(of(nodes, w=W, b=ONES)) == ["a"]


def test_layers_without_a_bias_and_other_nodes_are_passed() -> None:
    nodes = [
        op("Sub", "x b", "s"),
        op("MatMul", "s w", "a"),
        op("Gemm", "a w zero", "c"),
        op("MatMul", "c w", "d"),
        op("Add", "b d", "y"),
    ]
    model = of(nodes, w=W, b=ONES, zero=0 * ONES)
    (bias,) = first_biases(model)
    assert (bias.tensor, bias.axis) == ("d", -1)
    np.testing.assert_array_equal(bias.values, ONES)


def test_all_branches_of_the_inputs_are_followed() -> None:
    nodes = [op("Gemm", "x w b", "a"), op("Gemm", "x w b", "c"), op("Mul", "a c", "y")]
    assert tensors(of(nodes, w=W, b=ONES)) == ["a", "c"]


def test_sums_that_are_no_bias() -> None:
    nodes = [op("MatMul", "x w", "a"), op("Add", "a x", "c"), op("Add", "c b", "y")]
    assert tensors(of(nodes, w=W, b=ONES)) == []


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_a_bias_of_the_size_of_what_it_shifts_fits_best(scale: float) -> None:
    """x @ 1 with a bias of 2 in both channels: |ln(deviation of x / 2)|, half if that is less."""
    model = of([op("Gemm", "x w b", "y")], w=W, b=2 * ONES)
    x = np.array([[1.0, -1], [-1, 1]], np.float32) * scale
    evidence = scale_evidence(model)
    assert evidence.name == "the first biases"
    expected = -math.log(scale / 2) if scale < 2 else 0.5 * math.log(scale / 2)
    assert evidence.misfit(on(model, x), 1) == pytest.approx(expected, rel=1e-5)


def cell(bias: Array | None) -> Model:
    """An RNN of two directions, x W^T of (x0, x1) and (2 x0, 2 x1), and a layer behind it."""
    wide = np.stack([W, 2 * W])
    nodes = [
        op("Unsqueeze", "x first", "s"),
        op(
            "RNN",
            "s w r b" if bias is not None else "s w r",
            "h",
            hidden_size=2,
            direction="bidirectional",
        ),
        op("MatMul", "h v", "p"),
        op("Add", "p c", "y"),
    ]
    tensors: dict[str, Array] = {
        "w": wide,
        "r": 0 * wide,
        "v": W,
        "c": ONES,
        "first": np.array([0], np.int64),
    }
    return of(nodes, **tensors if bias is None else {**tensors, "b": bias})


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_gates_of_a_cell_tell_by_the_biases_of_w_and_r(scale: float) -> None:
    """Variances s^2 and 4 s^2, 2.5 s^2 on average, against the square of 1 + 3."""
    model = cell(np.tile(np.array([1, 1, 3, 3], np.float32), (2, 1)))
    x = np.array([[1.0, -1], [-1, 1]], np.float32) * scale
    evidence = scale_evidence(model)
    assert evidence.name == "the first biases"
    distance = math.log(math.sqrt(2.5) * scale / 4)
    expected = 0.5 * distance if distance > 0 else -distance
    assert evidence.misfit(on(model, x), 1) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bias", [None, np.zeros((2, 4), np.float32)], ids=["none", "zeros"])
def test_biases_behind_a_cell_tell_nothing_of_what_comes_in(bias: Array | None) -> None:
    """Its outputs lie between -1 and 1 whatever the scale."""
    assert first_biases(cell(bias)) == []
    assert scale_evidence(cell(bias)).name == "the variety of outputs"


# --- BatchNormalization ------------------------------------------------------------------------


def normalized(mean: Array, variance: Array) -> Model:
    nodes = [op("MatMul", "x w", "a"), op("BatchNormalization", "a one zero m v", "y", epsilon=0.0)]
    return of(nodes, w=W, one=ONES, zero=0 * ONES, m=mean, v=variance)


def test_statistics_that_training_never_touched_tell_nothing() -> None:
    assert trained_normalizations(normalized(0 * ONES, ONES)) == []
    assert len(trained_normalizations(normalized(ONES, ONES))) == 1
    assert len(trained_normalizations(normalized(0 * ONES, 2 * ONES))) == 1
    assert scale_evidence(normalized(0 * ONES, ONES)).name == "the variety of outputs"


def test_divergence_by_hand() -> None:
    """Variance 1 against 4, mean 0 against 2: (1/4 + 4/4 - 1 + ln 4) / 2 nats."""
    model = normalized(2 * ONES, 4 * ONES)
    evidence = scale_evidence(model)
    x = np.array([[1.0, -1], [-1, 1]], np.float32)
    expected = (1 / 4 + 1 - 1 + math.log(4)) / 2
    assert evidence.misfit(on(model, x), 1) == pytest.approx(expected, rel=1e-6)


# --- outputs -----------------------------------------------------------------------------------


def test_outputs_that_do_not_vary_fit_worst() -> None:
    evidence = scale_evidence(of([op("Neg", "x", "y")]))
    model = of([op("Neg", "x", "y")])
    assert evidence.misfit(on(model, np.ones((3, 2), np.float32)), 1) == math.inf
    x = np.array([[1.0, 1], [3, 3]], np.float32)  # variance 1, mean square 5
    assert evidence.misfit(on(model, x), 1) == pytest.approx(math.log(5), rel=1e-6)


def test_a_cell_of_integers_tells_nothing() -> None:
    """Its weights are no real numbers, which a product of inputs could be made with."""
    assert first_biases(dynamic_lstm().model) == []
