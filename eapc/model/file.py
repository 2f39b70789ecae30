"""ONNX files on disk: reading one with all that can be wrong with it, writing one atomically.

Nothing here knows what a graph means. A file is written into a private folder beside its
target, under its final name, so that a check can load it with its external data; only then
does it take its place. (`onnx.save` appends to old data files, writes in place and leaves
half a file behind when it fails.)
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto, TensorProto

from eapc.errors import ModelError, UsageError
from eapc.model.tensors import is_external, tensors_of_model

PROTOBUF_LIMIT_BYTES = 2**31 - 1
_EMBED_BELOW_BYTES = 1024
_ALIGNMENT_BYTES = 4096
_CHUNK_BYTES = 1 << 24

Check = Callable[[Path], None]


def read(path: Path) -> ModelProto:
    """Parse an ONNX file; external data stays where it is, but is known to be there.

    Raises ModelError when the file is missing, is not ONNX, is truncated, or when external
    data is missing, too short or outside the model's folder.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    proto = _parse(path, content)
    for tensor in tensors_of_model(proto):
        _check_payload(path, tensor)
    return proto


def _parse(path: Path, content: bytes) -> ModelProto:
    proto = ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise ModelError(f"{path}: not an ONNX file, or a truncated one") from error
    has_version = proto.ir_version > 0 and len(proto.opset_import) > 0
    if not (has_version and proto.HasField("graph") and proto.graph.output):
        raise ModelError(f"{path}: not an ONNX model (no IR version, opset or graph with outputs)")
    return proto


def _check_payload(path: Path, tensor: TensorProto) -> None:
    if is_external(tensor):
        _, offset, length = external_extent(path, tensor)
        size = external_file(path, tensor).stat().st_size
        if offset + length > size:
            need = f"needs {offset + length} bytes, the file has {size}"
            raise ModelError(
                f"{path}: external data of tensor '{tensor.name}' is cut short: {need}"
            )
    elif _is_cut_short(tensor):
        expected = f"{len(tensor.raw_data)} bytes, its shape needs {payload_bytes(tensor)}"
        raise ModelError(f"{path}: tensor '{tensor.name}' is cut short: {expected}")


def _is_cut_short(tensor: TensorProto) -> bool:
    measurable = tensor.HasField("raw_data") and tensor.data_type in _BITS
    return measurable and len(tensor.raw_data) != payload_bytes(tensor)


def payload_bytes(tensor: TensorProto) -> int:
    """Bytes of the tensor's elements as raw data; types below a byte are packed."""
    count = 1
    for dim in tensor.dims:
        count *= dim
    return (count * _BITS.get(tensor.data_type, 32) + 7) // 8


def _element_bits() -> dict[int, int]:
    wide = {"DOUBLE": 64, "INT64": 64, "UINT64": 64, "COMPLEX64": 64, "COMPLEX128": 128}
    short = {"FLOAT16": 16, "BFLOAT16": 16, "INT16": 16, "UINT16": 16}
    tiny = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
    tiny |= {"FLOAT6E2M3": 6, "FLOAT6E3M2": 6}
    byte = {name: 8 for name, _ in TensorProto.DataType.items() if "8" in name}
    byte["BOOL"] = 8
    word = {"FLOAT": 32, "INT32": 32, "UINT32": 32}
    widths = {**byte, **wide, **short, **tiny, **word}
    values = dict(TensorProto.DataType.items())
    return {values[name]: bits for name, bits in widths.items() if name in values}


_BITS = _element_bits()


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
    external = _tensors_to_externalise(proto)
    targets = _targets(path, bool(external))
    _refuse_targets(targets, proto, source, force)
    data = targets[0]
    with _private_folder(path) as folder:
        with _disk_errors(path):
            if external:
                _write_data(external, source, folder / data.name)
            with (folder / path.name).open("wb") as stream:
                stream.write(proto.SerializeToString())
                _flush_to_disk(stream)
        check(folder / path.name)
        with _disk_errors(path):
            for target in targets:
                (folder / target.name).replace(target)


def require_writable(proto: ModelProto, path: Path, source: Path | None, force: bool) -> None:
    """Raise UsageError now if `write` would refuse to put a result under this name."""
    _refuse_targets(_targets(path, bool(_tensors_to_externalise(proto))), proto, source, force)


def _targets(path: Path, external: bool) -> list[Path]:
    """The files that a model becomes, the model itself last."""
    return [path.parent / f"{path.name}.data", path] if external else [path]


def _refuse_targets(
    targets: list[Path], proto: ModelProto, source: Path | None, force: bool
) -> None:
    inputs = _files_of(proto, source) if source else set()
    for target in targets:
        if target.resolve() in inputs:
            raise UsageError(f"{target}: is a file of the input model; choose another output")
        if target.is_dir():
            raise UsageError(f"{target}: is a folder; give a file name")
        if target.exists() and not force:
            raise UsageError(f"{target}: exists; choose another output or add --force")
    if not targets[-1].parent.is_dir():
        raise UsageError(f"{targets[-1].parent}: no such folder; make it first")


def _files_of(proto: ModelProto, source: Path) -> set[Path]:
    external = (t for t in tensors_of_model(proto) if is_external(t))
    locations = {external_extent(source, tensor)[0] for tensor in external}
    return {source.resolve()} | {(source.parent / name).resolve() for name in locations}


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
            for chunk in _payload(tensor, source):
                stream.write(chunk)
            _point_to(tensor, target.name, offset, stream.tell() - offset)
        _flush_to_disk(stream)


def _payload(tensor: TensorProto, source: Path | None) -> Iterator[bytes]:
    if not is_external(tensor):
        yield tensor.raw_data
        return
    if source is None:
        raise ModelError(f"tensor '{tensor.name}' has external data but the model has no file")
    _, offset, _ = external_extent(source, tensor)
    left = payload_bytes(tensor)
    with external_file(source, tensor).open("rb") as stream:
        stream.seek(offset)
        while left > 0:
            chunk = stream.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise ModelError(f"{source}: external data of '{tensor.name}' shrank while read")
            left -= len(chunk)
            yield chunk


def _point_to(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


@contextmanager
def _private_folder(path: Path) -> Iterator[Path]:
    with _disk_errors(path):
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
