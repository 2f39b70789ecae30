"""Named arrays become a `Dataset` that fits a model's inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from eapc.data.datasets import LABELS, Dataset
from eapc.data.preprocessing import Preprocessing
from eapc.data.sample_layout import of_samples
from eapc.data.scaling import read_affine
from eapc.errors import DataError, UsageError
from eapc.model import Array, TensorSpec, all_finite, is_float, is_single_image

_CHECKED_AT_ONCE = 64

_SCALING = ("scale", "mean", "std")
RESERVED = (LABELS, *_SCALING)
"""Names of arrays that are no inputs, unless the model has inputs of these names."""


def dataset(
    arrays: Mapping[str, Array],
    specs: Sequence[TensorSpec],
    origin: str,
    are_samples: bool = False,
) -> Dataset:
    """Sort named arrays into inputs, labels, scaling and others, and check them for the model.

    Where samples are not along the network's first axis, arrays may have either layout, see
    `of_samples`; `are_samples` says that samples come first.
    """
    matched = match_inputs(arrays, specs, origin)
    inputs = {name: arrays[given] for name, given in matched.items()}
    by_name = {spec.name: spec for spec in specs}
    others = {name: array for name, array in arrays.items() if name not in matched.values()}
    batch = common_batch(specs)
    shared = {n: a for n, a in inputs.items() if is_shared(by_name[n], a, batch)}
    sampled = {name: array for name, array in inputs.items() if name not in shared}
    if not sampled:
        raise DataError(f"{origin}: no input has a leading axis of samples")
    if not are_samples:
        sampled = of_samples(sampled, by_name, [len(others[LABELS])] if _is_list(others) else [])
    sampled = {n: _images(a) if is_single_image(by_name[n]) else a for n, a in sampled.items()}
    for name, array in {**sampled, **shared}.items():
        _check_array(origin, by_name[name], array, name in shared)
    _check_counts(origin, {**sampled, **{n: others[n] for n in (LABELS,) if n in others}})
    labels, faults = _read_labels(origin, others.get(LABELS))
    extras, unfit = _read_extras(origin, others, len(next(iter(sampled.values()))))
    result = Dataset(
        specs=by_name,
        arrays=sampled,
        shared={n: a.astype(by_name[n].dtype, copy=False) for n, a in shared.items()},
        labels=labels,
        affine=read_affine(origin, others),
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
        said = f"inputs are {kinds}, fed as they are"
        raise UsageError(f"{origin}: --scale, --mean and --std do nothing: {said}")
    scaled = replace(data, affine=affine)
    _check_feeds(origin, scaled)
    return scaled


def _is_list(others: Mapping[str, Array]) -> bool:
    return LABELS in others and others[LABELS].ndim > 0


def _images(array: Array) -> Array:
    """Images (n, rows, columns, channels) for an input of one; a single one is a sample."""
    return array[None] if array.ndim == 3 else array


def match_inputs(
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
    """The fixed batch axis that all inputs but scalars share, whatever its size."""
    sizes = {spec.batch for spec in specs if spec.shape}
    size = sizes.pop() if len(sizes) == 1 else None
    return size if isinstance(size, int) else None


def is_shared(spec: TensorSpec, array: Array, batch: int | None) -> bool:
    """Inputs without a leading batch axis: scalars, and a first axis fixed above one.

    A first axis that all inputs have in common is the `batch`.
    """
    if not spec.shape:
        return True
    if not array.ndim or batch is not None:
        return False
    first = spec.batch
    if not isinstance(first, int) or first <= 1:
        return False
    return array.shape[:1] == (first,) if not spec.batch_axis else array.shape == spec.shape


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
    sizes = [spec.batch for spec in specs if isinstance(spec.batch, int)]
    if sizes:
        return math.gcd(*sizes)
    return 1 if any(array.ndim for array in shared) else None


# --- checks ----------------------------------------------------------------------------------


def _check_array(origin: str, spec: TensorSpec, array: Array, shared: bool) -> None:
    """Raise DataError unless the model can be fed the array; `shared` ones have no batch axis."""
    where = f"{origin}: array for input '{spec.name}'"
    if array.dtype.kind not in "fiub" and not is_float(array.dtype):
        raise DataError(f"{where} has type {array.dtype}, expected numbers")
    declared = spec.shape if shared else (None, *spec.sample_shape)
    if is_single_image(spec):
        declared = (None, *spec.shape)
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
        return None, {LABELS: f"{origin}: {said}"}
    for label in (int(labels.min()), int(labels.max())):
        if not 0 <= label <= np.iinfo(np.int64).max:
            return None, {LABELS: f"{origin}: labels y hold {label}; classes count from 0"}
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
