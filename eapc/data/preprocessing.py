"""How images become what a network is fed: resizing, the part that it sees, scaling.

Options say it, or a file as Hugging Face's image processors write it, `preprocessor_config.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eapc.data.scaling import Affine, read_affine
from eapc.errors import DataError

PREPROCESSOR_FILE = "preprocessor_config.json"

RESAMPLING = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Filters by the numbers that Pillow, and so preprocessor files, give them."""

Resize = int | tuple[int, int] | Literal["cover", "none"]
"""The shortest edge; rows and columns whatever the aspect; what covers the size; nothing."""

_BYTE = 1 / 255


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image: resized, its centre of `size` cut out, scaled.

    `size` is (rows, columns) and None what the model's input says. `resize` comes first:
    `cover` makes the image as small as covers `size`, and so keeps most of it. The network sees
    (x * scale - mean) / std of pixels x in 0 to 255; each is one number or one per channel, and
    what is None is left out. `origin` is the file that says so; empty where options do.
    """

    size: tuple[int, int] | None = None
    resize: Resize = "cover"
    resample: str = "bilinear"
    scale: tuple[float, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    origin: str = ""

    @property
    def says_scaling(self) -> bool:
        """Whether anything is said of scaling, be it that there is none."""
        return any(each is not None for each in (self.scale, self.mean, self.std))

    @property
    def says_size(self) -> bool:
        """Whether anything is said of what comes before scaling."""
        return self.size is not None or self.resize != "cover" or self.resample != "bilinear"

    def affine(self, where: str) -> Affine | None:
        """The scaling; None where nothing is said of it. Raises DataError for a std of 0."""
        said = {"scale": self.scale, "mean": self.mean, "std": self.std}
        arrays = {name: np.asarray(v, np.float32) for name, v in said.items() if v is not None}
        return read_affine(self.origin or where, arrays)


def read_preprocessor(path: str | Path) -> Preprocessing:
    """Read a preprocessor file; DataError naming the field where it cannot be followed.

    A `size` of one number is the shortest edge where a centre crop follows, else rows and columns.
    `crop_pct` is followed as ConvNeXt's processor does: below 384 pixels the shortest edge is
    size / crop_pct and the centre is cut out, from 384 on the image is squeezed. LeViT's makes the
    shortest edge 256 / 224 times what it says.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, Mapping) or not content.keys() & _TOLD:
        raise DataError(f"{path}: says nothing of image sizes or scaling, as {PREPROCESSOR_FILE}")
    said = {name: value for name, value in content.items() if value is not None}
    try:
        return _preprocessing(said, str(path))
    except _FieldError as error:
        raise DataError(f"{path}: {error}") from error


_TOLD = {"size", "crop_size", "image_mean", "rescale_factor", "do_resize", "do_rescale"}
_FOLLOWED = {"do_resize", "do_center_crop", "do_rescale", "do_normalize"}
_OF_NO_EFFECT = {"do_convert_rgb", "do_reduce_labels"}
_NOT_FOLLOWED = {"rescale_offset", "include_top", "size_divisor", "keep_aspect_ratio"}

Said = Mapping[str, Any]


class _FieldError(Exception):
    """A field that cannot be followed, and why."""


def _preprocessing(said: Said, origin: str) -> Preprocessing:
    for name, value in said.items():
        is_step = name.startswith("do_") and name not in _FOLLOWED | _OF_NO_EFFECT
        if value and (is_step or name in _NOT_FOLLOWED):
            raise _FieldError(f"{name} is not supported; prepare the images as an .npz file")
    resize, size = _sizes(said)
    mean, std = _normalisation(said)
    factor = said.get("rescale_factor", _BYTE) if said.get("do_rescale", True) else 1.0
    scale = _numbers("rescale_factor", factor)
    return Preprocessing(size, resize, _resampling(said), scale, mean, std, origin)


def _sizes(said: Said) -> tuple[Resize, tuple[int, int] | None]:
    """What is resized to, and what is cut out then; None where the model's input tells."""
    crop = None
    if said.get("do_center_crop", "crop_size" in said):
        crop = _edges("crop_size", said.get("crop_size"))
    if not said.get("do_resize", "size" in said):
        return "none", crop
    size = said.get("size")
    if _is_count(size) and crop is not None:
        size = {"shortest_edge": size}
    if not (isinstance(size, Mapping) and size.keys() == {"shortest_edge"}):
        edges = _edges("size", size)
        return edges, crop or edges
    edge = size["shortest_edge"]
    if not _is_count(edge):
        raise _FieldError(f"size: expected a shortest_edge in pixels, got {edge!r}")
    if str(said.get("image_processor_type")).startswith("Levit"):
        return edge * 256 // 224, crop
    if "crop_pct" not in said:
        return edge, crop
    (part,) = _numbers("crop_pct", said["crop_pct"])
    if not 0 < part <= 1:
        raise _FieldError(f"crop_pct: expected a number above 0 and up to 1, got {part:g}")
    return int(edge / part) if edge < _SQUEEZED_FROM else (edge, edge), (edge, edge)


_SQUEEZED_FROM = 384


def _edges(field: str, value: Any) -> tuple[int, int]:
    """(rows, columns) of one number or of height and width."""
    named = value if isinstance(value, Mapping) else {"height": value, "width": value}
    if named.keys() != {"height", "width"} or not all(map(_is_count, named.values())):
        said = "nothing" if value is None else json.dumps(value)
        expected = "a number, a height and width" + " or a shortest_edge" * (field == "size")
        raise _FieldError(f"{field}: expected {expected} in pixels, got {said}")
    return named["height"], named["width"]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _normalisation(said: Said) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Mean and standard deviation where inputs are normalised."""
    if not said.get("do_normalize", "image_mean" in said):
        return None, None
    for name in ("image_mean", "image_std"):
        if name not in said:
            raise _FieldError(f"do_normalize needs {name}, which is not there")
    return _numbers("image_mean", said["image_mean"]), _numbers("image_std", said["image_std"])


def _numbers(field: str, value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not values or not all(type(each) in (int, float) for each in values):
        raise _FieldError(f"{field}: expected numbers, got {json.dumps(value)}")
    return tuple(float(each) for each in values)


def _resampling(said: Said) -> str:
    number = said.get("resample", RESAMPLING.index("bilinear"))
    if type(number) is not int or not 0 <= number < len(RESAMPLING):
        raise _FieldError(f"resample: expected 0 to {len(RESAMPLING) - 1}, got {number!r}")
    return RESAMPLING[number]
