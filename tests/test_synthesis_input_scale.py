"""The scale of made-up inputs, read off the network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from builders import Array, chain, loaded, op

from eapc.data import Dataset
from eapc.model import Model
from eapc.runtime import Session, with_outputs
from eapc.synthesis import synthesise
from eapc.synthesis.input_scale import channel_moments
from eapc.synthesis.inputs import dead_leaves


def made(model: Model) -> Dataset:
    return synthesise(model, {}, 64, np.random.default_rng(0), 1)


def fed(data: Dataset) -> Array:
    return np.concatenate([feed["x"] for feed in data.batches(64)])


def power(x: Array) -> float:
    return float(np.sqrt(np.square(x).mean()))


def expecting(scale: float, ops: Sequence[str]) -> Model:
    """A chain whose first layer's statistics or biases fit inputs `scale` times the usual."""
    proto = chain(ops)
    for tensor in proto.graph.initializer:
        if tensor.name in ("BatchNormalization_1.var", "Conv_0.bias"):
            factor = scale**2 if tensor.name.endswith("var") else scale
            flat = np.frombuffer(tensor.raw_data, np.float32) * np.float32(factor)
            tensor.raw_data = flat.tobytes()
    return Model.from_proto(proto)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, (0.5, 2.0)), (64.0, (100.0, 200.0))])
def test_normalization_tells_the_scale(scale: float, expected: tuple[float, float]) -> None:
    ops = ["Conv", "BatchNormalization", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert expected[0] < power(fed(made(expecting(scale, ops)))) < expected[1]


def test_moments_of_channels_are_those_of_all_runs_together() -> None:
    model = expecting(1.0, ["Conv", "Relu", "GlobalAveragePool"])
    data = made(model).first(10)
    session = Session(with_outputs(model.to_proto(), ["Relu_1_out"]), 1, optimise=False)
    runs = [session.run(feed)["Relu_1_out"] for feed in data.batches(10)]
    values = np.concatenate(runs).astype(np.float64)
    mean, variance = channel_moments(model, data, ["Relu_1_out"], 1)["Relu_1_out"]
    assert values.shape[:2] == (10, len(mean))
    np.testing.assert_allclose(mean, values.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(variance, values.var((0, 2, 3)), rtol=1e-5)


def test_normalization_further_on_outweighs_biases() -> None:
    ops = ["Conv", "Relu", "BatchNormalization", "GlobalAveragePool"]
    rng = np.random.default_rng(1)
    x = dead_leaves((32, 3, 8, 8), rng)
    biased = expecting(64.0, ops)
    session = Session(with_outputs(biased.to_proto(), ["Relu_1_out"]), 1, optimise=False)
    values = session.run({"x": x})["Relu_1_out"]
    statistics = {
        "BatchNormalization_2.mean": values.mean((0, 2, 3)),
        "BatchNormalization_2.var": values.var((0, 2, 3)),
    }
    assert power(fed(made(expecting(64.0, ["Conv", "GlobalAveragePool"])))) > 100
    assert power(fed(made(biased.with_weights(statistics)))) < 2


def test_biases_tell_the_scale() -> None:
    ops = ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert power(fed(made(expecting(0.5, ops)))) < 3
    assert power(fed(made(expecting(500.0, ops)))) > 50


def test_without_either_the_most_varied_outputs_decide() -> None:
    nodes = [op("Sub", "x k", "a"), op("Tanh", "a", "y")]
    model = loaded(nodes, {"x": ("N", 3, 8, 8)}, ["y"], {"k": np.array([128.0], np.float32)})
    assert fed(made(model)).mean() > 50
