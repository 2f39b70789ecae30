#!/usr/bin/env bash
# STFT that leaves `onesided` out: onnx infers twice the bins that the operator gives.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6.
# Guess: `onesided` is 1 unless given, so frames of 16 have 9 bins: in onnx's shape inference, in its
#   reference evaluator and in onnxruntime, with the attribute and without it.
# Behaviour: with `onesided=1` all three say 9. Without it the reference and onnxruntime give 9 and shape
#   inference says 16. The check with full_check finds nothing. A compiler that sizes buffers, or prices
#   the layers behind, by inferred shapes is off by nearly two on a model that is valid and runs.
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
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator


def bins(**attributes):
    stft = helper.make_node("STFT", ["x", "step", "", "length"], ["s"], **attributes)
    same = helper.make_node("Identity", ["s"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64, 1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c", "d"])
    constants = [
        numpy_helper.from_array(np.array(8, np.int64), "step"),
        numpy_helper.from_array(np.array(16, np.int64), "length"),
    ]
    graph = helper.make_graph([stft, same], "g", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model, full_check=True)
    inferred = shape_inference.infer_shapes(model).graph.value_info[0]
    feed = {"x": np.ones((1, 64, 1), np.float32)}
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return (
        inferred.type.tensor_type.shape.dim[2].dim_value,
        ReferenceEvaluator(model).run(None, feed)[0].shape[2],
        session.run(None, feed)[0].shape[2],
    )


given, left_out = bins(onesided=1), bins()
print("inferred, reference, onnxruntime: with onesided=1", given, "without it", left_out)
sys.exit(0 if (given, left_out) == ((9, 9, 9), (16, 9, 9)) else 1)
PY
# Output seen:
#   inferred, reference, onnxruntime: with onesided=1 (9, 9, 9) without it (16, 9, 9)
