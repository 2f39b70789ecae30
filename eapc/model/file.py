"""ONNX files on disk: reading one with all that can be wrong with it, writing one atomically.

Nothing here knows what a graph means. A file is written into a private folder beside its
target, under its final name, so that a check can load it with its external data; only then
does it take its place. (`onnx.save` appends to old data files, writes in place and leaves
half a file behind when it fails.)
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import set_external_data

from eapc.errors import ModelError, UsageError
from eapc.model.tensors import (
    KNOWN_TYPES,
    is_external,
    numpy_type,
    tensors_of_model,
    type_bits,
)
from eapc.model.validity import require_valid

PROTOBUF_LIMIT_BYTES = 2**31 - 1
_EMBED_BELOW_BYTES = 1024
_ALIGNMENT_BYTES = 4096

Check = Callable[[Path], None]


def read(path: Path) -> ModelProto:
    """Parse an ONNX file; external data stays where it is, but is known to be there.

    Raises ModelError when the file is missing, is not ONNX, is truncated, or when external
    data is missing, too short or outside the model's folder, or where the graph is not valid
    (see `require_valid`).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(content, path)


def parse(content: bytes, path: Path) -> ModelProto:
    """The model of a file's content, checked as `read` does; `path` is where external data is."""
    proto = ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise ModelError(f"{path}: not an ONNX file, or a truncated one") from error
    require_complete(proto, path)
    return proto


def require_complete(proto: ModelProto, path: Path) -> None:
    """Raise ModelError, naming `path`, for what is not a complete, valid ONNX model."""
    has_version = proto.ir_version > 0 and len(proto.opset_import) > 0
    if not (has_version and proto.HasField("graph") and proto.graph.output):
        raise ModelError(f"{path}: not an ONNX model (no IR version, opset or graph with outputs)")
    for tensor in tensors_of_model(proto):
        _check_payload(path, tensor)
    require_valid(proto, path)


