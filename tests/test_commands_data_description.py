"""Descriptions of data: figures worked out by hand, and what does not suit a model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Axis, make_model, normal, op, save
from image_builders import folder_of

from eapc import DataDescription, DataFiles, Preprocessing, describe_data
from eapc.commands.data_checks import scores_of
from eapc.data import dataset
from eapc.errors import DataError, UsageError
from eapc.model import Model


def classifier(*shape: Axis, scores: int = 3) -> Model:
    """One input of 4 numbers per sample, in whatever shape, to class scores."""
    nodes = [op("Flatten", "x", "f"), op("MatMul", "f w", "s")]
    made = make_model(nodes, {"x": shape}, ["s"], {"w": normal((4, scores))})
    return Model.from_proto(made)


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def ranges(described: DataDescription, index: int = 0) -> list[tuple[float, ...]]:
    found = described.inputs[index].ranges
    return [(r.least, r.largest, r.mean, r.deviation) for r in found]


def test_figures_by_hand(tmp_path: Path) -> None:
    """0, 1, 2, ... 39, in more than one batch: variance (40^2 - 1) / 12."""
    path = npz(tmp_path, x=np.arange(40, dtype=np.float32)[:, None], y=np.arange(40) % 4)
    described = describe_data(path)
    expected = (0, 39, 19.5, math.sqrt((40**2 - 1) / 12))
    np.testing.assert_allclose(ranges(described), [expected], rtol=1e-12)
    (fed,) = described.inputs
    assert (fed.name, fed.dtype, fed.shape, fed.channel_axis) == ("x", "float32", (40, 1), None)
    assert described.labels == {0: 10, 1: 10, 2: 10, 3: 10}
    assert (described.samples, described.are_alike, described.affine) == (40, False, None)


@pytest.mark.parametrize("axis", [1, 3])
def test_channels_of_images_after_scaling(tmp_path: Path, axis: int) -> None:
    """Channel c holds c and c + 2: scaled by 2, less c, over c + 1."""
    x = np.asarray([[0, 1, 2], [2, 3, 4]], np.uint8)[:, :, None, None]
    x = np.moveaxis(np.broadcast_to(x, (2, 3, 5, 6)), 1, axis)
    path = npz(tmp_path, x=x, scale=2.0, mean=[0.0, 1, 2], std=[1.0, 2, 3])
    described = describe_data(path)
    expected = [(0, 4, 2, 2), (0.5, 2.5, 1.5, 1), (2 / 3, 2, 4 / 3, 2 / 3)]
    np.testing.assert_allclose(ranges(described), expected, rtol=1e-6)
    (fed,) = described.inputs
    assert (fed.dtype, fed.stored, fed.channel_axis) == ("float32", "uint8", axis)


def test_channels_of_single_images(tmp_path: Path) -> None:
    """An input of one image has samples in front; channel c holds c and c + 1."""
    x = np.broadcast_to(np.arange(3) + np.arange(2)[:, None, None, None], (2, 5, 6, 3))
    nodes = [op("ReduceMean", "x", "m", keepdims=0), op("Add", "m w", "y")]
    made = make_model(nodes, {"x": ("height", "width", 3)}, ["y"], {"w": normal((1,))})
    described = describe_data(npz(tmp_path, x=x.astype(np.float32)), Model.from_proto(made))
    assert described.inputs[0].shape == (2, 5, 6, 3)
    assert ranges(described) == [(0, 1, 0.5, 0.5), (1, 2, 1.5, 0.5), (2, 3, 2.5, 0.5)]


def test_arrays_as_they_are_stored(tmp_path: Path) -> None:
    """What has another length than the labels goes to every run, and so does a scalar."""
    state = np.full((2, 4), 5, np.int64)
    path = npz(tmp_path, tokens=np.arange(3)[:, None], state=state, rate=16000, y=[0, 1, 1])
    described = describe_data(path)
    found = {fed.name: (fed.dtype, fed.shape, fed.is_shared) for fed in described.inputs}
    assert found == {
        "tokens": ("int64", (3, 1), False),
        "state": ("int64", (2, 4), True),
        "rate": ("int64", (), True),
    }
    assert described.samples == 3
    assert described.labels == {0: 1, 1: 2}


def test_options_scale_arrays(tmp_path: Path) -> None:
    path = npz(tmp_path, x=np.asarray([[0], [255]], np.uint8))
    described = describe_data(DataFiles(path, Preprocessing(scale=(1 / 255,))))
    np.testing.assert_allclose(ranges(described), [(0, 1, 0.5, 0.5)], rtol=1e-6)
    assert [r.largest for r in describe_data(path).inputs[0].ranges] == [255]


def test_images_without_and_with_a_model(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a/1.png": 0, "b/2.png": 100, "b/3.png": 100})
    files = DataFiles(tmp_path, Preprocessing(size=(2, 2), scale=(0.01,)))
    described = describe_data(files)
    assert described.inputs[0].shape == (3, 3, 2, 2)
    assert (described.labels, described.classes) == ({0: 1, 1: 2}, ("a", "b"))
    described = describe_data(files, classifier("N", 1, 2, 2, scores=2), samples=2)
    assert described.inputs[0].shape == (2, 1, 2, 2)
    np.testing.assert_allclose(ranges(described), [(0, 1, 0.5, 0.5)], rtol=1e-6)
    assert (described.misfit, described.findings) == ("", ())
    assert describe_data(files, save_classifier(tmp_path)).inputs[0].shape == (3, 1, 2, 2)


def save_classifier(folder: Path) -> Path:
    return save(classifier("N", 1, 2, 2).view.proto, folder / "m.onnx")


def test_what_fits_no_model_is_an_error(tmp_path: Path) -> None:
    for arrays, said in (
        ({"x": np.asarray([[np.nan]])}, "NaN or infinity"),
        ({"x": np.zeros((0, 3))}, "empty"),
        ({"x": np.asarray(["a", "b"])}, "expected numbers"),
        ({"y": np.arange(3)}, "no input has a leading axis"),
    ):
        for model in (None, classifier("N", 4)):
            with pytest.raises(DataError, match=said):
                describe_data(npz(tmp_path, **arrays), model)


def test_labels_that_are_none_are_found(tmp_path: Path) -> None:
    path = npz(tmp_path, x=np.zeros((3, 4), np.float32), y=np.asarray([0.5, 1, 2]))
    for model in (None, classifier("N", 4)):
        assert any(
            "labels y must be integers" in line for line in describe_data(path, model).findings
        )


def test_what_does_not_fit_a_model_is_described_all_the_same(tmp_path: Path) -> None:
    described = describe_data(npz(tmp_path, rows=np.ones((3, 5))), classifier("N", 4))
    assert "has shape (3, 5), axis 1 must be 4" in described.misfit
    assert described.inputs[0].shape == (3, 5)
    assert described.are_alike
    assert described.findings == ()


def test_findings(tmp_path: Path) -> None:
    path = npz(tmp_path, x=np.ones((3, 4), np.float32), y=[0, 1, 3])
    assert describe_data(path, classifier("N", 4)).findings == (
        "all inputs are the same: there is nothing to learn from them",
        "labels go up to 3, and the model tells 3 classes, from 0",
    )
    assert len(describe_data(path, classifier("N", 4, scores=4)).findings) == 1
    folder_of(tmp_path / "photos", {"a/1.png": 0, "b/2.png": 100})
    (finding,) = describe_data(tmp_path / "photos", classifier("N", 1, 2, 2)).findings
    assert "2 subfolders of images count as classes 0 to 1, and the model tells 3" in finding


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((10,), 10),
        ((10, 1, 1), 10),
        ((1,), 2),  # one number per sample tells two classes apart
        ((), None),
        ((10, 4), None),
    ],
)
def test_how_many_classes_a_model_tells(shape: tuple[int, ...], expected: int | None) -> None:
    """By the shape that inputs lead to, whatever the file declares of it."""
    forms: list[list[Axis]] = [["N", *shape], ["N", *("free" for _ in shape)]]
    for declared in forms:
        made = make_model([op("Identity", "x", "y")], {"x": declared}, ["y"])
        model = Model.from_proto(made)
        given = dataset({"x": np.zeros((3, *shape), np.float32)}, model.inputs, "here")
        assert scores_of(model, given) == expected


@pytest.mark.parametrize(
    ("shapes", "said"),
    [({"z": (1, 4)}, "no input 'z'"), ({"x": (1, 5)}, "axis 1 of 'x' is fixed at 4, got 5")],
)
def test_shapes_that_do_not_fit_the_model(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], said: str
) -> None:
    path = npz(tmp_path, x=normal((6, 4)))
    with pytest.raises(UsageError, match=said):
        describe_data(path, classifier("N", 4), input_shapes=shapes)
