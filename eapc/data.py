"""Calibration and evaluation inputs: files, folders and readers become one `Dataset`."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from eapc.errors import DataError
from eapc.tensors import Array, TensorSpec, is_float

logger = logging.getLogger(__name__)

_RESERVED = ("y", "scale", "mean", "std")


class CalibrationDataReader(Protocol):
    """onnxruntime's protocol: one feed per call, None at the end."""

    def get_next(self) -> dict[str, Array] | None:
        """The next feed: input name to array with a leading batch axis."""


@dataclass(frozen=True)
class Affine:
    """x -> (x * scale - mean) / std; each a number or one per channel."""

    scale: Array
    mean: Array
    std: Array

    def apply(self, x: Array, channel_axis: int) -> Array:
        """x float32 of any shape; numbers per channel run along `channel_axis`."""
        scale, mean, std = (
            _along(v, x.ndim, channel_axis) for v in (self.scale, self.mean, self.std)
        )
        result: Array = (x * scale - mean) / std
        return result.astype(np.float32, copy=False)


def _along(values: Array, rank: int, axis: int) -> Array:
    if values.size == 1:
        return values.reshape(()).astype(np.float32)
    shape = [1] * rank
    shape[axis] = values.size
    return values.reshape(shape).astype(np.float32)


@dataclass(frozen=True)
class Dataset:
    """Samples for each input of a model, as stored; they become what it is fed in batches.

    `arrays` holds (n, ...) per sampled input; `shared` holds inputs that every run gets
    whole; `labels` is (n,) integers or None; `fixed_batch` is the model's own batch size
    where it cannot be chosen.
    """

    specs: Mapping[str, TensorSpec]
    arrays: Mapping[str, Array]
    shared: Mapping[str, Array]
    labels: Array | None = None
    affine: Affine | None = None
    fixed_batch: int | None = None
    synthesised: bool = False

    def __len__(self) -> int:
        return min(len(array) for array in self.arrays.values())

    def take(self, indices: slice | Array) -> Dataset:
        """The samples of a slice or an index array."""
        arrays = {name: array[indices] for name, array in self.arrays.items()}
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, arrays=arrays, labels=labels)

    def first(self, count: int | None) -> Dataset:
        """The first `count` samples, or all of them."""
        return self if count is None else self.take(slice(0, count))

    def split(self, fraction: float) -> tuple[Dataset, Dataset]:
        """(most samples, the rest): evenly spaced ones make up about `fraction` in the rest."""
        step = max(2, round(1 / fraction))
        apart = np.arange(len(self)) % step == step - 1
        return self.take(np.flatnonzero(~apart)), self.take(np.flatnonzero(apart))

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Feeds of up to `size` samples, or of the model's own batch where that is fixed.

        Where the batch is fixed, samples that do not fill one are left out.
        """
        size = self.fixed_batch or size
        count = len(self)
        end = count - count % self.fixed_batch if self.fixed_batch else count
        for start in range(0, end, size):
            rows = slice(start, min(start + size, end))
            yield {**{name: self._feed(name, rows) for name in self.arrays}, **self.shared}

    @property
    def usable(self) -> int:
        """Samples that `batches` yields in all."""
        return len(self) - (len(self) % self.fixed_batch if self.fixed_batch else 0)

    def _feed(self, name: str, rows: slice) -> Array:
        x = np.asarray(self.arrays[name][rows])
        spec = self.specs[name]
        if not is_float(spec.dtype):
            return x.astype(spec.dtype, copy=False)
        x = x.astype(np.float32, copy=False)
        if self.affine is not None:
            x = self.affine.apply(x, _channel_axis(x.shape, self.affine))
        return np.ascontiguousarray(x.astype(spec.dtype, copy=False))

    def shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Shape of every input at a batch size."""
        batch = self.fixed_batch or batch
        sampled = {name: (batch, *array.shape[1:]) for name, array in self.arrays.items()}
        return {**sampled, **{name: array.shape for name, array in self.shared.items()}}


def _channel_axis(shape: tuple[int, ...], affine: Affine) -> int:
    """Axis 1 unless only the last axis has as many entries as `mean` or `std` have numbers."""
    length = max(affine.scale.size, affine.mean.size, affine.std.size)
    if length == 1 or (len(shape) > 1 and shape[1] == length):
        return 1
    if shape[-1] == length:
        return len(shape) - 1
    raise DataError(f"mean or std has {length} numbers; no channel axis of {shape} fits")


def load_data(path: str | Path, specs: Sequence[TensorSpec]) -> Dataset:
    """Read an .npz file or a folder of .npy files for a model with the given inputs.

    Raises DataError when the data is missing, unreadable, empty, not finite or unfit.
    """
    arrays = _read_arrays(Path(path))
    return dataset(arrays, specs, str(path))


def _read_arrays(path: Path) -> dict[str, Array]:
    try:
        if path.is_dir():
            files = sorted(path.glob("*.npy"))
            return {file.stem: np.load(file, mmap_mode="r", allow_pickle=False) for file in files}
        with np.load(path, allow_pickle=False) as content:
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: expected an .npz file or a folder of .npy files")
            return {name: content[name] for name in content.files}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except DataError:
        raise
    except Exception as error:  # numpy, zipfile and zlib each raise their own kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as numpy data: {reason}") from error


