"""Files as onnxruntime's own quantizers write them are pruned in place."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from pruning_builders import NETS, Net
from test_passes import compile_net, error_of
from test_prune_stored_weights import PIPELINES, declared

from eapc.layers import find_layers
from eapc.model import Array

FORMS: dict[str, dict[str, Any]] = {
    "operators, int8 by channel": {
        "quant_format": QuantFormat.QOperator, "weight_type": QuantType.QInt8, "per_channel": True
    },
    "operators, int8": {"quant_format": QuantFormat.QOperator, "weight_type": QuantType.QInt8},
    "operators, uint8": {"quant_format": QuantFormat.QOperator, "weight_type": QuantType.QUInt8},
    "qdq, int8 by channel": {
        "quant_format": QuantFormat.QDQ, "weight_type": QuantType.QInt8, "per_channel": True
    },
    "qdq, uint8": {"quant_format": QuantFormat.QDQ, "weight_type": QuantType.QUInt8},
    "dynamic, uint8": {"weight_type": QuantType.QUInt8},
    "dynamic, int8 by channel": {"weight_type": QuantType.QInt8, "per_channel": True},
}  # fmt: skip
CASES = [
    (net, form)
    for net in ("residual", "transformer", "dense")
    for form in FORMS
    # onnxruntime runs no ConvInteger of int8 weights
    if not (net == "residual" and form == "dynamic, int8 by channel")
]


class _Inputs(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._left: Iterator[Mapping[str, Array]] = iter([arrays])

    def get_next(self) -> Mapping[str, Array] | None:
        return next(self._left, None)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@cache
def quantized(name: str, form: str, folder: Path) -> Net:
    net, given = NETS[name](), FORMS[form]
    source, target = folder / "float.onnx", folder / "quantized.onnx"
    onnx.save(net.proto, source)
    if "quant_format" in given:
        kinds = {"activation_type": QuantType.QUInt8, **given}
        quantize_static(source, target, _Inputs(net.arrays), **kinds)
    else:
        quantize_dynamic(source, target, **given)
    return Net(onnx.load(target), net.arrays)


def kinds_of(proto: ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


@pytest.mark.parametrize(("name", "form"), CASES)
def test_a_file_of_its_own_quantizer_is_pruned(
    name: str, form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    net = quantized(name, form, tmp_path_factory.mktemp("files"))
    weights = {tied.weight for tied in find_layers(NETS[name]().model).layers}
    found = find_layers(net.model)
    kept = {tied.weight.removesuffix("_quantized") for tied in found.layers}
    assert {name.removesuffix("_Transposed") for name in kept} == weights
    refitted, largest = (compile_net(net, each % 0.5) for each in reversed(PIPELINES))
    before, after = net.model.to_proto(), refitted.model.to_proto()
    assert declared(after) == declared(before)
    assert kinds_of(after) == kinds_of(before)
    for tied in found.layers:
        record = refitted.record.layers[tied.weight]
        assert tied.nonzero(refitted.model) == record.nonzero_weights
        assert record.nonzero_weights <= round(0.5 * record.weights)
    assert error_of(refitted) < 0.9 * error_of(largest)
    for weight in refitted.record.layers:
        assert not np.array_equal(refitted.model.constants[weight], net.model.constants[weight])


@pytest.mark.parametrize("is_symmetric", [True, False])
def test_four_bits_of_its_own_quantizer_are_pruned(is_symmetric: bool) -> None:
    quantizers = pytest.importorskip("onnxruntime.quantization.matmul_nbits_quantizer")
    net = NETS["transformer"]()
    model = onnx.ModelProto.FromString(net.proto.SerializeToString())
    work = quantizers.MatMulNBitsQuantizer(model, block_size=16, is_symmetric=is_symmetric)
    work.process()
    packed = Net(work.model.model, net.arrays)
    refitted, largest = (compile_net(packed, each % 0.5) for each in reversed(PIPELINES))
    before, after = packed.model.to_proto(), refitted.model.to_proto()
    assert "MatMulNBits" in kinds_of(before)
    assert kinds_of(after) == kinds_of(before)
    assert declared(after) == declared(before)
    for tied in find_layers(packed.model).layers:
        assert tied.nonzero(refitted.model) == tied.size(packed.model) // 2
    assert error_of(refitted) < 0.9 * error_of(largest)
