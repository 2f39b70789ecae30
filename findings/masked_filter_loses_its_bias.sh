#!/usr/bin/env bash
# A filter pruned to zeros keeps its bias: does quantize_static keep it too?
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
# Guess: a filter that a mask has set to zero gives its bias everywhere, 0.4 here, and after quantize_static
#   the same to about a step of the output (below 0.01): as its weights need no scale, one is chosen
#   with which the int32 bias keeps its digits.
# Behaviour: with per_channel=True such a filter gets the scale 1, and the bias the input's scale times that.
#   Pixels of 0 to 255 have a scale of 1, so 0.4 is stored as 0 and the map is 0 instead of 0.4, more
#   than a hundred steps of the output; nothing warns. A single weight of 1e-12 in the filter brings
#   0.4 back, and so does one scale per tensor, unless the whole layer is zeros. With extra_options
#   QuantizeBias=False the bias is stored in float, but onnxruntime rounds it to the same 0 as it
#   fuses the convolution; without graph optimisations the map is 0.4.
# Ends with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import logging
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

onnxruntime.set_default_logger_severity(3)
logging.disable(logging.WARNING)  # each call advises to preprocess, whatever the weights
SHAPE = (1, 3, 8, 8)
PIXELS = np.random.default_rng(0).uniform(0, 255, SHAPE).astype(np.float32)
PIXELS[0, 0, 0, :2] = 0, 255


class Inputs(CalibrationDataReader):
    def __init__(self):
        self.left = [{"x": PIXELS}]

    def get_next(self):
        return self.left.pop() if self.left else None


def convolution(masked, weight):
    """Four filters with the bias 0.4 for pixels of 0 to 255; a masked one has one `weight` left."""
    weights = np.random.default_rng(1).normal(0, 0.1 / 255, (4, 3, 3, 3)).astype(np.float32)
    weights[masked] = 0
    weights[masked, 0, 0, 0] = weight
    stored = {"w": weights, "b": np.full(4, 0.4, np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8, 8)),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def masked_map(path, optimised=True):
    """The mean of what filter 1 gives."""
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return float(session.run(None, {"x": PIXELS})[0][0, 1].mean())


def row(masked=(1,), weight=0.0, optimised=True, **how):
    """Filter 1's mean in float and after quantize_static, and the scale of its weights."""
    model = convolution(list(masked), weight)
    checker.check_model(model, full_check=True)
    onnx.save(model, "float.onnx")
    quantize_static("float.onnx", "quantized.onnx", Inputs(), **how)
    tensors = onnx.load("quantized.onnx").graph.initializer
    (scale,) = (numpy_helper.to_array(t).ravel() for t in tensors if t.name == "w_scale")
    found = masked_map("float.onnx"), masked_map("quantized.onnx", optimised)
    return *found, float(scale[min(1, len(scale) - 1)])


in_float = {"per_channel": True, "extra_options": {"QuantizeBias": False}}
rows = {
    "one scale per tensor": (row(), 0.4, False),
    "one per channel": (row(per_channel=True), 0.0, True),
    "one per channel, a weight of 1e-12": (row(per_channel=True, weight=1e-12), 0.4, False),
    "one per tensor, all filters masked": (row(masked=range(4)), 0.0, True),
    "one per channel, bias in float": (row(**in_float), 0.0, True),
    "the same, not optimised": (row(**in_float, optimised=False), 0.4, True),
}
as_seen = True
for name, ((before, after, scale), expected, scale_one) in rows.items():
    print(f"{name}: {before:.2f} in float, {after:.2f} quantized, weights' scale {scale:.1e}")
    as_seen &= abs(before - 0.4) < 1e-5 and abs(after - expected) < 0.01
    as_seen &= (scale == 1) == scale_one
sys.exit(0 if as_seen else 1)
PY
# Output seen:
#   one scale per tensor: 0.40 in float, 0.40 quantized, weights' scale 8.4e-06
#   one per channel: 0.40 in float, 0.00 quantized, weights' scale 1.0e+00
#   one per channel, a weight of 1e-12: 0.40 in float, 0.40 quantized, weights' scale 1.9e-10
#   one per tensor, all filters masked: 0.40 in float, 0.00 quantized, weights' scale 1.0e+00
#   one per channel, bias in float: 0.40 in float, 0.00 quantized, weights' scale 1.0e+00
#   the same, not optimised: 0.40 in float, 0.40 quantized, weights' scale 1.0e+00
