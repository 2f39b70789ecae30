"""What must hold of arrays before they become a dataset; each fault one line."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from eapc.errors import DataError
from eapc.model import Array, TensorSpec, all_finite, is_float


def check_array(origin: str, spec: TensorSpec, array: Array, shared: bool) -> None:
    """Raise DataError unless the model can be fed the array; `shared` ones have no batch axis."""
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


def check_counts(origin: str, arrays: Mapping[str, Array]) -> None:
    """Raise DataError unless all arrays hold the same number of samples."""
    counts = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len(set(counts.values())) > 1:
        raise DataError(f"{origin}: different numbers of samples: {counts}")


def read_labels(origin: str, arrays: Mapping[str, Array]) -> Array | None:
    """The labels among named arrays as (n,) int64; DataError where they are no class numbers."""
    labels = arrays.get("y")
    if labels is None:
        return None
    is_one_each = labels.ndim >= 1 and labels.size == len(labels)
    if not is_one_each or labels.dtype.kind not in "biu":
        raise DataError(f"{origin}: labels y must be integers of shape (samples,) or (samples, 1)")
    for label in (int(labels.min()), int(labels.max())):
        if not 0 <= label <= np.iinfo(np.int64).max:
            raise DataError(f"{origin}: labels y hold {label}; classes count from 0")
    return labels.reshape(-1).astype(np.int64)
