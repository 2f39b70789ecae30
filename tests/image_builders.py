"""Small image files whose pixels can be worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eapc.data import DataFiles, Dataset, OpenAxes, Preprocessing, load_data
from eapc.model import TensorSpec

Pixels = Sequence[Sequence[Any]]


def image_spec(*shape: int | str | None, dtype: Any = np.float32) -> TensorSpec:
    return TensorSpec("x", np.dtype(dtype), shape or ("N", 3, 2, 2))


def save_image(path: Path, pixels: Pixels, mode: str = "L", **options: Any) -> Path:
    """An image of rows of pixels, each a number or a tuple of one per channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Image.fromarray(np.asarray(pixels, np.uint8)) if mode == "" else _made(pixels, mode)
    made.save(path, **options)
    return path


def _made(pixels: Pixels, mode: str) -> Image.Image:
    image = Image.new(mode, (len(pixels[0]), len(pixels)))
    for row, values in enumerate(pixels):
        for column, value in enumerate(values):
            image.putpixel((column, row), value)
    return image


def flat(value: int, size: int = 2) -> Pixels:
    return [[value] * size] * size


def folder_of(folder: Path, values: Mapping[str, int], size: int = 2) -> Path:
    """Grey images of one value each, by their path in the folder."""
    for name, value in values.items():
        save_image(folder / name, flat(value, size))
    return folder


def loaded_images(
    folder: Path,
    spec: TensorSpec | None = None,
    samples: int | None = None,
    axes: OpenAxes | None = None,
    labels: Path | None = None,
    **said: Any,
) -> Dataset:
    """The images of a folder for a model of that input; with what is said of them, if anything."""
    preprocessing = Preprocessing(**said) if said else None
    source = DataFiles(folder, preprocessing, labels)
    return load_data(source, [spec or image_spec()], samples, axes)


def fed(data: Dataset, name: str = "x") -> Any:
    """All that a network is fed of an input."""
    return np.concatenate([feed[name] for feed in data.batches(2)])
