"""The model: nothing that was not asked for changes on the way from file to file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from builders import (
    Array,
    chain,
    constant_node,
    conv_model,
    gemm_model,
    ints,
    make_graph,
    make_model,
    normal,
    op,
    save,
    sparse,
    value,
)
from onnx import ModelProto, TensorProto, helper, numpy_helper

from eapc.errors import ModelError
from eapc.model import Model, is_external, subgraphs_of_node, tensors_of_model

BACKEND_MODELS = sorted((Path(onnx.__file__).parent / "backend/test/data").rglob("*.onnx"))
ANNOTATION = {"eapc.energy_mac_units": "12.5", "eapc.macs": "7"}


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in subgraphs_of_node(node):
            yield from all_nodes(inner)


def without_annotations(path: Path) -> ModelProto:
    """A model as it is in its file, minus `eapc.*` metadata and the place of external data."""
    proto = ModelProto()
    proto.ParseFromString(path.read_bytes())
    for node in all_nodes(proto.graph):
        kept = [entry for entry in node.metadata_props if not entry.key.startswith("eapc.")]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    for tensor in tensors_of_model(proto):
        del tensor.external_data[:]
    return proto


def assert_lossless(path: Path, output: Path) -> None:
    """Annotate every node, save, and hold the result against the file."""
    model = Model.load(path)
    annotated = model.with_annotations({node.key: ANNOTATION for node in model.nodes})
    annotated.save(output, force=True)
    for node in all_nodes(Model.load(output).to_proto().graph):
        entries = {entry.key: entry.value for entry in node.metadata_props}
        assert ANNOTATION.items() <= entries.items()
    before, after = without_annotations(path), without_annotations(output)
    assert before == after
    assert before.SerializeToString(deterministic=True) == after.SerializeToString(
        deterministic=True
    )


def external_values(path: Path) -> dict[str, Array]:
    """Values of a model's external tensors."""
    proto = onnx.load(path, load_external_data=False)
    return {
        tensor.name: numpy_helper.to_array(tensor, str(path.parent))
        for tensor in tensors_of_model(proto)
        if is_external(tensor)
    }


# --- nothing is lost -------------------------------------------------------------------------


def test_models_that_come_with_onnx_stay_bit_for_bit(tmp_path: Path) -> None:
    assert len(BACKEND_MODELS) > 100
    for path in BACKEND_MODELS:
        assert_lossless(path, tmp_path / "out.onnx")


def test_shared_models_stay_bit_for_bit(shared_data: Path, tmp_path: Path) -> None:
    paths = sorted((shared_data / "models").glob("*.onnx"))
    assert paths
    for path in paths:
        assert_lossless(path, tmp_path / "out.onnx")
        before, after = external_values(path), external_values(tmp_path / "out.onnx")
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_digits_network_stays_bit_for_bit(digits: Path, tmp_path: Path) -> None:
    assert_lossless(digits, tmp_path / "out.onnx")


def old_model() -> ModelProto:
    """IR 3: initializers are listed among the inputs."""
    model = conv_model()
    model.ir_version = 3
    model.graph.input.append(value("w", (6, 4, 3, 3)))
    return model


def described_model() -> ModelProto:
    """Metadata and documentation wherever ONNX has a place for them."""
    model = chain(["Conv", "Relu"])
    model.producer_name, model.producer_version, model.domain = "maker", "1.2", "example"
    model.model_version, model.doc_string = 7, "model\nof two lines"
    model.metadata_props.add(key="licence", value="none")
    model.graph.doc_string = "graph"
    model.graph.metadata_props.add(key="level", value="graph")
    model.graph.input[0].doc_string = "an image"
    model.graph.initializer[0].doc_string = "filters"
    model.graph.initializer[0].metadata_props.add(key="level", value="tensor")
    model.graph.node[0].doc_string = "a layer"
    model.graph.node[0].metadata_props.add(key="level", value="node")
    model.graph.node[0].metadata_props.add(key="eapc.energy_mac_units", value="stale")
    model.opset_import.add(domain="unused", version=3)
    return model


def training_model() -> ModelProto:
    """Training information and quantization annotations."""
    model = conv_model()
    training = model.training_info.add()
    training.algorithm.CopyFrom(make_graph([op("Neg", "a", "b")], {"a": (1,)}, ["b"]))
    training.update_binding.add(key="w", value="b")
    note = model.graph.quantization_annotation.add(tensor_name="y")
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="s")
    return model


def device_model() -> ModelProto:
    """Sharding over devices, in the model and on a node (IR 11)."""
    model = conv_model()
    model.ir_version = 11
    configuration = model.configuration.add(name="pair", num_devices=2)
    configuration.device.extend(["a", "b"])
    place = model.graph.node[0].device_configurations.add(configuration_id="pair")
    place.pipeline_stage = 1
    return model


