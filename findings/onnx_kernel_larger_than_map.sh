#!/usr/bin/env bash
# onnx infers a size for a convolution whose kernel is larger than its map, sometimes a positive one.
#
# Versions: onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.
# Guess: strict shape inference and the full check raise for a kernel of 400 over 256 places without
#   padding, as they do for other operands that do not fit; else the axis stays unknown.
# Behaviour: neither raises. The size is (256 - 400) / stride + 1 in integers that round towards zero:
#   -143 at stride 1, and 1 at stride 160, as if there were a place where the kernel fits.
#   onnxruntime raises when the node is run, not when the session is made.
# Ends with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def model(stride):
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[400], strides=[stride])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, 256))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 1, None))],
        [numpy_helper.from_array(np.ones((1, 1, 400), np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def checked(stride):
    try:
        onnx.checker.check_model(model(stride), full_check=True)
    except Exception as error:
        return type(error).__name__
    return "accepted"


def inferred(stride):
    found = onnx.shape_inference.infer_shapes(model(stride), strict_mode=True, data_prop=True)
    return found.graph.output[0].type.tensor_type.shape.dim[2].dim_value


def run(stride):
    session = onnxruntime.InferenceSession(
        model(stride).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    try:
        return str(session.run(None, {"x": np.ones((1, 1, 256), np.float32)})[0].shape)
    except Exception as error:
        return type(error).__name__


print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
seen = []
for stride in (1, 160):
    row = (checked(stride), inferred(stride), run(stride))
    seen.append(row)
    print(f"stride {stride}: full check {row[0]}, size inferred {row[1]}, run {row[2]}")
expected = [("accepted", size, "InvalidArgument") for size in (-143, 1)]
sys.exit(0 if seen == expected else 1)
PY
# Seen:
#   onnx 1.23.2 onnxruntime 1.32.0
#   stride 1: full check accepted, size inferred -143, run InvalidArgument
#   stride 160: full check accepted, size inferred 1, run InvalidArgument
