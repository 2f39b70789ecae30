"""A folder of images as samples of a model's one input."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from eapc.data.arrays import dataset, with_scaling
from eapc.data.datasets import Dataset
from eapc.data.images import find_images, load_pillow, read_image, subfolders_of
from eapc.data.labels import label_files
from eapc.data.preprocessing import Preprocessing
from eapc.errors import DataError
from eapc.model import Array, InputShapes, TensorSpec

logger = logging.getLogger(__name__)

USUAL_SIZE = 224
"""Rows and columns that image networks are mostly trained at."""


@dataclass(frozen=True)
class OpenAxes:
    """Shapes of inputs that leave axes open: those given, and what is assumed where none are."""

    given: InputShapes = field(default_factory=dict)
    assumed: Callable[[], InputShapes] = dict


@dataclass(frozen=True)
class ImageInput:
    """What an input takes: images of `size` (rows, columns; None where it is open)."""

    name: str
    channels: int
    channels_last: bool
    size: tuple[int | None, int | None]


def load_images(
    folder: Path,
    preprocessing: Preprocessing,
    labels: Path | None,
    specs: Sequence[TensorSpec],
    samples: int | None = None,
    axes: OpenAxes | None = None,
) -> Dataset:
    """The images of a folder, all of them or `samples` evenly spaced ones, in order of their names.

    They are kept as uint8, and scaled in batches.
    Raises DataError where images or the model do not fit.
    """
    load_pillow(folder)
    axes = axes or OpenAxes()
    wanted = image_input(folder, specs, axes.given)
    size = _size(folder, preprocessing, wanted, axes)
    files = find_images(folder)
    labelled = label_files(folder, files, [path.name for path in subfolders_of(folder)], labels)
    chosen = evenly_spaced(len(files), samples)
    pixels = _pixels([files[i] for i in chosen], preprocessing, size, wanted)
    data = dataset({wanted.name: pixels}, specs, str(folder))
    found = None if labelled.labels is None else labelled.labels[chosen]
    data = replace(data, labels=found, classes=labelled.classes, unlabelled=labelled.reason)
    _warn_of_scaling(folder, data, preprocessing)
    return with_scaling(data, preprocessing, str(folder))


def evenly_spaced(total: int, count: int | None) -> Array:
    """Indices of `count` of `total` files, spread over all of them; of all if there are no more."""
    count = total if count is None else min(count, total)
    return np.arange(count) * total // max(count, 1)


def image_input(folder: Path, specs: Sequence[TensorSpec], given: InputShapes) -> ImageInput:
    """The one input of a model and where its channels are; DataError where it takes no images."""
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise DataError(
            f"{folder}: images feed one input, the model has {names}; give an .npz file"
        )
    (spec,) = specs
    where, advice = f"{folder}: input '{spec.name}'", "give an .npz file"
    if len(spec.shape) != 4:
        raise DataError(f"{where} has {len(spec.shape)} axes, images have 4; {advice}")
    shape = _filled(spec, given)
    for axis, place in ((1, slice(2, 4)), (3, slice(1, 3))):
        channels, (rows, columns) = shape[axis], shape[place]
        if channels in (1, 3):
            return ImageInput(spec.name, channels, axis == 3, (rows, columns))
    if None in (shape[1], shape[3]):
        example = f"{spec.name}:1,3,{USUAL_SIZE},{USUAL_SIZE}"
        raise DataError(f"{where} leaves its channels open; --input-shape {example} tells them")
    raise DataError(f"{where} is {spec.shape}, images have 1 or 3 channels; {advice}")


def _filled(spec: TensorSpec, given: InputShapes) -> list[int | None]:
    """The shape with what is given in place of open axes; None where they stay open."""
    shape = [axis if isinstance(axis, int) else None for axis in spec.shape]
    sizes = given.get(spec.name, ())
    if len(sizes) != len(shape):
        return shape
    return [size if own is None else own for own, size in zip(shape, sizes, strict=True)]


def _size(
    folder: Path, preprocessing: Preprocessing, wanted: ImageInput, axes: OpenAxes
) -> tuple[int, int]:
    """Rows and columns that the network sees: what is said, else what its input takes."""
    if (size := preprocessing.size) is not None:
        for said, own in zip(size, wanted.size, strict=True):
            if own not in (None, said):
                takes = " x ".join("?" if each is None else str(each) for each in wanted.size)
                raise DataError(
                    f"{folder}: images would be cut to {size[0]} x {size[1]} as --image-size or a "
                    f"preprocessor file says, and input '{wanted.name}' takes {takes}"
                )
        return size
    rows, columns = wanted.size
    if rows is not None and columns is not None:
        return rows, columns
    size = _assumed(wanted, axes)
    logger.warning(
        f"{folder}: images are cut to {size[0]} x {size[1]} as input '{wanted.name}' leaves its "
        "size open; --image-size sets it"
    )
    return size


def _assumed(wanted: ImageInput, axes: OpenAxes) -> tuple[int, int]:
    shape = axes.assumed().get(wanted.name, ())
    place = slice(1, 3) if wanted.channels_last else slice(2, 4)
    sizes = [size if size > 1 else USUAL_SIZE for size in shape[place]] or [USUAL_SIZE] * 2
    return wanted.size[0] or sizes[0], wanted.size[1] or sizes[1]


def _pixels(
    files: Sequence[Path], preprocessing: Preprocessing, size: tuple[int, int], wanted: ImageInput
) -> Array:
    """uint8 of (n, channels, rows, columns), or with the channels last."""
    channels = wanted.channels
    shape = (*size, channels) if wanted.channels_last else (channels, *size)
    try:
        pixels = np.empty((len(files), *shape), np.uint8)
    except MemoryError as error:
        room = len(files) * math.prod(shape) / 1e9
        raise DataError(f"{len(files)} images of {size} need {room:.0f} GB of memory") from error
    for row, file in zip(pixels, files, strict=True):
        image = read_image(file, preprocessing, size, channels)
        row[...] = image if wanted.channels_last else image.transpose(2, 0, 1)
    return pixels


def _warn_of_scaling(folder: Path, data: Dataset, preprocessing: Preprocessing) -> None:
    """Warn where a network is fed 0 to 255 and nobody says that it is to be so."""
    if not any(spec.is_float for spec in data.specs.values()):
        return
    if not preprocessing.says_scaling:
        logger.warning(
            f"{folder}: nothing says how pixels are scaled, the network is fed 0 to 255; "
            "give --scale, --mean and --std, or --preprocessor FILE"
        )
    elif preprocessing.scale is None and max(map(abs, preprocessing.mean or (2.0,))) <= 1:
        logger.warning(
            f"{folder}: --mean is taken from pixels of 0 to 255; give --scale 1/255 where it is "
            "one of pixels of 0 to 1"
        )
