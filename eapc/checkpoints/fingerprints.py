"""Digests of what a run's results depend on; files and arrays are read piece by piece."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from eapc import __version__
from eapc.data import Dataset
from eapc.model import Array, Model, files_of

_CHUNK_BYTES = 1 << 24
_LIBRARIES = ("numpy", "scipy", "onnx", "onnxruntime")


def digest(*texts: str) -> str:
    """One digest of several texts; where one ends and the next begins counts."""
    whole = hashlib.sha256()
    for text in texts:
        content = text.encode()
        whole.update(len(content).to_bytes(8, "little"))
        whole.update(content)
    return whole.hexdigest()


def software() -> str:
    """What computes: versions, the processor's kind and number of cores."""
    versions = [f"{name} {version(name)}" for name in _LIBRARIES]
    machine = f"{platform.machine()} {os.cpu_count()}"
    return digest(__version__, platform.python_version(), machine, *versions)


def model_digest(model: Model) -> str:
    """Of a model's file with its external data, and of the weights laid over it."""
    key = ("digest", model.path, model.origin is None)
    return model.analyses.once(key, lambda: _model_digest(model))


def _model_digest(model: Model) -> str:
    key = ("source digest", model.path, model.origin is None)
    source = model.view.analyses.once(key, lambda: _source_digest(model))
    return digest(source, arrays_digest(model.weights))


def _source_digest(model: Model) -> str:
    """Of the file, or of the graph where that is not the file's, and of its external data."""
    proto = model.view.proto
    files = [] if model.path is None else files_of(model.path, proto)
    digests = [file_digest(path) for path in files[1:]]
    if model.path is None or model.origin is not None:
        graph = proto.SerializeToString(deterministic=True)
        return digest(hashlib.sha256(graph).hexdigest(), *digests)
    return digest(file_digest(model.path), *digests)


def file_digest(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def data_digest(data: Dataset) -> str:
    """Of what a model is fed: arrays as stored, their scaling, the batch they come in."""
    affine = data.affine
    scaling = {} if affine is None else {k: getattr(affine, k) for k in ("scale", "mean", "std")}
    parts = (data.arrays, data.shared, scaling)
    facts = f"{data.fixed_batch} {data.synthesised} {sorted(data.specs.items())}"
    return digest(facts, *(arrays_digest(part) for part in parts))


def arrays_digest(arrays: Mapping[str, Array]) -> str:
    """Of arrays by name: types, shapes and bytes."""
    return digest(
        *(
            f"{name} {array.dtype.name} {array.shape} {_array_digest(array)}"
            for name, array in sorted(arrays.items())
        )
    )


def _array_digest(array: Array) -> str:
    """Of an array's bytes, copied piece by piece."""
    whole, rows = hashlib.sha256(), np.atleast_1d(array)
    step = max(1, _CHUNK_BYTES * len(rows) // max(1, rows.nbytes))
    for start in range(0, len(rows), step):
        whole.update(np.ascontiguousarray(rows[start : start + step]).tobytes())
    return whole.hexdigest()
