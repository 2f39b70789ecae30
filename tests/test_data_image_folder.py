"""Folders of images as samples: which files are taken, how large they are, who takes none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_builders import fed, folder_of, image_spec, loaded_images

from eapc.data import OpenAxes, load_data
from eapc.data.image_folder import evenly_spaced
from eapc.errors import DataError
from eapc.model import TensorSpec

GREY = image_spec("N", 1, 2, 2)


# --- which files ---------------------------------------------------------------------------------


def order(folder: Path, **more: Any) -> list[int]:
    return [
        int(value) for value in fed(loaded_images(folder, GREY, scale=(1.0,), **more))[:, 0, 0, 0]
    ]


def test_all_folders_in_order_of_names(tmp_path: Path) -> None:
    names = {
        "b/10.png": 3,
        "b/9.PNG": 4,
        "a/z.png": 1,
        "c.png": 5,
        "a/deep/er.png": 0,
        "b/0.png": 2,
    }
    folder_of(tmp_path, names)
    assert order(tmp_path) == [0, 1, 2, 3, 4, 5]


def test_what_is_no_image_is_left_alone(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": 1, ".hidden.png": 2, ".git/b.png": 3, "__MACOSX/c.png": 4})
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "Thumbs.db").write_bytes(b"none")
    assert order(tmp_path) == [1]


def test_other_types_of_images_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder_of(tmp_path, {"a.png": 1, "b.bmp": 2, "c.GIF": 3})
    assert order(tmp_path) == [1]
    assert "2 files are left out (.bmp, .gif): images are JPEG or PNG" in caplog.text


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "all", {"a/1.png": 1})
    elsewhere = folder_of(tmp_path / "elsewhere", {"2.png": 2})
    (folder / "b").symlink_to(elsewhere)
    (folder / "a" / "circle").symlink_to(folder)
    assert order(folder) == [1, 2]


def test_samples_are_spread_over_all(tmp_path: Path) -> None:
    folder_of(tmp_path, {f"{c}/{i}.png": 10 * k + i for k, c in enumerate("abc") for i in range(4)})
    assert order(tmp_path, samples=3) == [0, 10, 20]
    assert order(tmp_path, samples=5) == [0, 2, 10, 13, 21]
    data = loaded_images(tmp_path, GREY, samples=3, scale=(1.0,))
    assert data.require_labels().tolist() == [0, 1, 2]
    assert len(order(tmp_path, samples=99)) == 12


def test_indices_of_samples() -> None:
    assert evenly_spaced(10, 4).tolist() == [0, 2, 5, 7]
    assert evenly_spaced(3, None).tolist() == [0, 1, 2]
    assert evenly_spaced(0, 3).tolist() == []


def test_only_samples_are_decoded(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": 1, "c.png": 3})
    (tmp_path / "b.png").write_bytes(b"no image")
    assert order(tmp_path, samples=1) == [1]


def test_a_folder_of_arrays_stays_one(tmp_path: Path) -> None:
    folder_of(tmp_path, {"picture.png": 1})
    np.save(tmp_path / "x.npy", np.full((3, 1, 2, 2), 7, np.uint8))
    assert fed(load_data(tmp_path, [GREY]))[:, 0, 0, 0].tolist() == [7, 7, 7]


# --- sizes ---------------------------------------------------------------------------------------


OPEN = image_spec("N", 1, "h", "w")


def test_the_size_of_open_axes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is said, else what is given, else what is assumed, else 224."""
    folder_of(tmp_path, {"a.png": 1}, 8)
    given = OpenAxes({"x": (1, 1, 5, 6)}, lambda: {"x": (1, 1, 7, 8)})
    said: list[tuple[OpenAxes | None, dict[str, Any]]]
    said = [(given, {"size": (5, 6)}), (given, {}), (None, {"size": (3, 4)})]
    shapes = [
        fed(loaded_images(tmp_path, OPEN, axes=axes, scale=(1.0,), **more)).shape[2:]
        for axes, more in said
    ]
    assert (shapes, caplog.text) == ([(5, 6), (5, 6), (3, 4)], "")
    assumed = OpenAxes({}, lambda: {"x": (1, 1, 7, 8)})
    assert fed(loaded_images(tmp_path, OPEN, axes=assumed, scale=(1.0,))).shape[2:] == (7, 8)
    assert "images are cut to 7 x 8 as input 'x' leaves its size open; --image-size" in caplog.text
    assert fed(loaded_images(tmp_path, OPEN, scale=(1.0,))).shape[2:] == (224, 224)
    half = loaded_images(tmp_path, image_spec("N", 1, 5, None), axes=assumed, scale=(1.0,))
    assert fed(half).shape[2:] == (5, 8)


def test_a_size_that_the_model_does_not_take(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": 1})
    with pytest.raises(DataError, match=r"cut to 4 x 2 .*input 'x' takes 2 x 2"):
        loaded_images(tmp_path, GREY, size=(4, 2))
    with pytest.raises(DataError, match=r"cut to 4 x 2 .*input 'x' takes \? x 3"):
        loaded_images(tmp_path, image_spec("N", 1, None, 3), size=(4, 2))


def test_open_channels_are_told_by_a_given_shape(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": 1})
    spec = image_spec(None, None, None, None)
    for shape in ((1, 3, 2, 2), (1, 2, 2, 1)):
        data = loaded_images(tmp_path, spec, axes=OpenAxes({"x": shape}), scale=(1.0,))
        assert fed(data).shape == shape
    with pytest.raises(DataError, match="leaves its channels open; --input-shape x:1,3,224,224"):
        loaded_images(tmp_path, spec)


@pytest.mark.parametrize(
    ("specs", "said"),
    [
        ([image_spec("N", 4, 2, 2)], "images have 1 or 3 channels"),
        ([image_spec("N", 784)], "has 2 axes, images have 4"),
        (
            [image_spec(), TensorSpec("mask", np.dtype(np.float32), ("N", 2))],
            "images feed one input, the model has x, mask",
        ),
    ],
)
def test_models_that_take_no_images(tmp_path: Path, specs: list[TensorSpec], said: str) -> None:
    folder_of(tmp_path, {"a.png": 1})
    with pytest.raises(DataError, match=said):
        load_data(tmp_path, specs)


def test_a_fixed_batch(tmp_path: Path) -> None:
    folder_of(tmp_path, {f"{i}.png": i for i in range(5)})
    spec = image_spec(2, 1, 2, 2)
    assert len(fed(loaded_images(tmp_path, spec, scale=(1.0,)))) == 4
    with pytest.raises(DataError, match="do not fill the model's batch"):
        loaded_images(tmp_path, spec, samples=1, scale=(1.0,))
