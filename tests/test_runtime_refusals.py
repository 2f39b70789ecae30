"""What onnxruntime and onnx say, triggered for real: each kind is told in eapc's words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import Array, ints, normal, op, save, value
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from eapc.errors import DataError, EapcError, ModelError
from eapc.model import ONNX, Model, explained, infer_shapes
from eapc.model.refusals import REFUSALS, shortened
from eapc.runtime import Session

FLOAT, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64


def model_of(
    node: NodeProto,
    tensors: dict[str, Array] | None = None,
    x: tuple[int | str, ...] = ("N", "K"),
    types: tuple[int, int] = (FLOAT, FLOAT),
    opset: int = 17,
    ir_version: int = 8,
) -> ModelProto:
    """One node from x to y, unchecked and without inferred shapes."""
    outputs = [value(name, None, types[1]) for name in node.output[:1]]
    held = [numpy_helper.from_array(array, name) for name, array in (tensors or {}).items()]
    graph = helper.make_graph([node], "g", [value("x", x, types[0])], outputs, held)
    opsets = [helper.make_opsetid("", opset)]
    if node.domain and node.domain != "none":
        opsets.append(helper.make_opsetid(node.domain, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def one_line(error: EapcError) -> str:
    said = str(error)
    assert "\n" not in said
    assert "/onnxruntime_src/" not in said
    assert "[ONNXRuntimeError]" not in said
    return said


def at_start(model: ModelProto | Path) -> str:
    with pytest.raises(ModelError) as caught:
        Session(model, 1)
    return one_line(caught.value)


def at_run(model: ModelProto, x: Array) -> str:
    session = Session(model, 1)
    with pytest.raises(DataError) as caught:
        session.run({"x": x})
    return one_line(caught.value)


# --- a session that does not start -----------------------------------------------------------


IMAGE = ("N", 3, 8, 8)
KERNEL = normal((4, 3, 3, 3))

REFUSED: dict[str, tuple[ModelProto, str]] = {
    "no kernel": (
        model_of(
            op("Conv", "x w", "y", "c"), {"w": KERNEL.astype(np.float64)}, IMAGE, (DOUBLE, DOUBLE)
        ),
        "onnxruntime runs no Conv of double on CPUs (node 'c'); convert the model to float32",
    ),
    "no kernel, without a name": (
        model_of(op("Conv", "x w", "y"), {"w": KERNEL.astype(np.float64)}, IMAGE, (DOUBLE, DOUBLE)),
        "onnxruntime runs no Conv of double on CPUs (node 'y'); convert the model to float32",
    ),
    "unknown operator": (
        model_of(op("Foo", "x", "y", "f", domain="acme")),
        "onnxruntime does not know the operator Foo of domain 'acme', which eapc has no library "
        "for; export the model without it (`eapc analyze` does not run models)",
    ),
    "domain without an opset": (
        model_of(op("Foo", "x", "y", "f", domain="none")),
        "operator Foo is of domain 'none', for which the model imports no opset; export the model "
        "anew",
    ),
    "no operator of this opset": (
        model_of(op("Frob", "x", "y", "f")),
        "opset 17 has no operator Frob, neither onnx's nor onnxruntime's; export the model anew",
    ),
    "types that differ": (
        model_of(op("Add", "x i", "y", "a"), {"i": ints(1)}),
        "Add 'a' reads float and int64, which must be of one type (onnxruntime); put a Cast in "
        "front",
    ),
    "a type that is not taken": (
        model_of(op("Sigmoid", "x", "y", "s"), types=(INT64, INT64)),
        "Sigmoid 's': onnxruntime takes no int64 as its input 'x'",
    ),
    "declared as another type": (
        model_of(op("Cast", "x", "y", "c", to=INT64)),
        "tensor 'y' is declared as float, node 'c' writes int64 (onnxruntime)",
    ),
    "batches in front of time": (
        model_of(
            op("GRU", "x w r", "y", "g", hidden_size=2, layout=1),
            {"w": normal((1, 6, 3)), "r": normal((1, 6, 2))},
            ("N", 4, 3),
        ),
        "GRU 'g' has layout 1, batches in front, which onnxruntime does not run; export it with "
        "layout 0 and a Transpose on either side",
    ),
    "an attribute too many": (
        model_of(op("Relu", "x", "y", "r", foo=1)),
        "Relu 'r': Unrecognized attribute: foo for operator Relu (onnxruntime)",
    ),
    "shapes that do not fit": (
        model_of(op("MatMul", "x w", "y", "m"), {"w": normal((8, 4))}, (2, 7)),
        "MatMul 'm': the shapes of its operands do not fit each other (Incompatible dimensions "
        "for matrix multiplication)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_do_not_start(name: str) -> None:
    model, said = REFUSED[name]
    assert at_start(model) == said


def test_opsets_and_formats_that_are_too_new() -> None:
    said = at_start(model_of(op("Relu", "x", "y"), opset=99))
    assert said.startswith("the model's opset 99 is newer than onnxruntime's, which ends at ")
    assert said.endswith(" for domain ai.onnx; export to an older one or update onnxruntime")
    said = at_start(model_of(op("Relu", "x", "y"), ir_version=99))
    assert said.startswith("the model's IR version 99 is newer than onnxruntime's ")


def test_external_data_that_are_missing(tmp_path: Path) -> None:
    model = model_of(op("MatMul", "x w", "y"), {"w": normal((8, 4))})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="gone.data")
    said = at_start(save(model, tmp_path / "m.onnx"))
    assert said.startswith("the external data of tensor 'w' are missing: ")
    assert said.endswith("gone.data must lie beside the model")


def test_what_is_not_known_gets_through_on_one_short_line(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"abc")
    said = at_start(tmp_path / "m.onnx")
    assert said.startswith("onnxruntime refuses the model: ")
    assert said.endswith("Protobuf parsing failed.")
    assert explained(ValueError("a\nb"), ONNX) == "onnx: a b"
    assert explained(ValueError(), ONNX) == "onnx: ValueError"
    assert len(explained(ValueError("x" * 5000), ONNX)) < 250


def test_places_in_other_peoples_code_are_left_out() -> None:
    text = "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/core/a.h:46 void a::b(int) const it is"
    assert shortened(text) == "it is"
    assert shortened("concatbase.h:135 Prepare Axis 1 differs") == "Axis 1 differs"


# --- a run that fails ------------------------------------------------------------------------


SIZES = "; --input-shape sets the sizes of made-up inputs, --calib gives real ones"
ROWS = np.ones((2, 7), np.float32)
MAP = np.ones((2, 3, 2, 2), np.float32)

MISFITS: dict[str, tuple[ModelProto, Array, str]] = {
    "MatMul": (
        model_of(op("MatMul", "x w", "y", "m"), {"w": normal((8, 4))}),
        ROWS,
        "MatMul 'm': the inner sizes of its operands differ (onnxruntime)",
    ),
    "Gemm": (
        model_of(op("Gemm", "x w", "y", "m"), {"w": normal((8, 4))}),
        ROWS,
        "Gemm 'm': its input has 7 along the axis that it sums over, its weights are [8,4] "
        "(onnxruntime)",
    ),
    "Add": (
        model_of(op("Add", "x w", "y", "m"), {"w": normal((8,))}),
        ROWS,
        "Add 'm': sizes 7 and 8 of its operands meet along an axis and differ (onnxruntime)",
    ),
    "Mul, by nothing": (
        model_of(op("Mul", "x w", "y", "m"), {"w": normal((8,))}),
        np.ones((2, 0), np.float32),
        "Mul 'm': sizes 0 and 8 of its operands meet along an axis and differ (onnxruntime)",
    ),
    "Reshape": (
        model_of(op("Reshape", "x s", "y", "m"), {"s": ints(2, 8)}),
        ROWS,
        "Reshape 'm': [2,7] has not as many elements as [2,8], which it is to become (onnxruntime)",
    ),
    "Concat": (
        model_of(op("Concat", "x w", "y", "m", axis=0), {"w": normal((2, 8))}),
        ROWS,
        "Concat 'm': sizes 8 and 7 of its inputs differ along axis 1 (onnxruntime)",
    ),
    "Conv, channels": (
        model_of(op("Conv", "x w", "y", "c"), {"w": KERNEL}, ("N", "C", 8, 8)),
        np.ones((2, 5, 8, 8), np.float32),
        "Conv 'y': its input has 5 along axis 1, its kernel 3 channels in each of 1 groups "
        "(onnxruntime)",
    ),
    "Conv, kernel": (
        model_of(op("Conv", "x w", "y", "c"), {"w": KERNEL}, ("N", 3, "H", "W")),
        MAP,
        "Conv 'y': its kernel is larger than its input, [2,2] along the spatial axes (onnxruntime)",
    ),
    "MaxPool": (
        model_of(op("MaxPool", "x", "y", "p", kernel_shape=[5, 5]), x=("N", 3, "H", "W")),
        MAP,
        "MaxPool 'p': its kernel is larger than its input along a spatial axis (onnxruntime)",
    ),
    "Gather": (
        model_of(op("Gather", "x i", "y", "m"), {"i": ints(9)}),
        ROWS,
        "Gather 'm': index 9 is outside -2 to 1 (onnxruntime)",
    ),
    "Squeeze": (
        model_of(op("Squeeze", "x a", "y", "m"), {"a": ints(1)}),
        ROWS,
        "Squeeze 'm': axis 1 of its input has size 7, not 1 (onnxruntime)",
    ),
    "Expand": (
        model_of(op("Expand", "x s", "y", "m"), {"s": ints(2, 3)}),
        ROWS,
        "Expand 'm': its input does not fit the shape that it is to become (onnxruntime)",
    ),
    "BatchNormalization": (
        model_of(
            op("BatchNormalization", "x a a a a", "y", "b"),
            {"a": np.ones(8, np.float32)},
            ("N", "C", 4),
        ),
        np.ones((2, 7, 4), np.float32),
        "BatchNormalization 'b': its input has 7 channels, its scale has not (onnxruntime)",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_sizes_that_do_not_fit_at_run_time(name: str) -> None:
    model, x, said = MISFITS[name]
    assert at_run(model, x) == said + SIZES


def test_other_failures_of_a_node_name_it() -> None:
    split = op("Split", "x s", "y b", "halves", axis=1)
    said = at_run(model_of(split, {"s": ints(4, 4)}), ROWS)
    assert said.startswith("Split 'halves': onnxruntime cannot run it: ")
    assert "exceeds the remaining size" in said


def test_memory_that_runs_out() -> None:
    """2^44 floats; nothing is touched of what cannot be had."""
    huge = model_of(op("Expand", "x s", "y", "huge"), {"s": ints(1 << 22, 1 << 22)}, (1, 1))
    assert at_run(huge, np.ones((1, 1), np.float32)) == (
        "memory ran out when onnxruntime ran Expand 'huge'; smaller inputs (--input-shape, "
        "--calib) take less"
    )


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.ones((2, 7), np.float32), "input 'x' has size 7 along axis 1, the model takes 8"),
        (np.ones((2, 8, 1), np.float32), "input 'x' has 3 axes, the model takes 2"),
        (np.ones((2, 8)), "an input has type double, the model takes float"),
    ],
)
def test_inputs_that_do_not_fit(x: Array, said: str) -> None:
    assert at_run(model_of(op("Relu", "x", "y"), x=("N", 8)), x) == f"{said} (onnxruntime)"


# --- onnx itself -----------------------------------------------------------------------------


def test_what_shape_inference_refuses() -> None:
    with pytest.raises(ModelError) as caught:
        infer_shapes(Model.from_proto(REFUSED["domain without an opset"][0]), {"x": (1, 8)})
    assert one_line(caught.value) == (
        "g: with inputs 'x' (1, 8): operator Foo is of domain 'none', for which the model imports "
        "no opset; export the model anew"
    )


def test_shapes_that_onnx_finds_unfit() -> None:
    model = REFUSED["shapes that do not fit"][0]
    with pytest.raises(onnx.shape_inference.InferenceError) as caught:
        onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert explained(caught.value, ONNX) == REFUSED["shapes that do not fit"][1]


def test_what_the_checker_refuses() -> None:
    with pytest.raises(onnx.checker.ValidationError) as caught:
        onnx.checker.check_model(REFUSED["no kernel"][0])
    assert explained(caught.value, ONNX) == (
        "onnx: Field 'shape' of 'type' is required but missing."
    )


def test_every_kind_is_told_by_what_it_is_about() -> None:
    """A table with a pattern twice would never come to the second."""
    patterns = [kind.pattern.pattern for kind in REFUSALS]
    assert len(set(patterns)) == len(patterns)
