#!/usr/bin/env bash
# Resize with align_corners and scales: onnxruntime aligns the last element, onnx's reference does not.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
# Guess: eight numbers 0 to 7 resized by 0.6 with linear interpolation and align_corners give the same
#   four numbers in both, the first 0 and the last 7, as the name says.
# Behaviour: both give four numbers. onnxruntime spreads the corners over the four that there are; the
#   reference spreads them over 8 x 0.6 = 4.8, so its last one is 5.53 and lies inside. A model that is
#   tested with the reference evaluator and deployed with onnxruntime differs by a fifth of the range.
# Ends with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

node = helper.make_node(
    "Resize",
    ["x", "", "scales"],
    ["y"],
    mode="linear",
    coordinate_transformation_mode="align_corners",
)
x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, 8])
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, 4])
scales = numpy_helper.from_array(np.array([1, 1, 1, 0.6], np.float32), "scales")
graph = helper.make_graph([node], "g", [x], [y], [scales])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
checker.check_model(model, full_check=True)
feed = {"x": np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8)}
session = onnxruntime.InferenceSession(
    model.SerializeToString(), providers=["CPUExecutionProvider"]
)
runtime = session.run(None, feed)[0].ravel().round(2).tolist()
reference = ReferenceEvaluator(model).run(None, feed)[0].ravel().round(2).tolist()
print("onnxruntime", runtime, "reference", reference)
expected = ([0.0, 2.33, 4.67, 7.0], [0.0, 1.84, 3.68, 5.53])
close = all(np.allclose(a, b, atol=0.011) for a, b in zip((runtime, reference), expected))
sys.exit(0 if close else 1)
PY
# Output seen:
#   onnxruntime [0.0, 2.33, 4.67, 7.0] reference [0.0, 1.84, 3.68, 5.53]
