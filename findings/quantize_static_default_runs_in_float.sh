#!/usr/bin/env bash
# onnxruntime's quantize_static with its defaults: how much of the file runs on integers on x86-64?
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6; x86-64.
# Guess: the default (QuantizeLinear and DequantizeLinear, signed int8 activations) gives a residual
#   block of two convolutions that the same onnxruntime runs as integers, as QuantType.QUInt8 does.
# Behaviour: signed activations keep the sum in float, and the convolution that feeds it. The file with
#   QuantType.QUInt8 fuses whole. Ours took 1.3 times the float block's time with the defaults and 0.45 of
#   it with QUInt8 (one thread, the least of 300 interleaved runs); nothing warns.
# Ends with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

onnxruntime.set_default_logger_severity(3)
rng = np.random.default_rng(0)
SHAPE = (1, 32, 16, 16)


class Inputs(CalibrationDataReader):
    def __init__(self):
        self.left = [{"x": rng.normal(size=SHAPE).astype(np.float32)} for _ in range(4)]

    def get_next(self):
        return self.left.pop() if self.left else None


def residual_block():
    weights = {f"w{i}": rng.normal(0, 0.05, (32, 32, 3, 3)).astype(np.float32) for i in (1, 2)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1] * 4),
        helper.make_node("Add", ["c2", "x"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy"]
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def operators(path):
    """How many of each product and sum are left once onnxruntime has optimised a file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = "optimised.onnx"
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load("optimised.onnx").graph.node]
    return {k: kinds.count(k) for k in ("QLinearConv", "QLinearAdd", "Conv", "Add")}


onnx.save(residual_block(), "float.onnx")
quantize_static("float.onnx", "default.onnx", Inputs())
quantize_static("float.onnx", "unsigned.onnx", Inputs(), activation_type=QuantType.QUInt8)
seen = [operators(name) for name in ("default.onnx", "unsigned.onnx")]
print("default:", seen[0])
print("QUInt8: ", seen[1])
expected = [
    {"QLinearConv": 1, "QLinearAdd": 0, "Conv": 1, "Add": 1},
    {"QLinearConv": 2, "QLinearAdd": 1, "Conv": 0, "Add": 0},
]
sys.exit(0 if seen == expected else 1)
PY
# Output seen:
#   default: {'QLinearConv': 1, 'QLinearAdd': 0, 'Conv': 1, 'Add': 1}
#   QUInt8:  {'QLinearConv': 2, 'QLinearAdd': 1, 'Conv': 0, 'Add': 0}
