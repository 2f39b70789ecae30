"""Comparisons of networks so small that every figure can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import Array, Axis, ints, loaded, make_model, normal, op, save
from onnx import ModelProto

from eapc import compare
from eapc.commands.comparison import Comparison, Likeness
from eapc.commands.compiler import analyze
from eapc.commands.preparation import Settings
from eapc.data import Dataset, dataset
from eapc.errors import DataError, ModelError, UsageError
from eapc.evaluation import Accuracy
from eapc.model import Model, TensorSpec

SETTINGS = Settings(threads=1)
CLASSES = 3


def test_the_batch_is_that_of_given_shapes() -> None:
    model = Model.from_proto(network(8, 1))
    given = replace(SETTINGS, input_shapes={"x": (3, 4)})
    assert compare(model, model, given, latency=False).before.energy.batch == 3
    with pytest.raises(UsageError, match="--batch 2: 'x' has a batch of 3 by --input-shape"):
        compare(model, model, replace(given, batch=2), latency=False)


def network(hidden: int, batch: Axis = "N", **zeros: int) -> ModelProto:
    """x of 4 to `hidden` to 3 classes, with biases; 4 `hidden` + 3 `hidden` weights."""
    first, second = normal((hidden, 4)), normal((CLASSES, hidden), 1)
    first[: zeros.get("rows", 0)] = 0
    nodes = [
        op("Gemm", "x w1 b1", "h", name="first", transB=1),
        op("Relu", "h", "r"),
        op("Gemm", "r w2 b2", "s", name="second", transB=1),
        op("Reshape", "s shape", "y"),
    ]
    biases = {"b1": normal((hidden,), 2), "b2": normal((CLASSES,), 3)}
    constants = {"w1": first, "w2": second, "shape": ints(-1, CLASSES), **biases}
    return make_model(nodes, {"x": (batch, 4)}, ["y"], constants)


def product(weight: Array, batch: Axis = "N") -> Model:
    """y = x weight."""
    nodes = [op("MatMul", "x w", "y", name="product")]
    return Model.from_proto(make_model(nodes, {"x": (batch, 3)}, ["y"], {"w": weight}))


def fed(x: Array, labels: Array | None = None) -> Dataset:
    more = {} if labels is None else {"y": labels}
    return dataset({"x": x, **more}, [TensorSpec("x", np.dtype(np.float32), ("N", 3))], "here")


EYE = np.eye(3, dtype=np.float32)


@pytest.fixture(scope="module")
def narrowed(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Eight hidden channels and four."""
    folder = tmp_path_factory.mktemp("models")
    wide, narrow = (save(network(hidden), folder / f"{hidden}.onnx") for hidden in (8, 4))
    return compare(wide, narrow, SETTINGS, repeats=5)


def test_sizes(narrowed: Comparison) -> None:
    sides = (narrowed.before, narrowed.after)
    assert [side.parameters for side in sides] == [7 * 8 + 8 + 3, 7 * 4 + 4 + 3]
    assert [side.energy.nonzero_weights for side in sides] == [56, 28]
    assert [side.energy.macs for side in sides] == [56, 28]
    for side in sides:
        assert side.model.path is not None
        assert side.file_bytes == side.model.path.stat().st_size


def test_energies_are_those_of_analyze(narrowed: Comparison) -> None:
    for side in (narrowed.before, narrowed.after):
        alone = analyze(side.model, SETTINGS).energy
        assert side.energy.energy_mac_units == alone.energy_mac_units
    assert narrowed.energy_ratio is not None
    assert 0 < narrowed.energy_ratio < 1


def test_latency_is_measured(narrowed: Comparison) -> None:
    latency = narrowed.latency
    assert latency is not None
    assert latency.before_ms > 0
    assert latency.after_ms > 0
    assert 0 < latency.ratio.low <= latency.ratio.median <= latency.ratio.high
    assert (latency.batch, latency.threads, latency.repeats) == (1, 1, 5)
    assert compare(network_of(8), network_of(4), SETTINGS, latency=False).latency is None


def network_of(hidden: int, batch: Axis = "N") -> Model:
    return Model.from_proto(network(hidden, batch))


def test_rounds_fill_the_time_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounds(seconds: float) -> int:
        monkeypatch.setattr("eapc.commands.turns._SECONDS", seconds)
        latency = compare(network_of(8), network_of(4), SETTINGS).latency
        assert latency is not None
        return latency.repeats

    assert rounds(0.0) == 20
    assert rounds(1e6) == 1000


