"""Data on disk: an .npz file, a folder of .npy files, or a folder of images."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eapc.data.arrays import RESERVED, dataset, with_scaling
from eapc.data.datasets import Dataset
from eapc.data.image_folder import OpenAxes, load_images
from eapc.data.images import holds_images, is_image
from eapc.data.preprocessing import PREPROCESSOR_FILE, Preprocessing, read_preprocessor
from eapc.data.scaling import says_affine
from eapc.errors import DataError, UsageError
from eapc.model import Array, TensorSpec


@dataclass(frozen=True)
class DataFiles:
    """Data on disk, with what is known of them beyond what they say themselves.

    `preprocessing` takes the place of an image folder's own file; of arrays it is the scaling
    alone, where they have none. `labels` is a CSV file for a folder of images.
    """

    path: str | Path
    preprocessing: Preprocessing | None = None
    labels: str | Path | None = None


def load_data(
    source: str | Path | DataFiles,
    specs: Sequence[TensorSpec],
    samples: int | None = None,
    axes: OpenAxes | None = None,
) -> Dataset:
    """Read an .npz file, a folder of .npy files or one of images for a model with the given inputs.

    `samples` takes the first ones of arrays, and of images as many spread over all; `axes` tells
    the size of images where the model's input leaves it open.
    Raises DataError when the data is missing, unreadable, empty, not finite or unfit, UsageError
    where what is said of it would do nothing.
    """
    files = source if isinstance(source, DataFiles) else DataFiles(source)
    path = Path(files.path)
    if is_image_folder(path):
        labels = None if files.labels is None else Path(files.labels)
        said = preprocessing_of(path, files.preprocessing)
        return load_images(path, said, labels, specs, samples, axes)
    preprocessing = files.preprocessing or Preprocessing()
    if files.labels is not None or preprocessing.says_size:
        raise UsageError(f"{path}: holds arrays; sizes and --labels are for folders of images")
    data = dataset(read_arrays(path), specs, str(path)).first(samples)
    if preprocessing.says_scaling and data.affine is not None:
        raise UsageError(f"{path}: says its own scaling by its arrays scale, mean and std")
    return with_scaling(data, preprocessing, str(path))


def load_without_model(source: str | Path | DataFiles, samples: int | None = None) -> Dataset:
    """The same for no model at all: arrays as they are stored, images as RGB.

    Integers that are scaled become float32. Of several arrays, those that have another length than
    the labels, or than the longest one, count as inputs that every run gets whole.
    """
    files = source if isinstance(source, DataFiles) else DataFiles(source)
    path = Path(files.path)
    if is_image_folder(path):
        return load_data(files, [TensorSpec("image", _FLOAT, (None, 3, None, None))], samples)
    arrays = read_arrays(path)
    is_scaled = says_affine(arrays) or (files.preprocessing or Preprocessing()).says_scaling
    return load_data(files, _specs_of(arrays, is_scaled), samples)


_FLOAT = np.dtype(np.float32)


def _specs_of(arrays: Mapping[str, Array], is_scaled: bool) -> list[TensorSpec]:
    """Inputs that fit arrays as they are."""
    inputs = {name: array for name, array in arrays.items() if name not in RESERVED}
    lengths = [len(array) for array in inputs.values() if array.ndim]
    length = len(arrays["y"]) if arrays.get("y", np.empty(())).ndim else max(lengths, default=0)
    return [
        TensorSpec(
            name,
            _FLOAT if is_scaled and array.dtype.kind in "iub" else array.dtype,
            (None, *array.shape[1:]) if array.shape[:1] == (length,) else array.shape,
        )
        for name, array in inputs.items()
    ]


def preprocessing_of(folder: Path, given: Preprocessing | None) -> Preprocessing:
    """What is given of images, else what a preprocessor file in their folder says."""
    if given is not None:
        return given
    path = folder / PREPROCESSOR_FILE
    return read_preprocessor(path) if path.is_file() else Preprocessing()


def is_image_folder(path: Path) -> bool:
    """Whether a path is a folder of images; one with .npy files in it is one of arrays."""
    return path.is_dir() and not _array_files(path) and holds_images(path)


def says_scaling(path: Path) -> bool:
    """Whether arrays on disk say themselves how they are scaled."""
    if path.is_dir():
        return says_affine(file.stem for file in _array_files(path))
    try:
        with zipfile.ZipFile(path) as archive:
            return says_affine(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):  # whoever reads it says what is wrong
        return False


def read_arrays(path: Path) -> Mapping[str, Array]:
    """All arrays by name, those of a folder mapped from disk; DataError where there are none."""
    try:
        if path.is_dir():
            return _folder_arrays(path)
        with path.open("rb") as stream:  # numpy leaves a file that it cannot read open
            content = np.load(stream, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: expected an .npz file or a folder of .npy files")
            return {name: _array_of(content, name, path) for name in content.files}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except DataError:
        raise
    except Exception as error:  # numpy, zipfile and zlib each raise their own kinds
        if is_image(path):
            raise DataError(f"{path}: is one image; give the folder that it is in") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as numpy data: {reason}") from error


def _array_of(content: Mapping[str, object], name: str, path: Path) -> Array:
    array = content[name]
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: its member '{name}' is no array; save it with numpy.savez")
    return array


def _folder_arrays(folder: Path) -> dict[str, Array]:
    files = _array_files(folder)
    if not files:
        raise DataError(f"{folder}: holds no .npy, JPEG or PNG files")
    return {file.stem: np.load(file, mmap_mode="r", allow_pickle=False) for file in files}


def _array_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.npy"))
