"""Finished parts of a long run, kept in a folder so that a killed run need not start anew.

One file per part, written under another name, flushed to disk and renamed: it is there as a
whole or not at all. Each begins with the digest of what follows and names the run that it
belongs to, so what is damaged or of another run is never taken for a result.

Digests of what a run's results depend on; files and arrays are read piece by piece.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from eapc import __version__
from eapc.data import Dataset
from eapc.model import Array, Model, files_of

logger = logging.getLogger(__name__)

_SUFFIX = ".part"
_UNFINISHED = ".tmp"


@dataclass(frozen=True)
class Checkpoint:
    """What one layer came to: arrays by name, and facts that JSON can hold."""

    arrays: Mapping[str, Array] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The finished parts of one run; `run` identifies everything that its results depend on.

    `has_results` tells whether any of them is part of a result, not only of what is measured
    before the first.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self.folder = folder
        self.has_results = False
        self._run = run
        self._is_writable = True

    def load(self, key: str) -> Checkpoint | None:
        """The part under a key; None where there is none or, with a warning, a damaged one."""
        path = self._path(key)
        try:
            return _decoded(path.read_bytes(), self._run, key)
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.warning("%s: cannot be read and is not used: %s", path, error.strerror)
        except (ValueError, KeyError, TypeError):
            logger.warning("%s: is damaged or of another run and is not used", path)
        return None

    def save(self, key: str, part: Checkpoint) -> None:
        """Keep a part; where the disk refuses, a warning says so and the run goes on without."""
        if not self._is_writable:
            return
        try:
            self.folder.mkdir(exist_ok=True)
            _write_atomically(self._path(key), _encoded(part, self._run, key))
        except OSError as error:
            self._is_writable = False
            reason = error.strerror
            logger.warning("%s: results are not kept for --resume: %s", self.folder, reason)

    def clear(self) -> None:
        """Remove every part; the folder too, unless something else is in it."""
        for path in [*_files(self.folder, _SUFFIX), *_files(self.folder, _UNFINISHED)]:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    @property
    def parts(self) -> int:
        """How many parts the folder holds, usable or not."""
        return len(_files(self.folder, _SUFFIX))

    @property
    def is_of_this_run(self) -> bool:
        """True when some part is of this run; damaged ones are not."""
        return any(_run_of(path) == self._run for path in _files(self.folder, _SUFFIX))

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}{_SUFFIX}"


def _files(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.glob(f"*{suffix}")) if folder.is_dir() else []


def _encoded(part: Checkpoint, run: str, key: str) -> bytes:
    arrays = [(n, a.dtype.name, a.shape) for n, a in part.arrays.items()]
    header = {"run": run, "key": key, "facts": dict(part.facts), "arrays": arrays}
    data = (np.ascontiguousarray(array).tobytes() for array in part.arrays.values())
    content = b"".join([json.dumps(header).encode() + b"\n", *data])
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def _decoded(content: bytes, run: str, key: str) -> Checkpoint:
    """The part in a file's content; raises ValueError unless all of it is as it was written."""
    digest, _, rest = content.partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        raise ValueError("the digest is not that of the content")
    line, _, data = rest.partition(b"\n")
    header = json.loads(line)
    if (header["run"], header["key"]) != (run, key):
        raise ValueError("the part is of another run")
    arrays, start = {}, 0
    for name, kind, shape in header["arrays"]:
        dtype: np.dtype[Any] = np.dtype(kind)
        count = int(np.prod(shape, dtype=np.int64))
        values = np.frombuffer(data, dtype, count, start)
        arrays[name] = values.reshape(shape).copy()
        start += values.nbytes
    return Checkpoint(arrays, header["facts"])


def _run_of(path: Path) -> str:
    """The run that a file says it is of; empty where it does not."""
    try:
        with path.open("rb") as stream:
            stream.readline()
            return str(json.loads(stream.readline())["run"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _write_atomically(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(suffix=_UNFINISHED, dir=path.parent)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    Path(name).replace(path)
    if hasattr(os, "O_DIRECTORY"):  # systems that cannot open folders make a rename last anyway
        handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@dataclass(frozen=True)
class Finished:
    """The finished layers of one pass; without checkpoints nothing is found and nothing kept.

    Where they are no `results`, they are of no use once the run has been refused.
    """

    checkpoints: Checkpoints | None = None
    scope: str = ""
    results: bool = True

    def load(self, layer: str) -> Checkpoint | None:
        """What the layer came to, if a run has come that far."""
        if self.checkpoints is None:
            return None
        part = self.checkpoints.load(f"{self.scope} {layer}")
        self.checkpoints.has_results |= self.results and part is not None
        return part

    def save(self, layer: str, part: Checkpoint) -> None:
        """Keep what the layer came to."""
        if self.checkpoints:
            self.checkpoints.save(f"{self.scope} {layer}", part)
            self.checkpoints.has_results |= self.results


# --- digests -------------------------------------------------------------------------------------


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
    told = [f"{entry.key}={entry.value}" for entry in proto.metadata_props]  # of fewer classes, say
    return digest(file_digest(model.path), *digests, *told)


def file_digest(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def data_digest(data: Dataset) -> str:
    """Of what a model is fed: arrays as stored, their scaling and kinds, the batch they come in."""
    affine = data.affine
    scaling = {} if affine is None else {k: getattr(affine, k) for k in ("scale", "mean", "std")}
    kinds = {} if data.kinds is None else {"kinds": data.kinds}
    parts = (data.arrays, data.shared, scaling, kinds)
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
