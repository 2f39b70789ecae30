#!/usr/bin/env bash
# A pruned weight stored as a sparse initializer: the checker accepts it, but which tools then read it?
#
# Versions: onnx 1.23.2, onnxruntime 1.32.0, onnx-ir 1.1.0, numpy 2.4.6.
# Guess: a tool keeps it, makes it dense or raises; what it writes has the weight and passes the checker.
# Behaviour: onnxruntime runs the file, but saves it with INT8 indices, which the checker refuses (the
#   standard wants INT64) and onnxruntime itself reads again. The checker's full check, which infers
#   shapes, refuses the file that the plain one accepts; the version converter calls the weight undefined;
#   the reference evaluator raises. A way through onnx-ir and back, as its passes and those of
#   onnxscript take, leaves the weight out: it raises nothing (a warning is logged), and the file it
#   gives is not valid.
# Ends with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnx==1.23.2 onnxruntime==1.32.0 onnx-ir==1.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import logging
import sys

import numpy as np
import onnx
import onnx_ir
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper, version_converter
from onnx.reference import ReferenceEvaluator

logging.disable(logging.WARNING)  # onnx-ir logs that it cannot find the weight
onnxruntime.set_default_logger_severity(3)
X = np.ones((1, 8), np.float32)
W = np.zeros((8, 8), np.float32)
W[2, 3], W[5, 1] = 1.5, -2


def sparse_model():
    values = numpy_helper.from_array(W[W != 0], "w")
    indices = numpy_helper.from_array(np.flatnonzero(W).astype(np.int64), "indices")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 8))],
        sparse_initializer=[helper.make_sparse_tensor(values, indices, W.shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def correct(model, saved=""):
    """Whether onnxruntime runs it and finds X @ W; it can save what it made of the file."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.optimized_model_filepath = saved
    proto = model.SerializeToString()
    session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    return bool(np.array_equal(session.run(None, {"x": X})[0], X @ W))


def outcome(step):
    """What a step returns, or the name of the error it raises."""
    try:
        return step()
    except Exception as error:
        return type(error).__name__


model = sparse_model()
rows = {
    "checker": (outcome(lambda: checker.check_model(model)), None),
    "full check": (outcome(lambda: checker.check_model(model, full_check=True)), "InferenceError"),
    "version converter": (
        outcome(lambda: version_converter.convert_version(model, 18)),
        "ConvertError",
    ),
    "reference evaluator": (outcome(lambda: ReferenceEvaluator(model)), "ValueError"),
    "onnxruntime finds the product": (outcome(lambda: correct(model, "saved.onnx")), True),
}
saved = onnx.load("saved.onnx")
kinds = [TensorProto.DataType.Name(t.indices.data_type) for t in saved.graph.sparse_initializer]
through = onnx_ir.to_proto(onnx_ir.from_proto(model))
left = [len(through.graph.sparse_initializer), len(through.graph.initializer)]
rows |= {
    "indices as onnxruntime saves them": (kinds, ["INT8"]),
    "checker of the saved file": (
        outcome(lambda: checker.check_model(saved)),
        "ValidationError",
    ),
    "onnxruntime with its saved file": (outcome(lambda: correct(saved)), True),
    "weights left by onnx-ir": (left, [0, 0]),
    "checker after onnx-ir": (outcome(lambda: checker.check_model(through)), "ValidationError"),
}
for name, (seen, _) in rows.items():
    print(f"{name}: {'accepted' if seen is None else seen}")
sys.exit(0 if all(seen == expected for seen, expected in rows.values()) else 1)
PY
# Output seen:
#   checker: accepted
#   full check: InferenceError
#   version converter: ConvertError
#   reference evaluator: ValueError
#   onnxruntime finds the product: True
#   indices as onnxruntime saves them: ['INT8']
#   checker of the saved file: ValidationError
#   onnxruntime with its saved file: True
#   weights left by onnx-ir: [0, 0]
#   checker after onnx-ir: ValidationError
