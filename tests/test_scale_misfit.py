"""Data at another scale than a network expects: what is said of it, and what refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import Array, Axis, loaded, op
from onnx import NodeProto

import eapc
from eapc.data import Dataset, dataset
from eapc.data.scaling import Affine
from eapc.errors import DataError
from eapc.model import Model
from eapc.scale import scale_misfit
from eapc.scale.declared import declared_ranges

SHAPE = ("N", 2, 4, 4)
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 2, 4, 4)).astype(np.float32)
UNIT = Affine(*(np.asarray([value], np.float32) for value in (1 / 255, 0, 1)))


def of(nodes: list[NodeProto], **constants: Array) -> Model:
    return loaded(nodes, {"x": SHAPE}, [nodes[-1].output[0]], constants)


def on(model: Model, x: Array) -> Dataset:
    return dataset({"x": x}, model.inputs, "test")


def f32(*values: float) -> Array:
    return np.asarray(values, np.float32)


def normalized(*shape: Axis, front: Sequence[NodeProto] = ()) -> Model:
    """Trained on values that are even between 0 and 1: of mean 1/2 and variance 1/12."""
    read = front[-1].output[0] if front else "x"
    nodes = [*front, op("Conv", f"{read} w", "c"), op("BatchNormalization", "c s b m v", "y")]
    weight = np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1)
    stats = {"m": f32(0.5, 0.5), "v": f32(1 / 12, 1 / 12)}
    constants = {"w": weight, "s": f32(1, 1), "b": f32(0, 0), "zero": np.zeros(1, np.int64)}
    return loaded(nodes, {"x": shape or SHAPE}, ["y"], {**constants, **stats})


def clipped() -> Model:
    return of(
        [op("Clip", "x low high", "y")],
        low=np.asarray(0, np.float32),
        high=np.asarray(6, np.float32),
    )


# --- declared ranges -------------------------------------------------------------------------


def test_ranges_that_nodes_declare_by_hand() -> None:
    step, zero = np.asarray(0.5, np.float32), np.asarray(128, np.uint8)
    quantized = of([op("QuantizeLinear", "x s z", "y")], s=step, z=zero)
    assert declared_ranges(quantized)[0][:3] == ("x", -64, 63.5)
    assert declared_ranges(of([op("QuantizeLinear", "x s", "y")], s=step))[0][1:3] == (0, 127.5)
    signed = of([op("QuantizeLinear", "x s", "y", output_dtype=onnx.TensorProto.INT8)], s=step)
    assert declared_ranges(signed)[0][1:3] == (-64, 63.5)
    unsaid = op("QuantizeLinear", "x s", "y")
    unsaid.input.append("")
    assert declared_ranges(of([unsaid], s=step))[0][1:3] == (0, 127.5)
    assert declared_ranges(clipped())[0][1:3] == (0, 6)
    assert declared_ranges(of([op("Clip", "x low", "y")], low=np.asarray(0, np.float32))) == ()
    assert declared_ranges(of([op("Relu", "x", "y")])) == ()


def test_a_range_that_the_file_tells_of_images() -> None:
    proto = of([op("Relu", "x", "y")]).to_proto()
    proto.metadata_props.add(key="Image.NominalPixelRange", value="Normalized_1_1")
    (found,) = declared_ranges(Model.from_proto(proto))
    assert found[:3] == ("x", -1, 1)
    proto.metadata_props[0].value = "something else"
    assert declared_ranges(Model.from_proto(proto)) == ()


@pytest.mark.parametrize(
    ("largest", "said", "is_certain"),
    [
        (6.0, "", False),
        (6.05, "", False),
        (7.0, "14% of the values are beyond", False),
        (255.0, "97% of the values are beyond", True),
        (0.1, "1.7% of the range", False),
        (0.03, "0.5% of the range", True),
    ],
)
def test_values_beyond_a_declared_range(largest: float, said: str, is_certain: bool) -> None:
    values = np.linspace(0, largest, 8 * 32).astype(np.float32).reshape(8, 2, 4, 4)
    found = scale_misfit(clipped(), on(clipped(), values))
    if not said:
        assert found is None
    else:
        assert found is not None
        assert said in found.said
        assert found.is_certain is is_certain


# --- evidence --------------------------------------------------------------------------------


def test_pixels_that_nobody_scaled_are_certain_and_scaled_ones_fit() -> None:
    model = normalized()
    raw = on(model, PIXELS)
    found = scale_misfit(model, raw)
    assert found is not None
    assert found.is_certain
    assert "of 0 to 255, but x / 255 would" in found.said
    assert scale_misfit(model, replace(raw, affine=UNIT)) is None
    assert scale_misfit(model, on(model, PIXELS[:1] / 255)) is None


def test_a_fixed_batch_is_looked_at_as_a_whole() -> None:
    """Of 8 inputs alone none would be fed to a network that takes 16 at a time."""
    model = normalized(16, *SHAPE[1:])
    found = scale_misfit(model, on(model, PIXELS))
    assert found is not None
    assert found.is_certain
    assert scale_misfit(model, on(model, PIXELS / 255)) is None


def test_single_images_without_a_batch() -> None:
    front = [op("Unsqueeze", "x zero", "u"), op("Transpose", "u", "t", perm=[0, 3, 1, 2])]
    model = normalized("height", "width", 2, front=front)
    images = np.moveaxis(PIXELS, 1, -1)
    found = scale_misfit(model, on(model, images))
    assert found is not None
    assert "of 0 to 255, but x / 255 would" in found.said
    assert scale_misfit(model, on(model, images / 255)) is None


def test_values_whose_moments_run_over_are_said() -> None:
    model = normalized()
    found = scale_misfit(model, on(model, PIXELS * np.float32(1e36)))
    assert found is not None
    assert "do not suit input 'x'" in found.said


def test_a_scale_that_no_plain_scaling_explains_is_said_without_certainty() -> None:
    model = normalized()
    found = scale_misfit(model, on(model, PIXELS / 255 - 3))
    assert found is not None
    assert not found.is_certain
    assert found.said.endswith("-3 to -2")


def test_biases_are_a_hint_that_a_stated_scaling_overrules() -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(8, 2, 1, 1)).astype(np.float32)
    bias = rng.normal(size=8).astype(np.float32)
    model = of([op("Conv", "x w b", "c"), op("Relu", "c", "y")], w=weight, b=bias)
    raw = on(model, PIXELS)
    found = scale_misfit(model, raw)
    assert found is not None
    assert not found.is_certain
    assert "the first biases" in found.said
    stated = Affine(*(f32(value) for value in (1, 0, 1)))
    assert scale_misfit(model, replace(raw, affine=stated)) is None
    assert scale_misfit(model, on(model, (PIXELS - 128) / 74)) is None


def test_networks_that_tell_nothing_say_nothing() -> None:
    model = of([op("Neg", "x", "y")])
    assert scale_misfit(model, on(model, PIXELS)) is None


# --- commands --------------------------------------------------------------------------------


def test_pixels_that_nobody_scaled_are_refused_unless_someone_says_that_they_are_right(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = normalized()
    raw = on(model, PIXELS)
    goal, settings = eapc.Sparsity(0.5), eapc.Settings(calibration=raw)
    with pytest.raises(DataError, match=r"--calib: BatchNormalization .* --scale 1 says"):
        eapc.prune(model, settings, goal=goal)
    with pytest.raises(DataError, match="--calib: BatchNormalization"):
        eapc.run(model, "prune-weights{sparsity=0.5}, reconstruct-outputs", settings)
    stated = Affine(*(f32(value) for value in (1, 0, 1)))
    with caplog.at_level(logging.WARNING):
        eapc.prune(model, eapc.Settings(calibration=replace(raw, affine=stated)), goal=goal)
    assert "check scale, mean and std" in caplog.text


def test_analysis_and_descriptions_tell_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = normalized()
    path = tmp_path / "raw.npz"
    np.savez(path, x=PIXELS)
    with caplog.at_level(logging.WARNING):
        eapc.analyze(model, eapc.Settings(calibration=path))
    assert "x / 255 would" in caplog.text
    (line,) = eapc.describe_data(path, model).findings
    assert "x / 255 would" in line


def brightness(outputs: Mapping[str, Array], _: Mapping[str, Array]) -> Array:
    result: Array = outputs["y"].mean(axis=(1, 2, 3))
    return result


def test_a_comparison_tells_of_each_of_its_data_once(caplog: pytest.LogCaptureFixture) -> None:
    """Both networks are fed the same."""
    model = normalized()
    raw = on(model, PIXELS)
    settings = eapc.Settings(calibration=raw)
    with caplog.at_level(logging.WARNING):
        eapc.compare(model, model, settings, latency=False)
    assert [each[:7] for each in caplog.messages] == ["--calib"]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        eapc.compare(model, model, settings, evaluation=raw, metric=brightness, latency=False)
    assert [each.split(":")[0] for each in caplog.messages] == ["--calib", "--eval"]
