"""What is looked at before any work, and what a run that is refused leaves behind."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import Array, make_model, normal, op, value
from goal_builders import answered
from pruning_builders import plain

from eapc.commands.compiler import prune
from eapc.commands.preparation import Settings
from eapc.commands.results import partial_folder
from eapc.data import Dataset, dataset
from eapc.errors import DataError, PassError
from eapc.goals import Sparsity, TargetEnergy
from eapc.model import Model
from eapc.progress import Step

NET = plain()
SETTINGS = Settings(calibration=NET.data, samples=60, threads=1)


def dense() -> Model:
    nodes = [op("MatMul", "x w", "y")]
    return Model.from_proto(make_model(nodes, {"x": ("N", 8)}, ["y"], {"w": normal((8, 3))}))


def data_of(x: Array, y: Array | None = None) -> Dataset:
    arrays = {"x": x} if y is None else {"x": x, "y": y}
    return dataset(arrays, dense().inputs, "test")


# --- repeated inputs -------------------------------------------------------------------------


def test_distinct_samples_are_counted() -> None:
    x = normal((10, 8))
    assert data_of(x).distinct == 10
    assert data_of(x[[0, 1, 2, 2, 2, 1]]).distinct == 3


@pytest.mark.parametrize(("distinct", "warned"), [(2, True), (49, True), (50, False), (100, False)])
def test_repeated_inputs_are_warned_of(
    distinct: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 100 inputs, where fewer than a half differ."""
    x = normal((distinct, 8))[np.minimum(np.arange(100), distinct - 1)]
    data = data_of(x, np.arange(100) % 3)
    with caplog.at_level(logging.WARNING):
        prune(dense(), Settings(calibration=data, threads=1), goal=Sparsity(0.3), evaluation=data)
    for what in ("calibration inputs", "inputs of --eval"):
        said = f"only {distinct} of the 100 {what} are distinct"
        assert (said in caplog.text) is warned


# --- labels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [3, 1_000_000])
def test_a_label_without_a_class_is_refused_first(
    label: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three outputs, classes 0 to 2; the message begins with the file."""
    monkeypatch.setattr("eapc.commands.preparation.synthesise", None)
    path = tmp_path / "labelled.npz"
    np.savez(path, x=normal((20, 8)), y=np.full(20, label))
    with pytest.raises(DataError) as caught:
        prune(dense(), Settings(threads=1), goal=Sparsity(0.3), evaluation=path)
    assert str(caught.value) == f"{path}: label {label} is out of range: 3 classes"


def test_two_classes_by_one_number(tmp_path: Path) -> None:
    proto = make_model([op("MatMul", "x w", "y")], {"x": ("N", 8)}, ["y"], {"w": normal((8, 1))})
    path = tmp_path / "labelled.npz"
    for labels in (np.arange(20) % 2, np.arange(20) % 3):
        np.savez(path, x=normal((20, 8)), y=labels)
        if labels.max() == 1:
            done = prune(Model.from_proto(proto), goal=Sparsity(0.3), evaluation=path)
            assert done.accuracy is not None
        else:
            with pytest.raises(DataError, match="label 2 is out of range: 2 classes"):
                prune(Model.from_proto(proto), goal=Sparsity(0.3), evaluation=path)


# --- what a refusal leaves -------------------------------------------------------------------


class RefuseAt:
    """Refuses the data when a stage comes to its n-th layer."""

    def __init__(self, stage: str, layer: int) -> None:
        self._place = stage, layer

    def __call__(self, step: Step) -> None:
        if (step.stage, step.done) == self._place:
            raise DataError("refused")


@pytest.mark.parametrize(
    ("stage", "layer", "kept"),
    [
        ("error-curves", 1, False),
        ("reconstruct-outputs", 0, False),
        ("reconstruct-outputs", 1, True),
    ],
)
def test_a_refusal_leaves_no_folder_where_nothing_was_fitted(
    stage: str, layer: int, kept: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out.onnx"
    with pytest.raises(PassError, match="refused"), caplog.at_level(logging.WARNING):
        prune(
            NET.model,
            SETTINGS,
            goal=TargetEnergy(0.7),
            evaluation=answered(NET),
            output=output,
            progress=RefuseAt(stage, layer),
        )
    assert partial_folder(output).exists() is kept
    assert ("--resume goes on" in caplog.text) is kept
    assert not output.exists()


# --- inputs that tell too little ---------------------------------------------------------------


def test_an_input_that_never_varies_is_named(caplog: pytest.LogCaptureFixture) -> None:
    nodes = [op("MatMul", "x w", "a"), op("Add", "a b", "y")]
    inputs = {"x": ("N", 8), "b": ("N", 3)}
    model = Model.from_proto(make_model(nodes, inputs, ["y"], {"w": normal((8, 3))}))
    given = {"x": normal((40, 8)), "b": np.ones((40, 3), np.float32)}
    data = dataset(given, model.inputs, "test")
    assert data.constant_inputs == ["b"]
    with caplog.at_level(logging.WARNING):
        prune(model, Settings(calibration=data, threads=1), goal=Sparsity(0.3))
    assert "input 'b' never varies" in caplog.text


def test_one_input_confirms_nothing_and_two_do() -> None:
    for count, confirmed in ((1, False), (2, True)):
        data = data_of(normal((count, 8)))
        done = prune(dense(), Settings(calibration=data, threads=1), goal=Sparsity(0.3))
        assert done.fitted is not confirmed
        assert done.confirmed is confirmed
        assert ("all calibration inputs were fitted" in done.shortfall) is not confirmed


def test_integers_of_any_range_are_not_searched_on() -> None:
    nodes = [op("Cast", "i", "f", to=onnx.TensorProto.FLOAT), op("MatMul", "f w", "y")]
    inputs = [value("i", ("N", 8), onnx.TensorProto.INT32)]
    model = Model.from_proto(make_model(nodes, inputs, ["y"], {"w": normal((8, 3))}))
    with pytest.raises(DataError, match="nothing tells what values the integer inputs take"):
        prune(model, Settings(threads=1))
    assert prune(model, Settings(threads=1), goal=Sparsity(0.3)).goal_met
