"""What is constant in a graph, what its value is, and how new values are written into the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from builders import (
    Array,
    constant_node,
    ints,
    loaded,
    make_graph,
    make_model,
    normal,
    op,
    replaceable,
    scalar,
    value,
)
from constant_builders import KINDS, folded_normalization, sparse_initializer, sparse_of
from onnx import ModelProto, TensorProto, helper

from eapc.errors import ModelError
from eapc.model import Model, constants, evaluate_node


def outputs(model: ModelProto) -> Array:
    session = ort.InferenceSession(model.SerializeToString())
    found: Array = session.run(None, {"x": normal((2, 3, 8, 8), 9)})[0]
    return found


def model_of(kind: str) -> tuple[Model, Model]:
    file, plain = KINDS[kind]()
    return Model.from_proto(file), Model.from_proto(plain)


# --- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_constants_of_every_kind_are_those_of_the_dense_twin(kind: str) -> None:
    model, plain = model_of(kind)
    for name in ("w", "b", "w2"):
        wanted = plain.constants[name]
        assert name in model.constants
        assert model.constants.shape(name) == wanted.shape
        assert model.constants.dtype(name) == wanted.dtype
        np.testing.assert_allclose(model.constants[name], wanted, rtol=1e-5)
        assert np.count_nonzero(model.constants[name]) == np.count_nonzero(wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_the_twins_compute_the_same(kind: str) -> None:
    file, plain = KINDS[kind]()
    np.testing.assert_allclose(outputs(file), outputs(plain), rtol=1e-4, atol=1e-5)


def test_sparse_indices_may_be_given_by_axis() -> None:
    wanted = np.array([[0, 2, 0], [3, 0, 4]], np.float32)
    for by_axis in (False, True):
        node = op("Constant", "", "w", sparse_value=sparse_of(wanted, by_axis=by_axis))
        model = loaded([node, op("MatMul", "x w", "y")], {"x": (1, 2)}, [value("y", (1, 3))])
        assert np.array_equal(model.constants["w"], wanted)


@pytest.mark.parametrize("form", ["value_int", "value_ints", "value_float", "value_floats"])
def test_numbers_of_a_constant_node(form: str) -> None:
    kind = np.int64 if "int" in form else np.float32
    one = 2 if kind is np.int64 else 2.0
    number = [one] if form.endswith("s") else one
    node = helper.make_node("Constant", [], ["c"])
    node.attribute.append(helper.make_attribute(form, number))
    model = loaded([node, op("Relu", "x", "y")], {"x": (1,)}, ["y"])
    assert model.constants["c"].dtype == kind
    assert model.constants.shape("c") == np.shape(number)
    assert model.constants.scalar("c") == 2


def test_what_depends_on_inputs_is_no_constant() -> None:
    nodes = [op("Mul", "x w", "a"), op("RandomNormal", "", "r", shape=[2]), op("Add", "a r", "y")]
    model = loaded(nodes, {"x": (2,)}, ["y"], {"w": normal((2,))})
    for name in ("x", "a", "r", "y", "", "none"):
        assert name not in model.constants
        assert model.constants.value(name) is None
        assert model.constants.shape(name) is None
        assert model.constants.scalar(name) is None
        with pytest.raises(KeyError):
            model.constants[name]


def test_what_a_caller_may_replace_is_not_computed_with() -> None:
    nodes = [op("Mul", "w w", "s"), op("Add", "x s", "y")]
    model = make_model(nodes, {"x": (2,)}, ["y"], {"w": normal((2,))})
    assert "s" in Model.from_proto(model).constants
    assert "s" not in Model.from_proto(replaceable(model)).constants


def test_one_element_of_any_rank_is_a_number() -> None:
    given = {"a": scalar(3), "b": ints(4), "c": np.full((1, 1, 1), 5, np.float16), "d": ints(1, 2)}
    model = loaded([op("Relu", "x", "y")], {"x": (1,)}, ["y"], given)
    assert [model.constants.scalar(name) for name in "abcd"] == [3, 4, 5, None]


def test_constants_by_scope() -> None:
    deep = make_graph(
        [constant_node("c2", ints(2)), op("Mul", "c2 c1", "d")], {}, ["d"], {"i2": ints(3)}
    )
    plain = make_graph([op("Neg", "x", "p")], {}, ["p"])
    nested = helper.make_node("If", ["flag"], ["", "t"], then_branch=deep, else_branch=plain)
    then = make_graph([constant_node("c1", ints(5)), nested], {}, ["t"])
    other = make_graph([op("Neg", "x", "e")], {}, ["e"])
    nodes = [op("If", "flag", "y", name="if", then_branch=then, else_branch=other)]
    inputs = [value("x", (2,)), value("flag", [], TensorProto.BOOL)]
    model = Model.from_proto(make_model(nodes, inputs, [value("y", (2,))], {"w": normal((2,))}))
    names = {scope: sorted(model.constants.within(scope).stored) for scope in SCOPES}
    assert names == SCOPES
    assert model.constants.within("if/then_branch/t/then_branch/").value("d") == [10]
    assert model.constants.within("if/then_branch/").value("d") is None


SCOPES = {
    "": ["w"],
    "if/then_branch/": ["c1", "w"],
    "if/else_branch/": ["w"],
    "if/then_branch/t/then_branch/": ["c1", "c2", "i2", "w"],
    "if/then_branch/t/else_branch/": ["c1", "w"],
}


# --- cost ------------------------------------------------------------------------------------


def test_arithmetic_is_done_once_for_all_models_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = model_of("folded_normalization")
    calls = []

    def noting(*given: Any) -> Array | None:
        calls.append(given)
        return evaluate_node(*given)

    monkeypatch.setattr(constants, "evaluate_node", noting)
    assert "w" in model.constants
    assert not calls
    first = model.constants["w"]
    assert len(calls) == 5
    changed = model.with_weights({"w2": np.zeros((4, 6, 1, 1), np.float32)})
    assert changed.constants["w"] is first
    assert changed.constants["b"] is model.constants["b"]
    assert len(calls) == 8


def test_new_values_go_into_what_is_computed_of_them() -> None:
    model, _ = model_of("folded_normalization")
    before = model.constants["w"]
    zero = model.with_weights({"v": np.zeros((6, 3, 3, 3), np.float32)})
    assert not zero.constants["w"].any()
    assert np.array_equal(model.constants["w"], before)


def test_a_long_chain_is_no_recursion() -> None:
    count = 3000
    nodes = [op("Identity", f"t{i}", f"t{i + 1}") for i in range(count)]
    nodes.append(op("Add", f"x t{count}", "y"))
    model = loaded(nodes, {"x": (2,)}, ["y"], {"t0": normal((2,))})
    assert f"t{count}" in model.constants
    assert np.array_equal(model.constants[f"t{count}"], normal((2,)))


def test_external_data_is_read_for_values_alone(tmp_path: Path) -> None:
    proto = make_model([op("MatMul", "x w", "y")], {"x": (1, 40)}, ["y"], {"w": normal((40, 30))})
    file, data = tmp_path / "m.onnx", tmp_path / "data"
    onnx.save(proto, file, save_as_external_data=True, location="data", size_threshold=0)
    model = Model.load(file)
    data.unlink()
    assert "w" in model.constants
    assert model.constants.shape("w") == (40, 30)
    assert model.constants.dtype("w") == np.float32


# --- writing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_new_values_of_every_kind_are_written_plain(kind: str) -> None:
    model, plain = model_of(kind)
    names = ("t", "b") if kind == "arithmetic_behind_a_view" else ("w", "b")
    new = {name: normal(model.constants.shape(name) or (), 11) for name in names}
    written = model.with_weights(new).to_proto()
    onnx.checker.check_model(written)
    again = Model.from_proto(written)
    for name in names:
        assert np.array_equal(again.constants[name], new[name])
        assert name in again.constants.plain
    w = new["t"].transpose(3, 0, 1, 2) if "t" in new else new["w"]
    twin = plain.with_weights({"w": w, "b": new["b"]})
    np.testing.assert_allclose(outputs(written), outputs(twin.to_proto()), rtol=1e-4, atol=1e-5)
    assert [node.op_type for node in again.nodes if node.op_type in ("Conv", "Relu")] == [
        "Conv",
        "Relu",
        "Conv",
    ]


def test_what_nothing_reads_any_more_is_dropped() -> None:
    file, _ = folded_normalization()
    file.graph.initializer.append(onnx.numpy_helper.from_array(ints(7), "unread before"))
    model = Model.from_proto(file)
    written = model.with_weights({"w": np.ones((6, 3, 3, 3), np.float32)}).to_proto().graph
    names = {tensor.name for tensor in written.initializer}
    assert names == {"w2", "first", "gamma", "beta", "mean", "var", "eps", "unread before"}
    assert [node.op_type for node in written.node][:3] == ["Add", "Sqrt", "Div"]
    assert {"column", "w"} & {out for node in written.node for out in node.output} == {"w"}
    (product,) = (node for node in written.node if node.name == "product")
    assert product.op_type == "Constant"
    kept = [node for node in file.graph.node if node.output[0] not in ("w", "column")]
    assert [node for node in written.node if node.name != "product"] == kept


def test_constants_that_others_read_too_stay() -> None:
    nodes = [op("Mul", "v v", "w"), op("MatMul", "x w", "a"), op("MatMul", "a v", "y")]
    model = loaded(nodes, {"x": (1, 4)}, ["y"], {"v": normal((4, 4))})
    written = model.with_weights({"w": np.ones((4, 4), np.float32)}).to_proto()
    assert [tensor.name for tensor in written.graph.initializer] == ["v"]


def test_a_sparse_initializer_becomes_an_ordinary_one() -> None:
    file, _ = sparse_initializer()
    model = Model.from_proto(file)
    new = np.ones((6, 3, 3, 3), np.float32)
    written = model.with_weights({"w": new}).to_proto().graph
    assert not written.sparse_initializer
    assert [tensor.name for tensor in written.initializer] == ["w2", "b", "w"]
    assert model.to_proto() == file


def test_plain_constants_on_demand() -> None:
    model, twin = model_of("weight_normalization")
    plain = model.with_plain(["w", "b", "x"])
    np.testing.assert_allclose(plain.constants["w"], twin.constants["w"], rtol=1e-5)
    assert [node.op_type for node in plain.nodes] == ["Constant", "Conv", "Relu", "Conv"]
    assert twin.with_plain(["w", "b", "x"]) is twin


@pytest.mark.parametrize(
    ("node", "tensors"),
    [
        (op("Transpose", "v", "w", "view", perm=[0, 2, 1]), {}),
        (op("Reshape", "v s", "w", "view"), {"s": ints(3, 3)}),
        (op("Reshape", "v s", "w", "view"), {"s": ints(4, 2, 0)}),
    ],
    ids=["rank", "elements", "axis"],
)
def test_a_view_that_does_not_suit_its_constant(
    node: onnx.NodeProto, tensors: dict[str, Any]
) -> None:
    nodes = [node, op("MatMul", "x w", "y")]
    model = loaded(nodes, {"x": ("N", 4)}, [value("y", None)], {"v": normal((4, 2)), **tensors})
    with pytest.raises(ModelError, match=r"'view' does not suit a constant of shape \(4, 2\)"):
        model.constants.view_of(model.nodes[0], model.constants["v"])