def test_zeros_alone_leave_the_size() -> None:
    zeroed = Model.from_proto(network(8, rows=2))
    compared = compare(network_of(8), zeroed, SETTINGS, latency=False)
    assert compared.before.parameters == compared.after.parameters == 67
    assert compared.after.energy.nonzero_weights == 56 - 2 * 4
    assert compared.before.file_bytes == compared.after.file_bytes
    assert compared.before.file_bytes == len(network(8).SerializeToString())


# --- answers ---------------------------------------------------------------------------------


def test_accuracy_of_both() -> None:
    labelled = fed(EYE, np.array([0, 1, 2]))
    swapped = product(EYE[[1, 0, 2]])
    compared = compare(product(EYE), swapped, SETTINGS, evaluation=labelled, latency=False)
    assert compared.accuracy == Accuracy(1.0, 1 / 3, 3)
    assert compared.likeness is None


def test_likeness_without_labels() -> None:
    balanced = fed(np.concatenate([EYE, -EYE]))
    settings = replace(SETTINGS, calibration=balanced)
    halved = compare(product(EYE), product(0.5 * EYE), settings, latency=False)
    assert halved.accuracy is None
    assert halved.likeness == Likeness("relative output error", 0.25, 6)
    assert not halved.made_up
    many = replace(SETTINGS, calibration=fed(np.tile(EYE, (20, 1))))
    swapped = compare(product(EYE), product(EYE[[1, 0, 2]]), many, latency=False)
    assert swapped.likeness == Likeness("top-1 agreement", 1 / 3, 60)


def test_inputs_are_made_up_without_data(caplog: pytest.LogCaptureFixture) -> None:
    compared = compare(network_of(8), network_of(8), SETTINGS, latency=False)
    assert compared.made_up
    assert compared.likeness is not None
    assert compared.likeness.value == 0
    assert f"{compared.likeness.samples} made-up inputs" in caplog.text
    assert compared.energy_ratio == 1


def test_made_up_inputs_have_the_scale_that_the_model_expects(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """tanh(x - 128) is -1 for all small x, as its counterpart is for all x."""
    constants = {"k": np.full(1, 128, np.float32), "zero": np.zeros(1, np.float32)}
    shifted = [op("Sub", "x k", "a"), op("Tanh", "a", "y")]
    low = [op("Mul", "x zero", "z"), op("Sub", "z k", "a"), op("Tanh", "a", "y")]
    one, other = (loaded(nodes, {"x": ("N", 3)}, ["y"], constants) for nodes in (shifted, low))
    compared = compare(one, other, SETTINGS, latency=False)
    assert compared.likeness is not None
    assert compared.likeness.value > 0.5
    assert "made-up inputs: values 0 to 255 by the variety of outputs; " in caplog.text


def test_labels_are_what_evaluation_takes() -> None:
    with pytest.raises(DataError, match="labels"):
        compare(product(EYE), product(EYE), SETTINGS, evaluation=fed(EYE))


# --- conditions ------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "other"), [("N", 4), (4, "N"), (4, 4)])
def test_a_batch_that_one_fixes_holds_for_both(one: Axis, other: Axis) -> None:
    compared = compare(network_of(8, one), network_of(8, other), SETTINGS, repeats=1)
    assert compared.before.energy.batch == compared.after.energy.batch == 4
    assert compared.energy_ratio == 1
    assert compared.latency is not None
    assert compared.latency.batch == 4
    assert compared.likeness is not None
    assert compared.likeness.value < 1e-9


def test_a_batch_that_is_asked_for_is_run() -> None:
    settings = replace(SETTINGS, batch=16)
    compared = compare(network_of(8), network_of(4), settings, repeats=1)
    assert compared.latency is not None
    assert compared.latency.batch == compared.before.energy.batch == 16


def test_models_of_other_outputs_are_refused() -> None:
    with pytest.raises(UsageError, match=r"input 'x' is float32 \(N, 4\)"):
        compare(network_of(8), product(EYE), SETTINGS)


def test_what_onnxruntime_refuses(tmp_path: Path) -> None:
    nodes = [op("Nothing", "x", "y", domain="nowhere")]
    odd = save(make_model(nodes, {"x": ("N", 3)}, ["y"]), tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match="does not know the operator Nothing"):
        compare(product(EYE), odd, replace(SETTINGS, calibration=fed(EYE)))


def test_no_rounds_are_refused() -> None:
    with pytest.raises(UsageError, match="repeats: expected 1 or more"):
        compare(product(EYE), product(EYE), SETTINGS, repeats=0)
