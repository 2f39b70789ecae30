"""What a caller from Python has of a model, opened: a path, bytes, a ModelProto or a Model."""

from __future__ import annotations

import logging
from os import PathLike
from pathlib import Path

import onnx

from eapc.errors import ArgumentError
from eapc.model import file as modelfile
from eapc.model.model import Model
from eapc.model.notes import notes_of

logger = logging.getLogger(__name__)

ModelSource = str | PathLike[str] | bytes | bytearray | memoryview | onnx.ModelProto | Model
"""The forms that a model comes in."""

_GIVEN = Path("the model given")
"""In place of a file's name in messages; external data is looked for in the working folder."""


def open_model(source: ModelSource, name: str = "model") -> Model:
    """The model of a source; a proto is copied, so that it may change afterwards.

    Raises ArgumentError, naming the argument `name`, for anything else, and ModelError for what is
    no complete, valid ONNX model.
    """
    if isinstance(source, Model):
        return source
    if isinstance(source, str | PathLike):
        return Model.load(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return _noted(modelfile.parse(bytes(source), _GIVEN))
    if not isinstance(source, onnx.ModelProto):
        raise ArgumentError(_refusal(source, name))
    proto = onnx.ModelProto()
    proto.CopyFrom(source)
    modelfile.require_complete(proto, _GIVEN)
    return _noted(proto)


def _noted(proto: onnx.ModelProto) -> Model:
    for note in notes_of(proto):
        logger.warning(f"{_GIVEN}: {note}")
    return Model.from_proto(proto)


def _refusal(source: object, name: str) -> str:
    expected = "expected a path, bytes, an onnx.ModelProto or an eapc.Model"
    export = "; torch.onnx.export makes an ONNX file of it" if hasattr(source, "state_dict") else ""
    return f"{name}: {expected}, got {type(source).__name__}{export}"
