"""The graph to navigate: keys of nodes, producers and consumers, constants by scope."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from builders import (
    chain,
    conv_model,
    make_graph,
    make_model,
    normal,
    op,
    replaceable,
    value,
)
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from eapc.model import GraphView, Model, Node, free_names, walk


def keys(nodes: list[NodeProto]) -> list[str]:
    graph = make_graph(nodes, {"x": (1,)}, [nodes[-1].output[0]])
    return [node.key for node, _ in walk(graph)]


def view_of(model: ModelProto) -> GraphView:
    return GraphView(model)


def branching(then: GraphProto, other: GraphProto, name: str = "") -> ModelProto:
    """x and flag into an If called `name`, whose output y is doubled into z."""
    nodes = [
        op("If", "flag", "y", name=name, then_branch=then, else_branch=other),
        op("Add", "y y", "z"),
    ]
    inputs = [value("x", (2,)), value("flag", [], TensorProto.BOOL)]
    return make_model(nodes, inputs, [value("z", (2,))], {"w": normal((2,))})


# --- keys ------------------------------------------------------------------------------------


def test_a_key_is_the_name_where_there_is_one() -> None:
    assert keys([op("Relu", "x", "a", name="first"), op("Relu", "a", "b")]) == ["first", "b"]


def test_duplicated_names_give_way_to_outputs() -> None:
    nodes = [op("Relu", "x", "a", name="n"), op("Relu", "a", "b", name="n")]
    assert keys(nodes) == ["a", "b"]


def test_the_first_output_that_is_not_empty_counts() -> None:
    node = helper.make_node("LSTM", ["x", "w", "r"], ["", "h"])
    assert keys([node]) == ["h"]


def test_a_name_that_is_another_nodes_output_stays_unique() -> None:
    nodes = [op("Relu", "x", "a"), op("Relu", "a", "b", name="a"), op("Relu", "b", "c", name="a_")]
    assert len(set(keys(nodes))) == 3


def test_a_node_without_outputs_has_a_key() -> None:
    graph = make_graph([op("Relu", "x", "y"), op("Print", "y", "", domain="local")], {}, ["y"])
    assert [node.key for node, _ in walk(graph)] == ["y", "node_1"]


def test_keys_in_subgraphs_follow_the_enclosing_node() -> None:
    then = make_graph([op("Neg", "x", "t", name="neg")], {}, ["t"])
    other = make_graph([op("Abs", "x", "e")], {}, ["e"])
    view = view_of(branching(then, other, name="choice"))
    expected = ["choice", "choice/else_branch/e", "choice/then_branch/neg", "z"]
    assert [node.key for node in view.nodes] == expected
    assert [node.key for node in view.main_nodes] == ["choice", "z"]
    assert view.node("choice").subgraphs == ("choice/else_branch/", "choice/then_branch/")
    assert view.node("choice/else_branch/e").scope == "choice/else_branch/"
    assert view.node_proto(view.node("choice/then_branch/neg")).op_type == "Neg"


def test_a_main_node_named_like_an_inner_key_stays_unique() -> None:
    then = make_graph([op("Neg", "x", "t", name="neg")], {}, ["t"])
    other = make_graph([op("Abs", "x", "e")], {}, ["e"])
    model = branching(then, other, name="choice")
    model.graph.node[1].name = "choice/then_branch/neg"
    found = [node.key for node in view_of(model).nodes]
    assert len(set(found)) == len(found) == 4


def test_a_list_of_graphs_is_numbered() -> None:
    graphs = [make_graph([op("Neg", "x", f"t{i}")], {}, [f"t{i}"]) for i in range(2)]
    node = op("Cases", "x", "y", name="n", domain="local", cases=graphs)
    graph = make_graph([node], {"x": (1,)}, ["y"])
    assert [node.key for node, _ in walk(graph)] == ["n", "n/cases0/t0", "n/cases1/t1"]


# --- nodes -----------------------------------------------------------------------------------


def test_what_a_node_tells() -> None:
    node = view_of(conv_model(bias=True, pads=[1, 1, 1, 1], auto_pad="NOTSET")).nodes[0]
    assert (node.op_type, node.domain, node.inputs) == ("Conv", "", ("x", "w", "b"))
    assert node.attribute("pads", None) == [1, 1, 1, 1]
    assert node.attribute("auto_pad", "") == "NOTSET"
    assert node.attribute("strides", [1, 1]) == [1, 1]
    assert (node.input(1), node.input(7)) == ("w", "")
    with pytest.raises(TypeError):
        node.attributes["pads"] = []  # type: ignore[index]


def test_the_default_domain_has_two_names() -> None:
    graph = make_graph([op("Relu", "x", "y", domain="ai.onnx")], {"x": (1,)}, ["y"])
    assert next(walk(graph))[0].domain == ""


# --- who writes and who reads ----------------------------------------------------------------


def named(nodes: tuple[Node, ...]) -> list[str]:
    return [node.key for node in nodes]


def test_producers_and_consumers() -> None:
    view = view_of(chain(["Conv", "Relu", "Flatten", "Gemm"]))
    producer = view.producer("Relu_1_out")
    assert producer is not None
    assert producer.key == "Relu_1"
    assert named(view.consumers("Relu_1_out")) == ["Flatten_2"]
    assert view.producer("x") is None
    assert view.producer("Conv_0.weight") is None
    assert view.producer("none") is None
    assert named(view.consumers("Conv_0.weight")) == ["Conv_0"]
    assert view.consumers("y") == ()


def test_a_reader_counts_once() -> None:
    nodes = [op("Relu", "x", "a"), op("Add", "a a", "b"), op("Mul", "a b", "y")]
    view = view_of(make_model(nodes, {"x": (2,)}, ["y"]))
    assert named(view.consumers("a")) == ["b", "y"]


def test_an_input_left_out_has_no_readers() -> None:
    nodes = [op("Clip", "x - high", "y")]
    view = view_of(make_model(nodes, {"x": (2,)}, ["y"], {"high": normal(())}))
    assert view.consumers("") == ()


def test_tensors_captured_by_subgraphs_are_read_by_their_holder() -> None:
    deep = make_graph([op("Add", "a w", "d")], {}, ["d"])
    plain = make_graph([op("Identity", "a", "p")], {}, ["p"])
    nodes = [
        op("Neg", "x", "own"),
        op("If", "flag", "i", then_branch=deep, else_branch=plain),
        op("Add", "i own", "t"),
    ]
    then = make_graph(nodes, {}, ["t"])
    other = make_graph([op("Identity", "a", "e")], {}, ["e"])
    model = branching(then, other, name="choice")
    model.graph.node.insert(0, op("Relu", "x", "a", name="relu"))
    view = view_of(model)
    assert named(view.consumers("a")) == ["choice"]
    assert named(view.consumers("w")) == ["choice"]
    assert named(view.consumers("x")) == ["relu", "choice"]
    assert set(view.dependencies(view.node("choice"))) == {"a", "flag", "w", "x"}
    assert free_names(then) == {"a", "flag", "w", "x"}


def test_a_loop_has_inputs_of_its_own() -> None:
    body = make_graph(
        [op("Add", "state w", "next"), op("Identity", "going", "still")],
        [
            value("i", [], TensorProto.INT64),
            value("going", [], TensorProto.BOOL),
            value("state", (2,)),
        ],
        ["still", "next"],
    )
    assert free_names(body) == {"w"}


def test_tensors_that_graph_libraries_cannot_read() -> None:
    model = chain(["Conv", "Relu"])
    packed = helper.make_tensor("packed", TensorProto.INT4, [3], [1, -2, 3])
    words = numpy_helper.from_array(np.array(["a"], object), "words")
    model.graph.initializer.extend([packed, words])
    model.graph.node.append(op("DequantizeLinear", "packed scale", "q"))
    model.graph.initializer.append(helper.make_tensor("scale", TensorProto.FLOAT, [], [1.0]))
    producer = view_of(model).producer("y")
    assert producer is not None
    assert producer.key == "Relu_1"


# --- constants -------------------------------------------------------------------------------


def test_only_the_tensor_form_of_a_constant_node_holds_weights() -> None:
    numbers = op("Constant", "", "c", value_ints=[1, 2])
    model = make_model([numbers, op("Reshape", "x c", "y")], {"x": (2,)}, ["y"])
    assert not Model.from_proto(model).constants.plain


def test_the_surgeon_view_matches_the_nodes() -> None:
    model = chain(["Conv", "Relu", "Flatten", "Gemm"])
    view = view_of(model)
    assert [node.op for node in view.surgeon.nodes] == [node.op_type for node in view.nodes]
    assert onnx.ModelProto.FromString(view.proto.SerializeToString()) == model


def test_initializers_that_are_inputs_may_be_replaced_from_ir_4_on() -> None:
    nodes = [op("Add", "x a", "b"), op("Add", "b c", "y")]
    model = make_model(nodes, {"x": (2,)}, ["y"], {"a": normal((2,))})
    replaceable(model)
    model.graph.initializer.append(numpy_helper.from_array(normal((2,)), "c"))
    view = view_of(model)
    assert view.replaceable == {"a"}
    assert [spec.name for spec in view.inputs] == ["x"]
    model.ir_version = 3
    assert view_of(model).replaceable == frozenset()
