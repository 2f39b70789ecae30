"""The scale of made-up inputs, read off the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from builders import Array, chain, loaded, op, value
from onnx import TensorProto

from eapc import Settings, prune
from eapc.data import Dataset, dataset
from eapc.goals import Sparsity
from eapc.model import Model
from eapc.runtime import Session, with_outputs
from eapc.synthesis import synthesise
from eapc.synthesis.input_scale import CANDIDATES, scaled, with_expected_scale
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


def test_without_either_only_scales_at_which_nothing_happens_are_out() -> None:
    """tanh(x - 128) is -1 whatever x of 0 to 1; without the offset it says nothing."""
    nodes = [op("Sub", "x k", "a"), op("Tanh", "a", "y")]
    model = loaded(nodes, {"x": ("N", 3, 8, 8)}, ["y"], {"k": np.array([128.0], np.float32)})
    assert made(model).origin == (
        "values 0 to 255, as images and as white noise in turn, as the variety of outputs cannot "
        "tell them apart"
    )
    assert fed(made(model)).mean() > 50
    model = loaded([op("Relu", "x", "y")], {"x": ("N", 3, 8, 8)}, ["y"])
    assert made(model).origin == (
        "unit normal, values 0 to 1 and values 0 to 255, as images and as white noise in turn, as "
        "the variety of outputs cannot tell them apart"
    )
    model = loaded([op("Relu", "x", "y")], {"x": ("N", 6)}, ["y"])
    assert made(model).origin == (
        "unit normal, values 0 to 1 and values 0 to 255 in turn, as the variety of outputs "
        "cannot tell them apart"
    )


def perceptron(bias: float) -> Model:
    """x (N, 6) @ w with responses of variance 6 for unit normal x, and a bias of +-`bias`."""
    nodes = [op("MatMul", "x w", "a"), op("Add", "a b", "c"), op("Relu", "c", "y")]
    signs = np.where(np.arange(48).reshape(6, 8) % 3 == 0, -1, 1).astype(np.float32)
    b = np.full(8, bias, np.float32)
    return loaded(nodes, {"x": ("N", 6)}, ["y"], {"w": signs, "b": b})


def test_what_biases_cannot_tell_apart_is_mixed() -> None:
    """Responses of deviation 2.45 and 0.61; half way between, 1.22, each is a factor 2 off.

    A bias may be a quarter of what it shifts, but not four times as much.
    """
    assert made(perceptron(2.45)).origin == "unit normal by the first biases"
    assert (
        made(perceptron(0.1)).origin
        == made(perceptron(0.61)).origin
        == ("unit normal and values 0 to 1 in turn, as the first biases cannot tell them apart")
    )
    assert made(perceptron(157.0)).origin == "values 0 to 255 by the first biases"
    assert made(perceptron(1.22)).origin == (
        "unit normal and values 0 to 1 in turn, as the first biases cannot tell them apart"
    )


def test_half_of_a_mixture_is_of_each_scale_and_every_part_of_it_has_both() -> None:
    data = made(perceptron(1.22))
    plain = np.random.default_rng(0).standard_normal((64, 6), dtype=np.float32)
    scale, offset = CANDIDATES["values 0 to 1"]
    small = np.isclose(fed(data), plain * scale + offset).all(axis=1)
    np.testing.assert_allclose(fed(data)[~small], plain[~small])
    assert small.sum() == 32
    for step in (2, 3, 4, 5):
        assert 0 < small[::step].sum() < len(small[::step])
    again = fed(made(perceptron(1.22)))
    np.testing.assert_array_equal(fed(data), again)


def test_a_fit_on_a_mixture_serves_every_scale() -> None:
    """What is fitted on large inputs alone knows nothing of the biases that small ones need."""
    model = perceptron(1.22)
    held = np.random.default_rng(5).standard_normal((200, 6), dtype=np.float32)
    errors = {}
    for name in ("mixed", "0 to 255"):
        plain = replace(made(model), affine=None)
        data = plain if name == "mixed" else scaled(plain, *CANDIDATES["values 0 to 255"])
        done = prune(model, Settings(calibration=data, threads=1), goal=Sparsity(0.5))
        errors[name] = [
            relative_error(model, done.model, held * scale + offset)
            for scale, offset in list(CANDIDATES.values())[:2]
        ]
    assert max(errors["mixed"]) < 0.5 * max(errors["0 to 255"])


def relative_error(model: Model, pruned: Model, x: Array) -> float:
    before, after = (Session(each.to_proto(), 1).run({"x": x})["y"] for each in (model, pruned))
    return float(np.square(before - after).sum() / np.square(before - before.mean(0)).sum())


def test_integers_have_no_scale() -> None:
    nodes = [op("Gather", "t x", "y")]
    inputs = [value("x", ("N", 4), TensorProto.INT64)]
    model = loaded(nodes, inputs, ["y"], {"t": np.ones((5, 2), np.float32)})
    assert made(model).origin == ""


def test_statistics_of_training_tell_images_from_noise() -> None:
    """Biases do not: a kernel of ones sees nothing but how bright an image is."""
    ops = ["Conv", "BatchNormalization", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert made(expecting(1.0, ops)).kinds is None
    biased = made(expecting(1.0, ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]))
    assert any(name.startswith("white noise") for name in biased.kind_names)


def test_noise_is_left_out_where_statistics_of_training_suit_images_as_well() -> None:
    """Textures of the same values fit alike: a BatchNormalization settles for images."""
    rng = np.random.default_rng(0)
    tensors = {
        "w": np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1),
        "s": np.ones(3, np.float32),
        "b": np.zeros(3, np.float32),
        "m": np.full(3, 0.5, np.float32),
        "v": np.full(3, 1 / 16, np.float32),
    }
    nodes = [op("Conv", "x w", "c"), op("BatchNormalization", "c s b m v", "y")]
    model = loaded(nodes, {"x": ("N", 3, 8, 8)}, ["y"], tensors)
    x = rng.standard_normal((40, 3, 8, 8)).astype(np.float32)
    alike = dataset({"x": x}, model.inputs, "made up")
    found = with_expected_scale(model, [alike, alike], 1)
    assert found.origin == "values 0 to 1 by BatchNormalization statistics"
    np.testing.assert_allclose(found.arrays["x"], x / 4 + 0.5, rtol=1e-6, atol=1e-6)
