"""How large the file of a model is."""

from __future__ import annotations

import gzip
import math
import tempfile
from pathlib import Path

from eapc.model.file import files_of, payload_bytes
from eapc.model.model import Model
from eapc.model.tensors import is_external, tensors_of_model, type_bits

GZIP_LEVEL = 6
"""That of `gzip` where none is given."""


_LONG_NAME = 32


def stored_bytes(model: Model) -> int:
    """Bytes of a model's file and its external data as they are, whatever they are changed to."""
    proto = model.view.proto
    external = filter(is_external, tensors_of_model(proto))
    return int(proto.ByteSize()) + sum(map(payload_bytes, external))


def constant_bytes(model: Model, name: str) -> float:
    """Bytes of a constant's elements; 0 of what is none, or of unknown shape."""
    if name not in model.constants:
        return 0.0
    shape = model.constants.shape(name)
    return math.prod(shape) * type_bits(model.constants.dtype(name)) / 8 if shape else 0.0


def written_bytes(model: Model, packed: bool = False) -> int:
    """Bytes of the files that `Model.save` writes, each packed by gzip if so asked.

    Tensors outside name their file, whose name is taken to be a long one.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{'m' * _LONG_NAME}.onnx"
        model.save(path)
        return sum(_bytes(file, packed) for file in Path(folder).iterdir())


def input_bytes(model: Model, packed: bool = False) -> int:
    """Bytes of the files that a model was read from, packed if so asked; as written without any."""
    if model.path is None or model.origin is not None:
        return written_bytes(model.original, packed)
    return sum(_bytes(file, packed) for file in files_of(model.path, model.view.proto))


def _bytes(file: Path, packed: bool) -> int:
    if not packed:
        return file.stat().st_size
    return len(gzip.compress(file.read_bytes(), GZIP_LEVEL, mtime=0))
