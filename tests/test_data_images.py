"""Folders of images: which files are taken, what the network sees of each, what is refused."""

from __future__ import annotations

import builtins
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_builders import fed, flat, folder_of, image_spec, loaded_images, save_image
from PIL import Image

from eapc.data import DataFiles, Preprocessing, load_data
from eapc.data.images import resized_size
from eapc.errors import DataError, UsageError

GREY = image_spec("N", 1, 2, 2)


# --- what the network sees -----------------------------------------------------------------------


def test_the_centre_scaled(tmp_path: Path) -> None:
    """2 x 4 pixels: columns 1 and 2 stay; (51 / 255 - 0.1) / 0.5 = 0.2."""
    save_image(tmp_path / "a.png", [[9, 51, 102, 9], [9, 0, 255, 9]])
    data = loaded_images(tmp_path, GREY, scale=(1 / 255,), mean=(0.1,), std=(0.5,))
    np.testing.assert_allclose(fed(data), [[[[0.2, 0.6], [-0.2, 1.8]]]], atol=1e-6)
    assert data.arrays["x"].dtype == np.uint8
    assert data.arrays["x"].tolist() == [[[[51, 102], [0, 255]]]]


def test_numbers_per_channel_in_either_layout(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", [[(10, 20, 30)] * 2] * 2, "RGB")
    said: dict[str, Any] = {"mean": (1.0, 2.0, 3.0), "std": (1.0, 2.0, 3.0), "scale": (1.0,)}
    first = fed(loaded_images(tmp_path, image_spec("N", 3, 2, 2), **said))
    last = fed(loaded_images(tmp_path, image_spec("N", 2, 2, 3), **said))
    assert first[0, :, 0, 0].tolist() == last[0, 0, 0].tolist() == [9, 9, 9]
    assert (first.shape, last.shape) == ((1, 3, 2, 2), (1, 2, 2, 3))


def test_rows_are_rows_in_either_layout(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", [[1, 2, 3], [4, 5, 6]])
    first = fed(loaded_images(tmp_path, image_spec("N", 1, 2, 3), scale=(1.0,)))
    last = fed(loaded_images(tmp_path, image_spec("N", 2, 3, 1), scale=(1.0,)))
    assert first[0, 0].tolist() == last[0, :, :, 0].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_channels_first_win_where_both_fit(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", [[(1, 2, 3)] * 3] * 4, "RGB")
    data = loaded_images(tmp_path, image_spec("N", 3, 4, 3), scale=(1.0,))
    assert fed(data)[0, :, 0, 0].tolist() == [1, 2, 3]


def test_resizing_by_hand(tmp_path: Path) -> None:
    """Box averages 2 x 2 pixels each: 4 x 4 to 2 x 2. Bilinear takes 3 of 4 parts of the nearer."""
    save_image(tmp_path / "a.png", [[0, 4, 8, 8], [4, 8, 8, 8], [1, 1, 10, 20], [1, 1, 30, 40]])
    assert fed(loaded_images(tmp_path, GREY, resample="box", scale=(1.0,)))[0, 0].tolist() == [
        [4, 8],
        [1, 25],
    ]
    wide = save_image(tmp_path / "wide" / "a.png", [[0, 100]]).parent
    data = loaded_images(wide, image_spec("N", 1, 1, 4), resize=(1, 4), scale=(1.0,))
    assert fed(data)[0, 0].tolist() == [[0, 25, 75, 100]]


@pytest.mark.parametrize(
    ("resize", "size", "found", "expected"),
    [
        (256, (224, 224), (333, 500), (256, 384)),  # 256 * 500 / 333 = 384.4
        (256, (224, 224), (500, 333), (384, 256)),
        ("cover", (224, 224), (480, 640), (224, 298)),  # 224 * 640 / 480 = 298.7
        ("cover", (224, 320), (480, 640), (240, 320)),
        ("cover", (224, 320), (240, 640), (224, 597)),
        ("cover", (32, 32), (32, 32), (32, 32)),
        ((256, 300), (224, 224), (10, 10), (256, 300)),
        ("none", (224, 224), (300, 400), (300, 400)),
    ],
)
def test_what_is_resized_to(
    resize: Any, size: tuple[int, int], found: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert resized_size(found, Preprocessing(resize=resize), size) == expected


def test_an_odd_rest_is_cut_at_the_far_end(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
    data = loaded_images(tmp_path, GREY, resize="none", scale=(1.0,))
    assert fed(data)[0, 0].tolist() == [[2, 3], [7, 8]]


@pytest.mark.parametrize(("orientation", "expected"), [(1, [[1, 2]]), (3, [[2, 1]])])
def test_orientation_along_rows(tmp_path: Path, orientation: int, expected: list[Any]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    save_image(tmp_path / "a.png", [[1, 2]], exif=exif)
    data = loaded_images(tmp_path, image_spec("N", 1, 1, 2), scale=(1.0,))
    assert fed(data)[0, 0].tolist() == expected


@pytest.mark.parametrize(("orientation", "expected"), [(6, [[1], [2]]), (8, [[2], [1]])])
def test_orientation_on_its_side(tmp_path: Path, orientation: int, expected: list[Any]) -> None:
    """EXIF 6: the first stored column is the top of what was seen; 8: the bottom."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    save_image(tmp_path / "a.png", [[1, 2]], exif=exif)
    data = loaded_images(tmp_path, image_spec("N", 1, 2, 1), scale=(1.0,))
    assert fed(data)[0, 0].tolist() == expected


# --- kinds of images -----------------------------------------------------------------------------


def mode_of(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def seen(path: Path, channels: int = 3) -> list[int]:
    """What the network sees of an image of one colour."""
    data = loaded_images(path.parent, image_spec("N", channels, 2, 2), scale=(1.0,))
    values = fed(data)[0, :, 0, 0]
    return [int(value) for value in values]


@pytest.mark.parametrize(
    ("mode", "value", "rgb", "grey"),
    [
        ("L", 77, [77, 77, 77], [77]),
        ("1", 1, [255, 255, 255], [255]),
        ("LA", (77, 10), [77, 77, 77], [77]),
        ("RGB", (255, 0, 0), [255, 0, 0], [76]),  # 0.299 * 255
        ("RGBA", (255, 0, 0, 0), [255, 0, 0], [76]),
        ("I;16", 200 * 257, [200, 200, 200], [200]),  # 65535 is 255
    ],
)
def test_modes_of_png(
    tmp_path: Path, mode: str, value: Any, rgb: list[int], grey: list[int]
) -> None:
    path = save_image(tmp_path / "a.png", flat(value), mode)
    assert mode_of(path) == mode
    assert (seen(path), seen(path, 1)) == (rgb, grey)


@pytest.mark.parametrize("transparency", [None, 0, b"\x00\x80"])
def test_palettes_with_and_without_transparency(tmp_path: Path, transparency: Any) -> None:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(
        tmp_path / "a.png", **({} if transparency is None else {"transparency": transparency})
    )
    assert mode_of(tmp_path / "a.png") == "P"
    assert seen(tmp_path / "a.png") == [10, 20, 30]


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("CMYK", (0, 255, 255, 0), [255, 0, 0]), ("RGB", (200, 100, 50), [200, 100, 50])],
)
def test_jpeg(tmp_path: Path, mode: str, value: Any, expected: list[int]) -> None:
    path = save_image(tmp_path / "A.JPG", flat(value, 16), mode, format="JPEG", quality=100)
    assert mode_of(path) == mode
    np.testing.assert_allclose(seen(path), expected, atol=3)


def test_integer_inputs_get_pixels(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": 200})
    spec = image_spec("N", 3, 2, 2, dtype=np.uint8)
    assert fed(loaded_images(tmp_path, spec)).dtype == np.uint8
    with pytest.raises(UsageError, match=r"--scale, --mean and --std do nothing: inputs are uint8"):
        loaded_images(tmp_path, spec, scale=(2.0,))
    with pytest.raises(DataError, match="does not fit into int8"):
        loaded_images(tmp_path, image_spec("N", 3, 2, 2, dtype=np.int8))


# --- what is wrong -------------------------------------------------------------------------------


def broken(folder: Path, name: str, content: bytes) -> str:
    folder_of(folder, {"a.png": 1, "z.png": 2})
    (folder / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        loaded_images(folder, GREY, scale=(1.0,))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n1234"])
def test_a_corrupt_file_names_itself(tmp_path: Path, content: bytes) -> None:
    said = broken(tmp_path, "m.png", content)
    assert said.startswith(f"{tmp_path / 'm.png'}: cannot be read as an image: ")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_file_that_ends_early_names_itself(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40))
    whole = save_image(tmp_path / f"whole.{suffix}", noise.tolist(), "").read_bytes()
    said = broken(tmp_path / "folder", f"m.{suffix}", whole[: len(whole) // 2])
    assert f"m.{suffix}: cannot be read as an image: " in said


def test_an_image_that_is_too_small_names_itself(tmp_path: Path) -> None:
    folder_of(tmp_path, {"small.png": 1})
    expected = r"small\.png: 2 x 2 pixels once resized are fewer than the 3 x 3"
    with pytest.raises(DataError, match=expected):
        loaded_images(tmp_path, image_spec("N", 1, 3, 3), resize="none")


def test_a_strip_that_would_become_huge_names_itself(tmp_path: Path) -> None:
    save_image(tmp_path / "strip.png", [[1]] * 20_000)
    expected = r"strip\.png: .*it would become 2000000 x 100 pixels"
    with pytest.raises(DataError, match=expected):
        loaded_images(tmp_path, image_spec("N", 1, 100, 100))


def test_more_pixels_than_there_is_memory(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": 1})
    with pytest.raises(DataError, match=r"1 images of \(100000000, 100000000\) need 10000000 GB"):
        loaded_images(tmp_path, image_spec("N", 1, "h", "w"), size=(100_000_000, 100_000_000))


def test_an_image_beyond_any_reason_names_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow warns from a number of pixels on, which is fine, and refuses twice as many."""
    folder_of(tmp_path, {"large.png": 1})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)
    assert fed(loaded_images(tmp_path, GREY, scale=(1.0,))).max() == 1
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    with pytest.raises(DataError, match=r"large\.png: .*exceeds limit"):
        loaded_images(tmp_path, GREY, scale=(1.0,))


def test_one_image_is_no_folder(tmp_path: Path) -> None:
    path = save_image(tmp_path / "a.png", flat(1))
    with pytest.raises(DataError, match=r"a\.png: is one image; give the folder that it is in"):
        load_data(path, [GREY])


def test_without_pillow_one_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of(tmp_path, {"a.png": 1})
    imported = builtins.__import__

    def refused(name: str, *more: Any, **named: Any) -> Any:
        if name.split(".")[0] == "PIL":
            raise ModuleNotFoundError(name)
        return imported(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", refused)
    with pytest.raises(DataError, match=re.escape('pip install "eapc[images]"')):
        load_data(tmp_path, [GREY])


# --- scaling that nobody says --------------------------------------------------------------------


def test_pixels_as_they_are_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder_of(tmp_path, {"a.png": 200})
    assert fed(loaded_images(tmp_path, GREY)).max() == 200
    assert caplog.text.count("nothing says how pixels are scaled, the network is fed 0 to 255") == 1


@pytest.mark.parametrize(
    ("said", "warned"),
    [
        ({"scale": (1.0,)}, False),
        ({"mean": (0.5,)}, True),
        ({"mean": (123.7,)}, False),
        ({"std": (58.4,)}, False),
        ({"mean": (0.5,), "scale": (1 / 255,)}, False),
    ],
)
def test_a_mean_of_other_pixels_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, said: Any, warned: bool
) -> None:
    folder_of(tmp_path, {"a.png": 200})
    caplog.set_level(logging.WARNING)
    loaded_images(tmp_path, GREY, **said)
    assert ("--mean is taken from pixels of 0 to 255" in caplog.text) == warned
    assert "nothing says" not in caplog.text


def test_scaling_that_does_not_fit(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": 200})
    with pytest.raises(DataError, match="not 0"):
        loaded_images(tmp_path, GREY, std=(0.0,))
    with pytest.raises(DataError, match="has 3 numbers; no channel axis"):
        loaded_images(tmp_path, GREY, mean=(1.0, 2.0, 3.0))
    with pytest.raises(DataError, match="NaN or infinity once scaled"):
        loaded_images(tmp_path, image_spec("N", 1, 2, 2, dtype=np.float16), scale=(1e4,))


# --- arrays --------------------------------------------------------------------------------------


def test_arrays_without_scaling_take_what_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.full((2, 1, 2, 2), 255, np.uint8))
    files = DataFiles(tmp_path / "a.npz", Preprocessing(scale=(1 / 255,), mean=(0.5,), std=(0.25,)))
    np.testing.assert_allclose(fed(load_data(files, [GREY])), np.full((2, 1, 2, 2), 2.0))


def test_arrays_refuse_what_would_do_nothing(tmp_path: Path) -> None:
    x = np.full((2, 1, 2, 2), 255, np.uint8)
    np.savez(tmp_path / "a.npz", x=x)
    np.savez(tmp_path / "scaled.npz", x=x, scale=0.5)
    for files, said in (
        (DataFiles(tmp_path / "scaled.npz", Preprocessing(mean=(1.0,))), "says its own scaling"),
        (DataFiles(tmp_path / "a.npz", Preprocessing(size=(2, 2))), "folders of images"),
        (DataFiles(tmp_path / "a.npz", labels="labels.csv"), "folders of images"),
    ):
        with pytest.raises(UsageError, match=said):
            load_data(files, [GREY])
