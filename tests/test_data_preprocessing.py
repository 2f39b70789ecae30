"""Preprocessor files: what each field comes to, and one line for what cannot be followed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_builders import fed, flat, folder_of, image_spec, loaded_images, save_image

from eapc.data import DataFiles, Preprocessing, load_data, read_preprocessor
from eapc.errors import DataError

BYTE = (1 / 255,)
VIT = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "ViTImageProcessor",
    "image_std": [0.5, 0.25, 0.5],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 224, "width": 192},
}


def written(folder: Path, content: Any, name: str = "preprocessor_config.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def sizes_of(folder: Path, **said: Any) -> tuple[Any, Any]:
    found = read_preprocessor(written(folder, said))
    return found.resize, found.size


def test_a_whole_file(tmp_path: Path) -> None:
    path = written(tmp_path, VIT)
    assert read_preprocessor(path) == Preprocessing(
        size=(224, 192),
        resize=(224, 192),
        resample="bilinear",
        scale=(0.00392156862745098,),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.25, 0.5),
        origin=str(path),
    )


@pytest.mark.parametrize(
    ("said", "resize", "size"),
    [
        ({"size": 224}, (224, 224), (224, 224)),
        ({"size": 256, "crop_size": 224}, 256, (224, 224)),
        ({"size": 256, "crop_size": 224, "do_center_crop": False}, (256, 256), (256, 256)),
        ({"size": {"height": 8, "width": 9}, "crop_size": 7}, (8, 9), (7, 7)),
        ({"size": {"shortest_edge": 8}}, 8, None),
        ({"size": {"shortest_edge": 8}, "crop_size": {"height": 6, "width": 7}}, 8, (6, 7)),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, 256, (224, 224)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, (384, 384), (384, 384)),
        ({"size": {"shortest_edge": 224}, "crop_pct": None}, 224, None),
        (
            {
                "size": {"shortest_edge": 224},
                "crop_size": 224,
                "image_processor_type": "LevitImageProcessor",
            },
            256,
            (224, 224),
        ),
        ({"size": 8, "do_resize": False}, "none", None),
        ({"size": 8, "do_resize": False, "crop_size": 7}, "none", (7, 7)),
        ({"do_rescale": True}, "none", None),
    ],
)
def test_sizes(tmp_path: Path, said: dict[str, Any], resize: Any, size: Any) -> None:
    assert sizes_of(tmp_path, **said) == (resize, size)


@pytest.mark.parametrize(
    ("said", "scaling"),
    [
        ({}, (BYTE, None, None)),
        ({"do_rescale": False}, ((1.0,), None, None)),
        ({"rescale_factor": 0.5}, ((0.5,), None, None)),
        ({"image_mean": [1, 2, 3], "image_std": 4}, (BYTE, (1.0, 2.0, 3.0), (4.0,))),
        ({"image_mean": [1], "image_std": [2], "do_normalize": False}, (BYTE, None, None)),
    ],
)
def test_scaling(tmp_path: Path, said: dict[str, Any], scaling: Any) -> None:
    found = read_preprocessor(written(tmp_path, {"size": 8, **said}))
    assert (found.scale, found.mean, found.std) == scaling


@pytest.mark.parametrize(
    ("number", "name"),
    [*enumerate(["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"])],
)
def test_filters_have_the_numbers_of_pillow(tmp_path: Path, number: int, name: str) -> None:
    from PIL import Image

    found = read_preprocessor(written(tmp_path, {"size": 8, "resample": number}))
    assert found.resample == name == Image.Resampling(number).name.lower()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"size": {"shortest_edge": 8, "longest_edge": 9}}, "size: expected a number"),
        ({"size": {"shortest_edge": "8"}}, "size: expected a shortest_edge in pixels"),
        ({"size": 0}, "size: expected a number"),
        ({"size": True}, "size: expected a number"),
        ({"do_resize": True, "crop_size": 8}, "size: expected .*got nothing"),
        ({"size": 8, "do_center_crop": True}, "crop_size: expected .*got nothing"),
        ({"size": 8, "crop_size": {"shortest_edge": 7}}, "crop_size: expected a number, a height"),
        ({"size": {"shortest_edge": 8}, "crop_pct": 1.5}, "crop_pct: expected a number above 0"),
        ({"size": 8, "do_normalize": True}, "do_normalize needs image_mean"),
        ({"size": 8, "image_mean": [1]}, "do_normalize needs image_std"),
        ({"size": 8, "image_mean": ["1"], "image_std": 1}, "image_mean: expected numbers"),
        ({"size": 8, "image_mean": [], "image_std": 1}, "image_mean: expected numbers"),
        ({"size": 8, "rescale_factor": "1/255"}, "rescale_factor: expected numbers"),
        ({"size": 8, "resample": 6}, "resample: expected 0 to 5, got 6"),
        ({"size": 8, "do_flip_channel_order": True}, "do_flip_channel_order is not supported"),
        ({"size": 8, "do_pad": True}, "do_pad is not supported"),
        ({"size": 8, "rescale_offset": True}, "rescale_offset is not supported"),
        ({"architectures": ["ResNet"]}, "says nothing of image sizes or scaling"),
        ([1], "says nothing of image sizes"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_what_cannot_be_followed(tmp_path: Path, said: Any, expected: str) -> None:
    path = written(tmp_path, said)
    with pytest.raises(DataError, match=expected) as caught:
        read_preprocessor(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_steps_that_are_off_or_change_no_pixel_are_fine(tmp_path: Path) -> None:
    off = {"do_pad": False, "do_flip_channel_order": False, "do_convert_rgb": True}
    assert sizes_of(tmp_path, size=8, **off) == ((8, 8), (8, 8))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: no such file"):
        read_preprocessor(tmp_path / "none.json")


# --- what the network sees -----------------------------------------------------------------------


def test_images_by_the_file_in_their_folder(tmp_path: Path, caplog: Any) -> None:
    """2 x 8 averaged to 2 x 4, of which columns 1 and 2 stay; (102 / 255 - 0.2) / 0.5 = 0.4."""
    save_image(tmp_path / "a.png", [[9, 9, 102, 102, 0, 102, 9, 9], [9, 9, 255, 255, 51, 51, 9, 9]])
    said = {"size": {"height": 2, "width": 4}, "crop_size": 2, "resample": 4}
    written(tmp_path, {**said, "image_mean": [0.2], "image_std": [0.5]})
    data = loaded_images(tmp_path, image_spec("N", 1, 2, 2))
    np.testing.assert_allclose(fed(data), [[[[0.4, 0.0], [1.6, 0.0]]]], atol=1e-6)
    assert caplog.text == ""


def test_what_is_given_takes_the_place_of_the_file(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": 100})
    written(tmp_path, {"size": 8})
    data = loaded_images(tmp_path, image_spec("N", 1, 2, 2), scale=(2.0,))
    assert fed(data).max() == 200


def test_scaling_that_is_off_is_no_scaling_unsaid(tmp_path: Path, caplog: Any) -> None:
    folder_of(tmp_path, {"a.png": 100})
    written(tmp_path, {"do_rescale": False, "do_normalize": False})
    assert fed(loaded_images(tmp_path, image_spec("N", 1, 2, 2))).max() == 100
    assert caplog.text == ""


def test_a_file_scales_no_integers(tmp_path: Path) -> None:
    """Such a network scales pixels itself, and the file still tells sizes."""
    save_image(tmp_path / "a.png", flat(100, 8))
    path = written(tmp_path, {"size": 2, "rescale_factor": 0.5})
    files = DataFiles(tmp_path, read_preprocessor(path))
    assert fed(load_data(files, [image_spec("N", 1, 2, 2, dtype=np.uint8)])).tolist() == [
        [[[100, 100], [100, 100]]]
    ]
