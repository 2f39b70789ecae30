"""JPEG and PNG files: which a folder holds, and the pixels of one. Only here is Pillow needed."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from eapc.data.preprocessing import RESAMPLING, Preprocessing
from eapc.errors import DataError
from eapc.model import Array

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png")

_OTHER_IMAGES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".tif", ".tiff", ".webp")

_MOST_PIXELS = 100_000_000

_WIDE_TO_BYTE = 257
"""65535 / 255."""


# --- files ---------------------------------------------------------------------------------------


def is_image(path: Path) -> bool:
    """Whether a file is taken for an image, by its name."""
    return path.suffix.lower() in SUFFIXES


def holds_images(folder: Path) -> bool:
    """Whether there is an image somewhere in a folder."""
    return any(map(is_image, _files(folder)))


def find_images(folder: Path) -> list[Path]:
    """All images of a folder and its subfolders, by name; hidden files and folders stay out.

    A warning says where images of other types are left out.
    """
    files = list(_files(folder))
    left_out = [file for file in files if file.suffix.lower() in _OTHER_IMAGES]
    if left_out:
        kinds = ", ".join(sorted({file.suffix.lower() for file in left_out}))
        number = f"{len(left_out)} file{'s are' if len(left_out) > 1 else ' is'}"
        logger.warning(f"{folder}: {number} left out ({kinds}): images are JPEG or PNG files")
    return [file for file in files if is_image(file)]


def subfolders_of(folder: Path) -> list[Path]:
    """The folders in a folder by name, but for hidden ones."""
    return [path for path in _shown(folder) if path.is_dir()]


def _shown(folder: Path) -> list[Path]:
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from error
    return [path for path in paths if not path.name.startswith(".") and path.name != "__MACOSX"]


def _files(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files below a folder; a link back to a folder above is not followed."""
    real = folder.resolve()
    if real in above:
        return
    for path in _shown(folder):
        if path.is_dir():
            yield from _files(path, above | {real})
        else:
            yield path


# --- pixels --------------------------------------------------------------------------------------


def read_image(
    path: Path, preprocessing: Preprocessing, size: tuple[int, int], channels: int
) -> Array:
    """The part of an image that the network sees: uint8 of (rows, columns, channels).

    It is turned as its EXIF data say, made grey (1 channel, ITU-R BT.601 luma) or RGB (3; alpha is
    dropped, 16 bits become 8), resized, and its centre of `size` cut out.
    Raises DataError naming the file where it cannot be read or is too small.
    """
    pillow = load_pillow(path)
    try:
        with warnings.catch_warnings():  # Pillow warns of large images, and of odd metadata
            warnings.simplefilter("ignore")
            with pillow.Image.open(path) as opened:
                turned = pillow.ImageOps.exif_transpose(opened)
            image = _resized(pillow, _converted(pillow, turned, channels), preprocessing, size)
    except Exception as error:  # Pillow raises whatever its decoders do
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as an image: {reason}") from error
    return _centre(path, np.asarray(image, np.uint8).reshape(image.height, image.width, -1), size)


def load_pillow(path: Path) -> ModuleType:
    """Pillow's package with its modules; DataError where it is not installed."""
    try:
        import PIL
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        remedy = 'pip install "eapc[images]"'
        raise DataError(f"{path}: images are read by Pillow, which is missing: {remedy}") from error
    return PIL


def _converted(pillow: ModuleType, image: Image, channels: int) -> Image:
    """8 bits per channel, grey or RGB."""
    if image.mode.startswith("I"):  # a grey PNG of 16 bits: Pillow would clip it
        wide = np.rint(np.asarray(image, np.float64) / _WIDE_TO_BYTE)
        image = pillow.Image.fromarray(wide.clip(0, 255).astype(np.uint8))
    elif image.mode == "P":  # its transparency may be given by colour
        image = image.convert("RGBA")
    return image.convert("L" if channels == 1 else "RGB")


def _resized(
    pillow: ModuleType, image: Image, preprocessing: Preprocessing, size: tuple[int, int]
) -> Image:
    target = resized_size((image.height, image.width), preprocessing, size)
    if target == (image.height, image.width):
        return image
    if math.prod(target) > _MOST_PIXELS:  # of a strip, nearly all of which would be cut off
        raise ValueError(f"it would become {target[0]} x {target[1]} pixels")
    return image.resize(target[::-1], pillow.Image.Resampling(_number(preprocessing)))


def _number(preprocessing: Preprocessing) -> int:
    return RESAMPLING.index(preprocessing.resample)


def resized_size(
    found: tuple[int, int], preprocessing: Preprocessing, size: tuple[int, int]
) -> tuple[int, int]:
    """Rows and columns that an image of `found` ones is resized to.

    The edge that is not asked for keeps the aspect and is rounded down, as in torchvision's Resize.
    """
    rows, columns = found
    resize = preprocessing.resize
    if resize == "none":
        return found
    if isinstance(resize, tuple):
        return resize
    least = size if resize == "cover" else (resize, resize)
    if columns * least[0] >= rows * least[1]:
        return least[0], columns * least[0] // rows
    return rows * least[1] // columns, least[1]


def _centre(path: Path, image: Array, size: tuple[int, int]) -> Array:
    """The middle of an image; where it cannot be halved, the part nearer to row and column 0."""
    (rows, columns), (height, width) = size, image.shape[:2]
    if height < rows or width < columns:
        raise DataError(
            f"{path}: {height} x {width} pixels once resized are fewer than the {rows} x {columns} "
            "that the network sees"
        )
    top, left = (height - rows) // 2, (width - columns) // 2
    return image[top : top + rows, left : left + columns]