def from_reader(reader: CalibrationDataReader, specs: Sequence[TensorSpec]) -> Dataset:
    """Collect every feed of a CalibrationDataReader."""
    feeds: list[dict[str, Array]] = []
    while (feed := reader.get_next()) is not None:
        feeds.append(feed)
    if not feeds:
        raise DataError("the data reader gave no inputs")
    arrays = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    return dataset(arrays, specs, "data reader")


def dataset(arrays: Mapping[str, Array], specs: Sequence[TensorSpec], origin: str) -> Dataset:
    """Sort named arrays into inputs, labels and scaling, and check each against the model."""
    inputs = _match_inputs(arrays, specs, origin)
    by_name = {spec.name: spec for spec in specs}
    extras = {name: arrays[name] for name in _RESERVED if name in arrays and name not in by_name}
    shared = {name: array for name, array in inputs.items() if _is_shared(by_name[name], array)}
    sampled = {name: array for name, array in inputs.items() if name not in shared}
    if not sampled:
        raise DataError(f"{origin}: no input has a leading axis of samples")
    for name, array in inputs.items():
        _check_array(origin, by_name[name], array, name in shared)
    _check_counts(origin, {**sampled, **{n: extras[n] for n in ("y",) if n in extras}})
    result = Dataset(
        specs=by_name,
        arrays=sampled,
        shared={n: a.astype(by_name[n].dtype, copy=False) for n, a in shared.items()},
        labels=_labels(origin, extras),
        affine=_affine(origin, extras),
        fixed_batch=_fixed_batch([by_name[name] for name in sampled], shared.values()),
    )
    if not result.usable:
        raise DataError(f"{origin}: {len(result)} samples do not fill the model's batch")
    next(result.batches(1))  # scaling that does not fit shows now
    return result


def _match_inputs(
    arrays: Mapping[str, Array], specs: Sequence[TensorSpec], origin: str
) -> dict[str, Array]:
    names = [spec.name for spec in specs]
    candidates = [name for name in arrays if name not in _RESERVED or name in names]
    if len(names) == 1 and names[0] not in arrays:
        if len(candidates) != 1:
            found = ", ".join(candidates) or "none"
            raise DataError(f"{origin}: expected one array for input '{names[0]}', found {found}")
        return {names[0]: arrays[candidates[0]]}
    missing = [name for name in names if name not in arrays]
    if missing:
        found = ", ".join(arrays) or "nothing"
        raise DataError(f"{origin}: no array for input '{missing[0]}' (found {found})")
    return {name: arrays[name] for name in names}


def _is_shared(spec: TensorSpec, array: Array) -> bool:
    """Inputs without a leading batch axis: scalars, and a first axis fixed above one."""
    if not spec.shape:
        return True
    first = spec.shape[0]
    return isinstance(first, int) and first > 1 and array.shape[0] == first


def _check_array(origin: str, spec: TensorSpec, array: Array, shared: bool) -> None:
    where = f"{origin}: array for input '{spec.name}'"
    if array.dtype.kind not in "fiub" and not is_float(array.dtype):
        raise DataError(f"{where} has type {array.dtype}, expected numbers")
    if array.ndim != len(spec.shape):
        raise DataError(f"{where} has shape {array.shape}, the input has {len(spec.shape)} axes")
    for axis in range(0 if shared else 1, array.ndim):
        size = spec.shape[axis]
        if isinstance(size, int) and size != array.shape[axis]:
            raise DataError(f"{where} has shape {array.shape}, axis {axis} must be {size}")
    if array.size == 0:
        raise DataError(f"{where} is empty")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{where} holds NaN or infinity")
    if not is_float(spec.dtype):
        _check_integers(where, spec, array)


def _check_integers(where: str, spec: TensorSpec, array: Array) -> None:
    if array.dtype.kind not in "iub":
        raise DataError(f"{where} has type {array.dtype}, the input takes {spec.dtype}")
    if spec.dtype.kind in "iu":
        limits = np.iinfo(spec.dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise DataError(f"{where} does not fit into {spec.dtype}")


def _check_counts(origin: str, arrays: Mapping[str, Array]) -> None:
    counts = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len(set(counts.values())) > 1:
        raise DataError(f"{origin}: different numbers of samples: {counts}")


def _labels(origin: str, arrays: Mapping[str, Array]) -> Array | None:
    labels = arrays.get("y")
    if labels is None:
        return None
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{origin}: labels y must be integers of shape (samples,)")
    if labels.size and int(labels.min()) < 0:
        raise DataError(f"{origin}: labels y hold {int(labels.min())}; classes count from 0")
    return labels.astype(np.int64)


def _affine(origin: str, arrays: Mapping[str, Array]) -> Affine | None:
    if not any(name in arrays for name in ("scale", "mean", "std")):
        return None
    defaults = {"scale": 1.0, "mean": 0.0, "std": 1.0}
    values = {n: np.asarray(arrays.get(n, v), dtype=np.float32) for n, v in defaults.items()}
    for name, value in values.items():
        if not np.isfinite(value).all() or (name == "std" and not value.all()):
            raise DataError(f"{origin}: {name} must be finite{' and not 0' * (name == 'std')}")
    return Affine(**{name: value.ravel() for name, value in values.items()})


def _fixed_batch(specs: Sequence[TensorSpec], shared: Iterable[Array]) -> int | None:
    """The batch that the model insists on; one where an array without samples comes along."""
    sizes = [spec.shape[0] for spec in specs if isinstance(spec.shape[0], int)]
    if sizes:
        return math.gcd(*sizes)
    return 1 if any(array.ndim for array in shared) else None
