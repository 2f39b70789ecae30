"""Networks that onnxruntime's own tools quantize, in either form."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from builders import Array
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from eapc.model import Model


class _Feeds(CalibrationDataReader):  # type: ignore[misc]
    """Hands inputs over one by one."""

    def __init__(self, feeds: Sequence[Mapping[str, Array]]) -> None:
        self._left: Iterator[Mapping[str, Array]] = iter(feeds)

    def get_next(self) -> Mapping[str, Array] | None:
        return next(self._left, None)


def quantized(
    model: Model,
    feeds: Sequence[Mapping[str, Array]],
    form: str = "QDQ",
    per_channel: bool = False,
    types: str = "int8 uint8",
) -> Model:
    """The model in a form (QDQ, QOperator), with types of weights and activations.

    Weights have 7 bits, so that no sum of two products saturates on any processor.
    """
    known = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    weights, activations = (known[each] for each in types.split())
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("float.onnx", "codes.onnx")]
        onnx.save(model.to_proto(), paths[0])
        quantize_static(
            *paths, _Feeds(feeds), quant_format=QuantFormat[form], per_channel=per_channel,
            weight_type=weights, activation_type=activations, reduce_range=True,
        )  # fmt: skip
        return Model.from_proto(onnx.load(paths[1]))


def types(model: Model) -> dict[str, str]:
    """The type of every stored constant."""
    return {name: np.dtype(model.constants.dtype(name)).name for name in model.constants.plain}