def strange_tensors() -> ModelProto:
    """Sparse, 4-bit, string, empty and complex tensors, unused ones, typed fields."""
    model = conv_model()
    tensors = [
        helper.make_tensor("packed", TensorProto.INT4, [3], [1, -2, 3]),
        numpy_helper.from_array(np.array(["a", "ä"], object), "words"),
        helper.make_tensor("empty", TensorProto.FLOAT, [0, 3], []),
        numpy_helper.from_array(np.array([1 + 2j], np.complex64), "phase"),
        helper.make_tensor("typed", TensorProto.FLOAT, [2], [1.0, -0.0]),
        numpy_helper.from_array(np.array([np.nan, -np.inf], np.float32), "nan"),
    ]
    model.graph.initializer.extend(tensors)
    model.graph.sparse_initializer.append(sparse("s", [4], [1, 3]))
    return model


def function_model() -> ModelProto:
    """A local function, of another domain."""
    model = make_model([op("Twice", "x", "y", domain="local")], {"x": (2,)}, [value("y", (2,))])
    body = [op("Add", "a a", "b")]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "Twice", ["a"], ["b"], body, opsets))
    return model


def nested_model() -> ModelProto:
    """An If within an If that captures outer tensors; nodes without names; a sequence."""
    inner = make_graph([op("Add", "x w", "a")], {}, ["a"])
    other = make_graph([op("Neg", "x", "b"), constant_node("dead", ints(1))], {}, ["b"])
    nested = op("If", "flag", "c", then_branch=inner, else_branch=other)
    outer = make_graph([nested], {}, ["c"])
    plain = make_graph([op("Identity", "x", "d")], {}, ["d"])
    nodes = [
        op("If", "flag", "y", then_branch=outer, else_branch=plain),
        op("SequenceConstruct", "y y", "list"),
    ]
    inputs = [value("x", (2,)), value("flag", [], TensorProto.BOOL)]
    sequence = helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, [2])
    return make_model(nodes, inputs, [value("y", (2,)), sequence], {"w": normal((2,))})


AWKWARD = [
    old_model,
    described_model,
    training_model,
    device_model,
    strange_tensors,
    function_model,
    nested_model,
]


@pytest.mark.parametrize("build", AWKWARD, ids=lambda build: build.__name__)
def test_awkward_models_stay_bit_for_bit(build: object, tmp_path: Path) -> None:
    assert callable(build)
    path = save(build(), tmp_path / "m.onnx")
    assert_lossless(path, tmp_path / "out.onnx")


@pytest.mark.parametrize("ir_version", range(3, 11))
def test_annotated_models_are_valid_and_run(ir_version: int, tmp_path: Path) -> None:
    proto = old_model()
    proto.ir_version = ir_version
    Model.from_proto(proto).with_annotations({"conv": ANNOTATION}).save(tmp_path / "out.onnx")
    onnx.checker.check_model(tmp_path / "out.onnx", full_check=True)
    content = (tmp_path / "out.onnx").read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    x = normal((1, 4, 8, 8))
    assert session.run(None, {"x": x})[0].shape == (1, 6, 6, 6)


def test_saving_without_changes_gives_the_same_message(tmp_path: Path) -> None:
    path = save(described_model(), tmp_path / "m.onnx")
    Model.load(path).save(tmp_path / "out.onnx")
    assert Model.load(tmp_path / "out.onnx").to_proto() == described_model()


def test_fields_of_a_newer_onnx_are_kept(tmp_path: Path) -> None:
    unknown = bytes([0xFA, 0x3E, 0x03]) + b"new"  # field 999, three bytes
    path = tmp_path / "m.onnx"
    path.write_bytes(conv_model().SerializeToString() + unknown)
    model = Model.load(path)
    model.with_annotations({"conv": ANNOTATION}).save(tmp_path / "out.onnx")
    assert unknown in (tmp_path / "out.onnx").read_bytes()


# --- annotations -----------------------------------------------------------------------------


def test_old_annotations_are_replaced_and_others_kept(tmp_path: Path) -> None:
    model = Model.load(save(described_model(), tmp_path / "m.onnx"))
    proto = model.with_annotations({"Conv_0": {"eapc.macs": "1"}}).to_proto()
    entries = [(entry.key, entry.value) for entry in proto.graph.node[0].metadata_props]
    assert entries == [("level", "node"), ("eapc.macs", "1")]
    assert model.view.proto == described_model()


def test_nodes_of_subgraphs_are_annotated(tmp_path: Path) -> None:
    model = Model.load(save(nested_model(), tmp_path / "m.onnx"))
    key = "y/then_branch/c/else_branch/b"
    proto = model.with_annotations({key: ANNOTATION}).to_proto()
    marked = [node.output[0] for node in all_nodes(proto.graph) if node.metadata_props]
    assert marked == ["b"]


