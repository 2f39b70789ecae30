"""A written model is held against the one it was made from; each thing it must catch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import constant_node, loaded, make_model, normal, op, value
from onnx import ModelProto, TensorProto, numpy_helper
from pruning_builders import Net, residual, with_constants

from eapc.data import Dataset, dataset
from eapc.errors import VerificationError
from eapc.model import Array, Model
from eapc.runtime import verifier

Tamper = Callable[[ModelProto], object]


def written(model: Model, path: Path, tamper: Tamper | None = None) -> Path:
    proto = model.to_proto()
    if tamper:
        tamper(proto)
    path.write_bytes(proto.SerializeToString())
    return path


def pruned() -> tuple[Model, Dataset]:
    """The residual network with a changed w1, and inputs for it."""
    net = residual()
    weight = net.model.constants.value("w1")
    assert weight is not None
    return net.model.with_weights({"w1": np.where(weight > 0, weight, 0)}), net.data


def replace_tensor(proto: ModelProto, name: str, change: Callable[[Array], Array]) -> None:
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))


def test_what_was_meant_to_change_may(tmp_path: Path) -> None:
    model, data = pruned()
    verifier(model, frozenset(["w1"]), data)(written(model, tmp_path / "m.onnx"))


def test_annotations_may_come_and_go(tmp_path: Path) -> None:
    model, data = pruned()
    annotated = model.with_annotations({"conv1": {"eapc.energy_percent": "12"}})
    check = verifier(annotated, frozenset(["w1"]), data)
    check(written(annotated, tmp_path / "m.onnx"))
    verifier(Model.load(tmp_path / "m.onnx"), frozenset(["w1"]), data)(
        written(model, tmp_path / "n.onnx")
    )


def test_constants_and_external_data_may_change(tmp_path: Path) -> None:
    net = with_constants()
    model = net.model.with_weights({"w": np.zeros((12, 10), np.float32)})
    verifier(model, frozenset(["w"]), net.data)(written(model, tmp_path / "m.onnx"))
    copy = onnx.ModelProto()
    copy.CopyFrom(residual().proto)
    onnx.save(copy, tmp_path / "big.onnx", save_as_external_data=True, size_threshold=0)
    big = Model.load(tmp_path / "big.onnx")
    changed = big.with_weights({"w1": np.zeros((8, 8, 3, 3), np.float32)})
    check = verifier(changed, frozenset(["w1"]), residual().data)
    changed.save(tmp_path / "out.onnx", check)
    with pytest.raises(VerificationError, match="'w1' changed"):
        changed.save(tmp_path / "no.onnx", verifier(changed, frozenset(), None))
    assert not (tmp_path / "no.onnx").exists()


def swap(name: str, change: Callable[[Array], Array]) -> Tamper:
    return lambda proto: replace_tensor(proto, name, change)


def set_pads(proto: ModelProto) -> None:
    attribute = next(a for a in proto.graph.node[0].attribute if a.name == "pads")
    attribute.ints[0] = 2


def rename_input(proto: ModelProto) -> None:
    proto.graph.input[0].name = "image"
    proto.graph.node[0].input[0] = "image"


def drop_bias(proto: ModelProto) -> None:
    del proto.graph.node[0].input[2]


TAMPERED: dict[str, tuple[Tamper, str]] = {
    "another tensor": (swap("b0", lambda b: b + np.float32(1)), "tensor 'b0' changed"),
    "one bit": (swap("w2", lambda w: np.nextafter(w, np.float32(9))), "tensor 'w2' changed"),
    "negative zero": (swap("fb", lambda b: b * np.float32(-1)), "tensor 'fb' changed"),
    "another type": (swap("b0", lambda b: b.astype(np.float16)), "checker|more than its weights"),
    "another shape": (swap("w1", lambda w: w[:, :, :2]), "checker|more than its weights"),
    "an attribute": (set_pads, "more than its weights"),
    "an input's name": (rename_input, "inputs of the result differ"),
    "an input's shape": (
        lambda proto: setattr(proto.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 16),
        "inputs of the result differ",
    ),
    "an output": (
        lambda proto: proto.graph.output.append(value("t", ("N", 8, 8, 8))),
        "outputs of the result differ",
    ),
    "a node less": (drop_bias, "more than its weights"),
    "a node more": (
        lambda proto: proto.graph.node.append(op("Relu", "y", "unused")),
        "more than its weights",
    ),
    "the opset": (lambda proto: setattr(proto.opset_import[0], "version", 18), "more than its"),
    "metadata": (lambda proto: proto.metadata_props.add(key="a", value="b"), "more than its"),
    "a node's own metadata": (
        lambda proto: proto.graph.node[0].metadata_props.add(key="a", value="b"),
        "more than its weights",
    ),
    "a tensor less": (
        lambda proto: proto.graph.initializer.pop(),
        "read back: .* which nobody writes",
    ),
    "NaN": (swap("w1", lambda w: w * np.float32(np.nan)), "output 'y' .* holds NaN or infinity"),
    "infinity": (swap("w1", lambda w: w + np.float32(np.inf)), "holds NaN or infinity"),
    "a cycle": (
        lambda proto: proto.graph.node[0].input.__setitem__(0, "t"),
        "read back: .* in a cycle",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_must_not_change(name: str, tmp_path: Path) -> None:
    tamper, message = TAMPERED[name]
    model, data = pruned()
    path = written(model, tmp_path / "m.onnx", tamper)
    with pytest.raises(VerificationError, match=message) as caught:
        verifier(model, frozenset(["w1"]), data)(path)
    assert "\n" not in str(caught.value)


def test_a_constant_that_was_not_meant_to_change(tmp_path: Path) -> None:
    net = with_constants()
    model = net.model.with_weights({"w": np.zeros((12, 10), np.float32)})
    path = written(model, tmp_path / "m.onnx")
    with pytest.raises(VerificationError, match="'w' changed"):
        verifier(model, frozenset(["w2"]), net.data)(path)


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_damaged_file(keep: int, tmp_path: Path) -> None:
    model, data = pruned()
    path = written(model, tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(VerificationError) as caught:
        verifier(model, frozenset(["w1"]), data)(path)
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_run(tmp_path: Path) -> None:
    nodes = [op("Reshape", "x s", "y")]
    model = loaded(nodes, {"x": ("N", 6)}, ["y"], {"s": np.array([-1, 3])})
    data = dataset({"x": normal((4, 6))}, model.inputs, "test")
    changed = model.with_weights({"s": np.array([-1, 5])})
    with pytest.raises(VerificationError, match="does not run"):
        verifier(changed, frozenset(["s"]), data)(written(changed, tmp_path / "m.onnx"))


@pytest.mark.parametrize("has_path", [True, False])
def test_a_model_that_never_passed_the_checker_is_not_blamed(
    has_path: bool, tmp_path: Path
) -> None:
    net = residual()
    net.proto.graph.node[0].attribute.add(name="own", type=onnx.AttributeProto.INT, i=1)
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(net.proto)
    model = net.model
    if has_path:
        model = Model.load(written(model, tmp_path / "before.onnx"))
    verifier(model, frozenset(), None)(written(model, tmp_path / "after.onnx"))


def test_a_model_without_a_file_is_blamed_where_the_result_is_worse(tmp_path: Path) -> None:
    model = residual().model
    path = written(model, tmp_path / "m.onnx", lambda p: p.graph.node[0].attribute.add(name="own"))
    with pytest.raises(VerificationError, match="checker"):
        verifier(model, frozenset(), None)(path)


def test_outputs_that_never_were_finite_are_not_blamed(tmp_path: Path) -> None:
    nodes = [op("Gemm", "x w", "a"), op("Div", "a zero", "y"), op("Relu", "a", "z")]
    tensors = {"w": normal((4, 4)), "zero": np.zeros(1, np.float32)}
    net = Net(make_model(nodes, {"x": ("N", 4)}, ["y", "z"], tensors), {"x": normal((9, 4))})
    model = net.model.with_weights({"w": 2 * normal((4, 4))})
    verifier(model, frozenset(["w"]), net.data)(written(model, tmp_path / "m.onnx"))


def test_outputs_that_are_no_floating_point_tensors(tmp_path: Path) -> None:
    nodes = [
        constant_node("k", normal((4, 4))),
        op("MatMul", "x k", "a"),
        op("ArgMax", "a", "y"),
        op("SequenceConstruct", "a a", "z"),
    ]
    sequence = onnx.helper.make_tensor_sequence_value_info("z", TensorProto.FLOAT, None)
    outputs = [value("y", ("N", 1), TensorProto.INT64), sequence]
    model = loaded(nodes, [value("x", ("N", 4))], outputs)
    data = dataset({"x": normal((4, 4))}, model.inputs, "test")
    path = written(model, tmp_path / "m.onnx")
    verifier(model, frozenset(), data)(path)