def _check_payload(path: Path, tensor: TensorProto) -> None:
    kind, dims = tensor.data_type, tensor.dims
    if kind not in KNOWN_TYPES:
        what = f"has element type {kind}, which onnx does not know"
        raise ModelError(f"{path}: tensor '{tensor.name}' {what}")
    if dims and min(dims) < 0:
        raise ModelError(f"{path}: tensor '{tensor.name}' has a negative axis: {list(dims)}")
    if is_external(tensor):
        _check_external(path, tensor)
    elif tensor.HasField("raw_data") and kind != TensorProto.STRING:
        _require(path, tensor, "bytes", len(tensor.raw_data), payload_bytes(tensor))
    else:
        field, elements = _FIELDS.get(kind, "int32_data"), math.prod(dims)
        given, needs = len(getattr(tensor, field)), elements * _PARTS.get(kind, 1)
        bits = _bits(kind)
        _require(path, tensor, "numbers", given, needs if bits >= 8 else -(-elements * bits // 8))


def _check_external(path: Path, tensor: TensorProto) -> None:
    _, offset, length = external_extent(path, tensor)
    size = external_file(path, tensor).stat().st_size
    if offset + length > size:
        need = f"needs {offset + length} bytes, the file has {size}"
        raise ModelError(f"{path}: external data of tensor '{tensor.name}' is cut short: {need}")


def _require(path: Path, tensor: TensorProto, what: str, given: int, needs: int) -> None:
    if given != needs:
        how = "cut short" if given < needs else "too long"
        expected = f"{given} {what}, its shape needs {needs}"
        raise ModelError(f"{path}: tensor '{tensor.name}' is {how}: {expected}")


_FIELDS: Mapping[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.COMPLEX64: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.COMPLEX128: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
    TensorProto.STRING: "string_data",
}
"""Where numbers stand that are not raw; those of all other types are widened to int32."""

_PARTS: Mapping[int, int] = {TensorProto.COMPLEX64: 2, TensorProto.COMPLEX128: 2}
"""Numbers of one element."""


def payload_bytes(tensor: TensorProto) -> int:
    """Bytes of the tensor's elements as raw data; types below a byte are packed."""
    return int(math.prod(tensor.dims) * _bits(tensor.data_type) + 7) // 8


@cache
def _bits(kind: int) -> int:
    """Bits of an element of a type; 32 of those that numpy has no type for, such as text."""
    numpy = numpy_type(kind)
    return 32 if numpy == np.dtype(object) else type_bits(numpy)


def external_extent(path: Path, tensor: TensorProto) -> tuple[str, int, int]:
    """Location, offset and length in bytes of a tensor's external data."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", payload_bytes(tensor)))
        location = entries["location"]
    except (KeyError, ValueError) as error:
        detail = f"external data of tensor '{tensor.name}' has no usable location"
        raise ModelError(f"{path}: {detail}") from error
    if offset < 0 or length < payload_bytes(tensor):
        detail = f"offset {offset}, length {length}, its shape needs {payload_bytes(tensor)}"
        raise ModelError(f"{path}: external data of tensor '{tensor.name}' is wrong: {detail}")
    return location, offset, length


def external_file(path: Path, tensor: TensorProto) -> Path:
    """The file with a tensor's external data; it must lie below the model's folder."""
    location, _, _ = external_extent(path, tensor)
    folder = path.parent.resolve()
    target = (folder / location).resolve()
    if not target.is_relative_to(folder):
        raise ModelError(f"{path}: external data '{location}' is outside the model's folder")
    if not target.is_file():
        raise ModelError(f"{path}: external data file '{location}' is missing")
    return target


def files_of(path: Path, proto: ModelProto) -> list[Path]:
    """A model's file and those of its external data, each once; unused parts of them count too."""
    tensors = filter(is_external, tensors_of_model(proto))
    named = {external_extent(path, tensor)[0]: tensor for tensor in tensors}
    return [path, *(external_file(path, named[name]) for name in sorted(named))]


def write(proto: ModelProto, path: Path, source: Path | None, check: Check, force: bool) -> None:
    """Write `proto` to `path` atomically, once `check(written file)` has let it pass.

    External tensors of `proto` are copied from the folder of `source` into one new file
    `<path>.data`; a model too large for one protobuf message gets its weights there too.
    `proto` is changed: hand in a copy. Raises UsageError for an existing file without
    `force` or for an output that is one of the input's files, and whatever `check` raises.
    """
    targets = require_writable(proto, path, source, force)
    with _disk_errors(path):
        private = tempfile.TemporaryDirectory(
            prefix=f".{path.name}.", dir=path.parent, ignore_cleanup_errors=True
        )
    with private as name:
        folder = Path(name)
        with _disk_errors(path):
            for target in targets[:-1]:
                _write_data(_tensors_to_externalise(proto), source, folder / target.name)
            with (folder / path.name).open("wb") as stream:
                stream.write(proto.SerializeToString())
                _flush_to_disk(stream)
        check(folder / path.name)
        with _disk_errors(path):
            for target in targets:
                (folder / target.name).replace(target)


def require_writable(proto: ModelProto, path: Path, source: Path | None, force: bool) -> list[Path]:
    """The files that a model becomes, itself last; UsageError if `write` would refuse one."""
    has_data = bool(_tensors_to_externalise(proto))
    targets = [path.parent / f"{path.name}.data", path] if has_data else [path]
    inputs = {file.resolve() for file in files_of(source, proto)} if source else set()
    for target in targets:
        if target.resolve() in inputs:
            raise UsageError(f"{target}: is a file of the input model; choose another output")
        if target.is_dir():
            raise UsageError(f"{target}: is a folder; give a file name")
        if target.exists() and not force:
            raise UsageError(f"{target}: exists; choose another output or add --force")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder; make it first")
    return targets


def _tensors_to_externalise(proto: ModelProto) -> list[TensorProto]:
    external = [tensor for tensor in tensors_of_model(proto) if is_external(tensor)]
    if not _fits_one_message(proto):
        large = (t for t in proto.graph.initializer if len(t.raw_data) >= _EMBED_BELOW_BYTES)
        external.extend(large)
    return external


def _fits_one_message(proto: ModelProto) -> bool:
    try:
        size: int = proto.ByteSize()
    except EncodeError:  # protobuf cannot even measure what exceeds its limit
        return False
    return size <= PROTOBUF_LIMIT_BYTES - (1 << 20)


def _write_data(tensors: list[TensorProto], source: Path | None, target: Path) -> None:
    with target.open("wb") as stream:
        for tensor in tensors:
            stream.write(b"\0" * (-stream.tell() % _ALIGNMENT_BYTES))
            offset = stream.tell()
            length = stream.write(_payload(tensor, source))
            _point_to(tensor, target.name, offset, length)
        _flush_to_disk(stream)


def _payload(tensor: TensorProto, source: Path | None) -> bytes:
    if not is_external(tensor):
        return tensor.raw_data
    if source is None:
        raise ModelError(f"tensor '{tensor.name}' has external data but the model has no file")
    _, offset, _ = external_extent(source, tensor)
    with external_file(source, tensor).open("rb") as stream:
        stream.seek(offset)
        content = stream.read(payload_bytes(tensor))
    if len(content) < payload_bytes(tensor):
        raise ModelError(f"{source}: external data of '{tensor.name}' shrank while read")
    return content


def _point_to(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    tensor.raw_data = b""  # what onnx wants to be there
    set_external_data(tensor, location, offset, length)
    tensor.ClearField("raw_data")


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """What the file system refuses is one line for the user."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def _flush_to_disk(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def accept(_: Path) -> None:
    """The check that lets everything pass."""
