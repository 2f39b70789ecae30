"""Calibration and evaluation inputs: named arrays and readers become one `Dataset`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol

import numpy as np

from eapc.data.preprocessing import SCALING, Preprocessing
from eapc.data.scaling import Affine, read_affine
from eapc.errors import DataError, UsageError
from eapc.model import Array, TensorSpec, all_finite, is_float, is_single_image

_CHECKED_AT_ONCE = 64

_LABELS = "y"
_SCALING = ("scale", "mean", "std")
RESERVED = (_LABELS, *_SCALING)
"""Names of arrays that are no inputs, unless the model has inputs of these names."""


class CalibrationDataReader(Protocol):
    """onnxruntime's protocol: one feed per call, None at the end."""

    def get_next(self) -> dict[str, Array] | None:
        """The next feed: input name to array with a leading batch axis."""


@dataclass(frozen=True)
class Dataset:
    """Samples for each input of a model, as stored; they become what it is fed in batches.

    `arrays` holds (n, ...) per sampled input; `shared` holds inputs that every run gets
    whole; `labels` is (n,) integers or None; `fixed_batch` is the model's own batch size
    where it cannot be chosen. `origin` says of made-up inputs what their values are, and why;
    where they are of several kinds, `kinds` (n,) numbers those of each, in ascending order, and
    `kind_names` says which they are: they are fed, weighed and judged apart. `notes` are sentences
    on single values that were made up.
    `classes` names the labels where that is known; `unlabelled` says why images have none.
    `extras` are arrays that are no input, as stored: (n, ...), or numbers; `faults` says by name
    why another such array, or y as labels, is of no use.
    """

    specs: Mapping[str, TensorSpec]
    arrays: Mapping[str, Array]
    shared: Mapping[str, Array]
    labels: Array | None = None
    affine: Affine | None = None
    fixed_batch: int | None = None
    synthesised: bool = False
    origin: str = ""
    kinds: Array | None = None
    classes: tuple[str, ...] = ()
    unlabelled: str = ""
    extras: Mapping[str, Array] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    kind_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return min(len(array) for array in self.arrays.values())

    @property
    def are_alike(self) -> bool:
        """Whether all samples are the same but for rounding: there is nothing to learn from them.

        A single one is no such case: a layer may still read many patches of it.
        """
        if len(self) < 2:
            return False
        zeroed = self.affine is not None and not np.any(self.affine.scale)
        return zeroed or all(map(_are_alike, self.arrays.values()))

    @property
    def distinct(self) -> int:
        """How many samples differ from each other, all inputs together."""
        rows = zip(*self.arrays.values(), strict=False)
        return len({_digest(row) for row in rows})

    def take(self, indices: slice | Array) -> Dataset:
        """The samples of a slice or an index array."""
        arrays = {name: array[indices] for name, array in self.arrays.items()}
        extras = {n: a[indices] if a.ndim else a for n, a in self.extras.items()}
        labels, kinds = (
            None if each is None else each[indices] for each in (self.labels, self.kinds)
        )
        return replace(self, arrays=arrays, labels=labels, kinds=kinds, extras=extras)

    def without(self, indices: slice | Array) -> Dataset:
        """All other samples."""
        return self.take(np.delete(np.arange(len(self)), indices))

    def first(self, count: int | None) -> Dataset:
        """The first `count` samples, or all of them; DataError where that is no batch."""
        if count is None:
            return self
        taken = self.take(slice(0, count))
        if not taken.usable:
            raise DataError(f"{len(taken)} samples do not fill the model's batch")
        return taken

    def split(self, fraction: float) -> tuple[Dataset, Dataset]:
        """(most samples, the rest): evenly spaced ones make up about `fraction` in the rest.

        The rest holds a whole batch at least; DataError where that leaves nothing.
        """
        step = max(2, min(round(1 / fraction), len(self) // (self.fixed_batch or 1)))
        apart = np.arange(len(self)) % step == step - 1
        most, rest = self.take(np.flatnonzero(~apart)), self.take(np.flatnonzero(apart))
        if not (most.usable and rest.usable):
            raise DataError(f"{len(self)} samples are too few to keep some out of the fit")
        return most, rest

    def require_labels(self) -> Array:
        """The labels; DataError where there are none, or y holds something else."""
        if self.labels is None and self.unlabelled:
            raise DataError(f"evaluation images have no labels: {self.unlabelled}")
        if self.labels is None:
            missing = "evaluation data has no labels: add an integer array y, one per sample"
            raise DataError(self.faults.get(_LABELS, missing))
        return self.labels

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Feeds of up to `size` samples, or of the model's own batch where that is fixed.

        Where the batch is fixed, samples that do not fill one are left out; where it is not, all
        samples of a feed are of one kind.
        """
        for rows in self._slices(size):
            yield {**{name: self._feed(name, rows) for name in self.arrays}, **self.shared}

    def fed(self, size: int) -> Iterator[dict[str, Array]]:
        """The `batches` without `shared`, samples along the first axis of each array.

        Where an input is one image, a feed has no such axis.
        """
        single = {name for name in self.arrays if is_single_image(self.specs[name])}
        for feed in self.batches(size):
            yield {n: feed[n][None] if n in single else feed[n] for n in self.arrays}

    def kinds_by_batch(self, size: int) -> list[tuple[int, ...]]:
        """The kinds of samples in each of the `batches`."""
        kinds = np.zeros(len(self), np.intp) if self.kinds is None else self.kinds
        return [tuple(np.unique(kinds[rows]).tolist()) for rows in self._slices(size)]

    def _slices(self, size: int) -> Iterator[slice]:
        size, end = self.fixed_batch or size, self.usable
        cuts = [0, end]
        if self.kinds is not None and not self.fixed_batch:
            cuts[1:1] = (np.flatnonzero(np.diff(self.kinds[:end])) + 1).tolist()
        for first, last in pairwise(cuts):
            for start in range(first, last, size):
                yield slice(start, min(start + size, last))

    @property
    def usable(self) -> int:
        """Samples that `batches` yields in all."""
        return len(self) - (len(self) % self.fixed_batch if self.fixed_batch else 0)

    def _feed(self, name: str, rows: slice) -> Array:
        spec = self.specs[name]
        x = np.asarray(self.arrays[name][rows.start if is_single_image(spec) else rows])
        if not is_float(spec.dtype):
            return x.astype(spec.dtype, copy=False)
        wide = np.float64 if spec.dtype == np.float64 else np.float32
        with np.errstate(over="ignore", invalid="ignore"):  # `dataset` refuses what overflows
            x = x.astype(wide, copy=False)
            if self.affine is not None:
                x = self.affine.apply(x)
            return np.ascontiguousarray(x.astype(spec.dtype, copy=False))

    def shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Shape of every input at a batch size."""
        batch = self.fixed_batch or batch
        sampled = {
            name: array.shape[1:]
            if is_single_image(self.specs[name])
            else (batch, *array.shape[1:])
            for name, array in self.arrays.items()
        }
        return {**sampled, **{name: array.shape for name, array in self.shared.items()}}


def _digest(sample: Iterable[Array]) -> bytes:
    whole = hashlib.blake2b(digest_size=16)
    for array in sample:
        whole.update(array.tobytes())
    return whole.digest()


_ROUNDING = 1e-5


def _are_alike(x: Array) -> bool:
    """Whether no sample differs from the first, numbers by more than rounding of the largest."""
    if not is_float(x.dtype):
        return all(np.array_equal(x[0], row) for row in x)
    first = x[0].astype(np.float64)
    room = _ROUNDING * np.abs(first).max(initial=0)
    return all(np.abs(row - first).max(initial=0) <= room for row in x)


def from_reader(reader: CalibrationDataReader, specs: Sequence[TensorSpec]) -> Dataset:
    """Collect every feed of a CalibrationDataReader."""
    feeds: list[dict[str, Array]] = []
    while (feed := reader.get_next()) is not None:
        feeds.append(feed)
    if not feeds:
        raise DataError("the data reader gave no inputs")
    if not all(isinstance(feed, Mapping) and feed.keys() == feeds[0].keys() for feed in feeds):
        raise DataError("data reader: expected a dict of the same inputs from every call")
    batch = common_batch(specs)
    by_name = {spec.name: spec for spec in specs}
    arrays = {}
    for name in feeds[0]:
        parts = [np.asarray(feed[name]) for feed in feeds]
        repeated = name in by_name and all(_is_shared(by_name[name], a, batch) for a in parts)
        arrays[name] = (_the_same if repeated else _joined)(name, parts)
    return dataset(arrays, specs, "data reader")


def _the_same(name: str, parts: Sequence[Array]) -> Array:
    if not all(np.array_equal(part, parts[0]) for part in parts):
        raise DataError(f"data reader: '{name}' has no batch axis and must be the same every time")
    return parts[0]


def _joined(name: str, parts: Sequence[Array]) -> Array:
    try:
        return np.concatenate(parts)
    except ValueError as error:
        shapes = sorted({part.shape for part in parts})
        raise DataError(f"data reader: shapes {shapes} of '{name}' do not go together") from error


def dataset(arrays: Mapping[str, Array], specs: Sequence[TensorSpec], origin: str) -> Dataset:
    """Sort named arrays into inputs, labels, scaling and others, and check them for the model."""
    matched = _match_inputs(arrays, specs, origin)
    inputs = {name: arrays[given] for name, given in matched.items()}
    by_name = {spec.name: spec for spec in specs}
    others = {name: array for name, array in arrays.items() if name not in matched.values()}
    batch = common_batch(specs)
    shared = {n: a for n, a in inputs.items() if _is_shared(by_name[n], a, batch)}
    sampled = {name: array for name, array in inputs.items() if name not in shared}
    if not sampled:
        raise DataError(f"{origin}: no input has a leading axis of samples")
    sampled = {n: _images(a) if is_single_image(by_name[n]) else a for n, a in sampled.items()}
    for name, array in {**sampled, **shared}.items():
        _check_array(origin, by_name[name], array, name in shared)
    _check_counts(origin, {**sampled, **{n: others[n] for n in (_LABELS,) if n in others}})
    labels, faults = _read_labels(origin, others.get(_LABELS))
    extras, unfit = _read_extras(origin, others, len(next(iter(sampled.values()))))
    result = Dataset(
        specs=by_name,
        arrays=sampled,
        shared={n: a.astype(by_name[n].dtype, copy=False) for n, a in shared.items()},
        labels=labels,
        affine=read_affine(origin, {n: a for n, a in others.items() if n in _SCALING}),
        fixed_batch=_fixed_batch([by_name[name] for name in sampled], shared.values()),
        extras=extras,
        faults={**faults, **unfit},
    )
    if not result.usable:
        raise DataError(f"{origin}: {len(result)} samples do not fill the model's batch")
    _check_feeds(origin, result)
    return result


def with_scaling(data: Dataset, preprocessing: Preprocessing, origin: str) -> Dataset:
    """The dataset scaled as is said; as it is where nothing is.

    Inputs of integers are fed as they are: a file that tells more is fine, options that would do
    nothing are an error. Raises DataError where scaling does not fit the inputs.
    """
    affine = preprocessing.affine(origin)
    if affine is None:
        return data
    if not any(data.specs[name].is_float for name in data.arrays):
        if preprocessing.origin:
            return data
        kinds = ", ".join(str(data.specs[name].dtype) for name in data.arrays)
        raise UsageError(f"{origin}: {SCALING} do nothing: inputs are {kinds}, fed as they are")
    scaled = replace(data, affine=affine)
    _check_feeds(origin, scaled)
    return scaled


def _images(array: Array) -> Array:
    """Images (n, rows, columns, channels) for an input of one; a single one is a sample."""
    return array[None] if array.ndim == 3 else array


def _match_inputs(
    arrays: Mapping[str, Array], specs: Sequence[TensorSpec], origin: str
) -> dict[str, str]:
    """The name of each input's array: its own, or any where input and array are the only ones."""
    names = [spec.name for spec in specs]
    candidates = [name for name in arrays if name not in RESERVED or name in names]
    if len(names) == 1 and names[0] not in arrays:
        if len(candidates) != 1:
            found = ", ".join(candidates) or "none"
            remedy = f"; name the input's '{names[0]}'" if candidates else ""
            said = f"expected one array for input '{names[0]}', found {found}{remedy}"
            raise DataError(f"{origin}: {said}")
        return {names[0]: candidates[0]}
    missing = [name for name in names if name not in arrays]
    if missing:
        found = ", ".join(arrays) or "nothing"
        raise DataError(f"{origin}: no array for input '{missing[0]}' (found {found})")
    return {name: name for name in names}


def common_batch(specs: Iterable[TensorSpec]) -> int | None:
    """The fixed first axis that all inputs but scalars share: a batch size, whatever it is."""
    sizes = {spec.shape[0] for spec in specs if spec.shape}
    size = sizes.pop() if len(sizes) == 1 else None
    return size if isinstance(size, int) else None


def _is_shared(spec: TensorSpec, array: Array, batch: int | None) -> bool:
    """Inputs without a leading batch axis: scalars, and a first axis fixed above one.

    A first axis that all inputs have in common is the `batch`.
    """
    if not spec.shape:
        return True
    if not array.ndim or batch is not None:
        return False
    first = spec.shape[0]
    return isinstance(first, int) and first > 1 and array.shape[0] == first


def _check_feeds(origin: str, data: Dataset) -> None:
    """What is finite in the file must be so as the model is fed it, and scaling must fit."""
    changed = [
        name
        for name, array in data.arrays.items()
        if data.specs[name].is_float and (data.affine or array.dtype != data.specs[name].dtype)
    ]
    for feed in data.batches(_CHECKED_AT_ONCE) if changed else ():
        for name in changed:
            if not all_finite(feed[name]):
                kind = feed[name].dtype
                raise DataError(
                    f"{origin}: input '{name}' is NaN or infinity once scaled, as {kind}"
                )


def _fixed_batch(specs: Sequence[TensorSpec], shared: Iterable[Array]) -> int | None:
    """The batch that the model insists on; one where an array without samples comes along."""
    if any(map(is_single_image, specs)):
        return 1
    sizes = [spec.shape[0] for spec in specs if isinstance(spec.shape[0], int)]
    if sizes:
        return math.gcd(*sizes)
    return 1 if any(array.ndim for array in shared) else None


# --- checks ----------------------------------------------------------------------------------


def _check_array(origin: str, spec: TensorSpec, array: Array, shared: bool) -> None:
    """Raise DataError unless the model can be fed the array; `shared` ones have no batch axis."""
    where = f"{origin}: array for input '{spec.name}'"
    if array.dtype.kind not in "fiub" and not is_float(array.dtype):
        raise DataError(f"{where} has type {array.dtype}, expected numbers")
    declared = (None, *spec.shape) if is_single_image(spec) else spec.shape
    if array.ndim != len(declared):
        raise DataError(f"{where} has shape {array.shape}, the input has {len(spec.shape)} axes")
    for axis in range(0 if shared else 1, array.ndim):
        size = declared[axis]
        if isinstance(size, int) and size != array.shape[axis]:
            raise DataError(f"{where} has shape {array.shape}, axis {axis} must be {size}")
    if array.size == 0:
        raise DataError(f"{where} is empty")
    if not all_finite(array):
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
    """Raise DataError unless all arrays hold the same number of samples."""
    counts = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len(set(counts.values())) > 1:
        raise DataError(f"{origin}: different numbers of samples: {counts}")


def _read_labels(origin: str, labels: Array | None) -> tuple[Array | None, dict[str, str]]:
    """Labels y as (n,) int64, or why they are no class numbers."""
    if labels is None:
        return None, {}
    is_one_each = labels.ndim >= 1 and labels.size == len(labels)
    if not is_one_each or labels.dtype.kind not in "biu":
        said = "labels y must be integers of shape (samples,) or (samples, 1)"
        return None, {_LABELS: f"{origin}: {said}"}
    for label in (int(labels.min()), int(labels.max())):
        if not 0 <= label <= np.iinfo(np.int64).max:
            return None, {_LABELS: f"{origin}: labels y hold {label}; classes count from 0"}
    return labels.reshape(-1).astype(np.int64), {}


def _read_extras(
    origin: str, others: Mapping[str, Array], samples: int
) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays that are neither input nor scaling, and what is wrong with those that do not fit.

    They are numbers, or hold something for each sample.
    """
    extras, faults = {}, {}
    for name, array in others.items():
        if name in _SCALING:
            continue
        if not array.ndim or len(array) == samples:
            extras[name] = array
        else:
            faults[name] = f"{origin}: '{name}' has {len(array)} rows for {samples} samples"
    return extras, faults
