"""Graphs are edited in place: constants by reader, nodes and whole graphs in and out."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from builders import Array, ints, make_graph, make_model, normal, op, scalar, value
from onnx import GraphProto, ModelProto, helper, numpy_helper

from eapc.model import GraphEditor, walk

X = normal((1, 3), 5)


def model_of(**tensors: Array) -> ModelProto:
    """y = x a + a, of which both nodes read a."""
    nodes = [op("Mul", "x a", "m", "mul"), op("Add", "m a", "y", "add")]
    return make_model(nodes, {"x": (1, 3)}, ["y"], {"a": normal((3,), 1), **tensors})


def result(model: ModelProto) -> Array:
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString())
    found: Array = session.run(None, {"x": X})[0]
    return found


def constants_in(model: ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


# --- constants -------------------------------------------------------------------------------


def test_a_constant_gets_a_new_value_of_another_shape() -> None:
    model = model_of()
    editor = GraphEditor(model)
    editor.replace_constant("a", scalar(2.0))
    assert constants_in(model)["a"].shape == (3,)
    editor.finish()
    assert editor.written == [("a", "a", "")]
    np.testing.assert_allclose(result(model), X * 2 + 2, rtol=1e-6)


def test_readers_that_want_other_values_get_constants_of_their_own() -> None:
    model = model_of()
    editor = GraphEditor(model)
    editor.replace_constant("a", scalar(2.0), reader="mul")
    editor.finish()
    assert editor.written == [("a@mul", "a", "mul")]
    np.testing.assert_allclose(result(model), X * 2 + normal((3,), 1), rtol=1e-6)


def test_readers_that_want_the_same_go_on_sharing_it() -> None:
    model = model_of()
    editor = GraphEditor(model)
    for reader in ("mul", "add"):
        editor.replace_constant("a", scalar(3.0), reader)
    editor.finish()
    assert constants_in(model).keys() == {"a"}
    np.testing.assert_allclose(result(model), X * 3 + 3, rtol=1e-6)


def test_what_the_user_sees_keeps_its_value() -> None:
    model = model_of()
    model.graph.output.append(value("a", (3,)))
    editor = GraphEditor(model)
    for reader in ("mul", "add"):
        editor.replace_constant("a", scalar(3.0), reader)
    editor.finish()
    np.testing.assert_array_equal(constants_in(model)["a"], normal((3,), 1))
    np.testing.assert_allclose(result(model), X * 3 + 3, rtol=1e-6)


@pytest.mark.parametrize("ir_version", [3, 8])
def test_a_constant_is_declared_where_it_must_be(ir_version: int) -> None:
    model = model_of()
    model.ir_version = ir_version
    editor = GraphEditor(model)
    assert [editor.add_constant("a", ints(1)), editor.add_constant("m", ints(2))] == ["a_", "m_"]
    declared = {each.name for each in model.graph.input}
    assert declared == ({"x", "a_", "m_"} if ir_version == 3 else {"x"})


def test_numbers_of_attributes() -> None:
    node = op("Split", "x", "p y", "split", axis=1, split=[1, 2])
    model = make_model([node], {"x": (1, 3)}, ["y"], opset=11)
    editor = GraphEditor(model)
    for index, number in enumerate((2, 1)):
        editor.set_number("split", "split", index, number)
    editor.set_number("split", "axis", 0, -1)
    found = {each.name: helper.get_attribute_value(each) for each in model.graph.node[0].attribute}
    assert found == {"axis": -1, "split": [2, 1]}


# --- nodes -----------------------------------------------------------------------------------


def test_a_node_goes_in_front_of_another() -> None:
    model = model_of()
    editor = GraphEditor(model)
    add = editor.node("add")
    editor.insert(op("Neg", "m", "n"), before=add)
    editor.rewire(add, 0, "n")
    np.testing.assert_allclose(result(model), normal((3,), 1) * (1 - X), rtol=1e-6)


@pytest.mark.parametrize("shown", [True, False], ids=["shown", "inside"])
def test_a_node_is_bypassed_with_whatever_was_there_for_it_alone(shown: bool) -> None:
    """r = x + (x k); y = relu(r): without the branch, relu(x)."""
    nodes = [op("Mul", "x k", "b", "branch"), op("Add", "x b", "r", "add"), op("Relu", "r", "y")]
    outputs = ["y", "r"] if shown else ["y"]
    model = make_model(nodes, {"x": (1, 3)}, outputs, {"k": normal((3,), 1)})
    model.graph.value_info.append(value("b", (1, 3)))
    editor = GraphEditor(model)
    editor.bypass(editor.node("add"), "x")
    editor.drop_unused()
    assert ("branch" in editor, "add" in editor, "y" in editor) == (False, shown, True)
    assert not constants_in(model)
    assert not model.graph.value_info
    np.testing.assert_array_equal(result(model), np.maximum(X, 0))


def test_what_others_read_stays() -> None:
    model = model_of()
    editor = GraphEditor(model)
    editor.rewire(editor.node("add"), 1, "x")
    editor.drop_unused()
    assert constants_in(model).keys() == {"a"}
    editor.rewire(editor.node("mul"), 1, "x")
    editor.drop_unused()
    assert not constants_in(model)
    np.testing.assert_allclose(result(model), X * X + X, rtol=1e-6)


def test_declarations_go_with_their_constants() -> None:
    model = model_of()
    model.ir_version = 3
    model.graph.input.append(value("a", (3,)))
    editor = GraphEditor(model)
    editor.bypass(editor.node("mul"), "x")
    editor.rewire(editor.node("add"), 1, "x")
    editor.drop_unused()
    assert [each.name for each in model.graph.input] == ["x"]


# --- graphs ----------------------------------------------------------------------------------


def small_graph() -> GraphProto:
    """What the other model calls m is a sum here; an If looks at it and at k."""
    yes = make_graph([op("Mul", "m k", "t")], {}, [value("t", None)], name="yes")
    no = make_graph([op("Identity", "m", "e")], {}, [value("e", None)], name="no")
    nodes = [
        op("Add", "x k", "m", "mul"),
        op("If", "c", "y", "choice", then_branch=yes, else_branch=no),
    ]
    tensors = {"k": normal((3,), 2), "c": np.array(True)}
    return make_graph(nodes, {"x": (1, 3)}, ["y"], tensors)


def test_a_graph_goes_into_another_whose_names_it_shares() -> None:
    """y = s(x) a + a, then with what s makes of that in place of the product."""
    model, a, k = model_of(), normal((3,), 1), normal((3,), 2)
    editor = GraphEditor(model)
    for prefix, node, tensor in (("s/", "mul", "x"), ("s/", "add", "m")):
        (made,) = editor.splice(small_graph(), prefix, {"x": tensor}, before=editor.node(node))
        editor.rewire(editor.node(node), 0, made)
    wanted = ((X + k) * k * a + k) * k + a
    np.testing.assert_allclose(result(model), wanted, rtol=1e-5)
    keys = [node.key for node, _ in walk(model.graph)]
    assert keys[:2] == ["s/mul", "s/choice"]
    assert "s/_mul" in keys


def test_an_input_without_a_tensor_is_named() -> None:
    editor = GraphEditor(model_of())
    with pytest.raises(KeyError, match="x"):
        editor.splice(small_graph(), "s/", {}, before=editor.node("mul"))