# --- weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_weights_keep_the_type_of_the_file(kind: type[np.generic], tmp_path: Path) -> None:
    tensors = {"w": normal((4, 2)).astype(kind), "other": normal((3,))}
    typed = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    model = make_model([op("MatMul", "x w", "y")], [value("x", (1, 4), typed)], ["y"], tensors)
    new = normal((4, 2), 5)
    changed = Model.from_proto(model).with_weights({"w": new})
    found = changed.constants.value("w")
    assert found is not None
    assert found.dtype == np.dtype(kind)
    assert np.array_equal(found, new.astype(kind))
    changed.save(tmp_path / "out.onnx")
    written = onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(written)
    assert np.array_equal(numpy_helper.to_array(written.graph.initializer[0]), new.astype(kind))
    assert written.graph.initializer[1] == model.graph.initializer[1]


def test_weights_of_a_constant_node(tmp_path: Path) -> None:
    nodes = [constant_node("w", normal((4, 2)), "weights"), op("MatMul", "x w", "y")]
    model = Model.from_proto(make_model(nodes, {"x": (1, 4)}, ["y"]))
    new = np.eye(4, 2, dtype=np.float32)
    changed = model.with_weights({"w": new})
    changed.save(tmp_path / "out.onnx")
    written = onnx.load(tmp_path / "out.onnx").graph
    assert [node.op_type for node in written.node] == ["Constant", "MatMul"]
    assert np.array_equal(numpy_helper.to_array(written.node[0].attribute[0].t), new)
    assert changed.node_proto(changed.nodes[0]) == written.node[0]
    assert model.node_proto(model.nodes[0]) == nodes[0]


def test_the_order_of_initializers_is_kept() -> None:
    model = chain(["Conv", "BatchNormalization", "Conv", "Flatten", "Gemm"])
    names = [tensor.name for tensor in model.graph.initializer]
    loaded = Model.from_proto(model).with_weights({"Conv_2.weight": normal((8, 8, 3, 3), 3)})
    assert [tensor.name for tensor in loaded.to_proto().graph.initializer] == names


def test_new_weights_lie_over_older_ones() -> None:
    model = Model.from_proto(gemm_model())
    first, second = normal((4, 10), 5), normal((4,), 6)
    changed = model.with_weights({"w": first}).with_weights({"b": second})
    assert np.array_equal(changed.weights["w"], first)
    assert np.array_equal(changed.weights["b"], second)
    assert not model.weights
    assert not changed.original.weights


def test_weights_that_do_not_fit_are_refused() -> None:
    model = Model.from_proto(gemm_model())
    with pytest.raises(ModelError, match=r"tensor 'w': shape \(2, 2\) does not fit \(4, 10\)"):
        model.with_weights({"w": normal((2, 2))})
    with pytest.raises(ModelError, match="tensor 'none'"):
        model.with_weights({"none": normal((2, 2))})


def test_the_input_model_is_never_changed(tmp_path: Path) -> None:
    path = save(gemm_model(), tmp_path / "m.onnx")
    content = path.read_bytes()
    model = Model.load(path)
    changed = model.with_weights({"w": normal((4, 10), 5)}).with_annotations({"gemm": ANNOTATION})
    changed.save(tmp_path / "out.onnx")
    assert model.view.proto == gemm_model()
    assert path.read_bytes() == content


# --- what passes ask of a model --------------------------------------------------------------


def test_constants_are_initializers_and_constant_nodes() -> None:
    nodes = [constant_node("c", ints(1, 2, 3)), op("Add", "x w", "y")]
    model = Model.from_proto(make_model(nodes, {"x": (2,)}, ["y"], {"w": normal((2,))}))
    assert model.constants.shape("c") == (3,)
    assert model.constants.shape("w") == (2,)
    assert model.constants.shape("x") is None
    assert model.constants.value("y") is None
    found = model.constants.value("c")
    assert found is not None
    assert found.tolist() == [1, 2, 3]


def test_inputs_leave_initializers_out() -> None:
    model = Model.from_proto(old_model())
    assert [spec.name for spec in model.inputs] == ["x"]
    assert model.outputs == ("y",)


def test_an_input_of_unknown_rank_is_refused() -> None:
    model = make_model([op("Relu", "x", "y")], [value("x", None)], [value("y", None)])
    with pytest.raises(ModelError, match="input 'x' is not a tensor of known rank"):
        _ = Model.from_proto(model).inputs


def test_names_of_models(tmp_path: Path) -> None:
    path = save(gemm_model(), tmp_path / "m.onnx")
    assert Model.load(path).name == "m.onnx"
    assert Model.from_proto(gemm_model()).name == "graph"
    assert Model.load(path).folder == tmp_path


def test_embedding_brings_external_data_in(tmp_path: Path) -> None:
    onnx.save(
        gemm_model(), tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0,
        location="m.data",
    )  # fmt: skip
    model = Model.load(tmp_path / "m.onnx")
    onnx.checker.check_model(model.to_proto(embed=True), full_check=True)
    assert not any(map(is_external, model.to_proto(embed=True).graph.initializer))
    embedded = {tensor.name: tensor for tensor in model.initializers(["w", "x", "b"])}
    assert list(embedded) == ["w", "b"]
    assert np.array_equal(numpy_helper.to_array(embedded["w"]), normal((4, 10)))
    assert all(map(is_external, model.view.proto.graph.initializer))
