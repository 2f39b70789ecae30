"""Graphs that no runtime could take: each is refused in one line that names where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import (
    chain,
    constant_node,
    conv_model,
    make_graph,
    make_model,
    normal,
    op,
    save,
    scalar,
)
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from eapc.errors import ModelError
from eapc.model import Model


def refusal(proto: ModelProto, folder: Path) -> str:
    path = save(proto, folder / "m.onnx")
    with pytest.raises(ModelError) as caught:
        Model.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def small(*nodes: NodeProto, output: str = "y") -> ModelProto:
    """x (1, 8) and w (8, 8) to `output`, as typed."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    weights = [numpy_helper.from_array(normal((8, 8)), "w")]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def two_initializers() -> ModelProto:
    model = small(op("MatMul", "x w", "y"))
    model.graph.initializer.append(numpy_helper.from_array(normal((8, 8), 1), "w"))
    return model


def two_inputs() -> ModelProto:
    model = small(op("MatMul", "x w", "y"))
    model.graph.input.append(model.graph.input[0])
    return model


NAMES: dict[str, tuple[Callable[[], ModelProto], str]] = {
    "two initializers": (two_initializers, "two initializers are called 'w'"),
    "two inputs": (two_inputs, "two inputs are called 'x'"),
    "written twice": (
        lambda: small(op("MatMul", "x w", "y"), op("Relu", "x", "y", "r")),
        "tensor 'y' that Relu 'r' writes has been written or given before",
    ),
    "written over an initializer": (
        lambda: small(op("Relu", "x", "w"), op("MatMul", "x w", "y")),
        "tensor 'w' that Relu 'w' writes has been written or given before",
    ),
    "read but not written": (
        lambda: small(op("MatMul", "q w", "y", "m")),
        "MatMul 'm' reads 'q', which nobody writes",
    ),
    "output not written": (
        lambda: small(op("MatMul", "x w", "z"), output="y"),
        "nobody writes the output 'y'",
    ),
    "cycle": (
        lambda: small(op("MatMul", "z w", "y"), op("Relu", "y", "z"), op("Neg", "x", "n")),
        "nodes wait for each other in a cycle: MatMul 'y', Relu 'z'",
    ),
    "a node that reads itself": (
        lambda: small(op("Add", "x y", "y")),
        "nodes wait for each other in a cycle: Add 'y'",
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_written_once_and_by_somebody(name: str, tmp_path: Path) -> None:
    make, reason = NAMES[name]
    assert refusal(make(), tmp_path) == reason


def test_a_long_cycle_names_three_of_its_nodes(tmp_path: Path) -> None:
    nodes = [op("Relu", f"t{i}", f"t{(i + 1) % 9}") for i in range(9)]
    found = refusal(small(*nodes, output="t1"), tmp_path)
    assert found.count("Relu") == 3
    assert found.endswith("and 6 others")


def test_nodes_may_stand_in_any_order(tmp_path: Path) -> None:
    """onnxruntime sorts them."""
    nodes = [op("Relu", "m", "y"), op("MatMul", "x w", "m")]
    assert len(Model.load(save(small(*nodes), tmp_path / "m.onnx")).nodes) == 2


def test_names_that_are_no_text(tmp_path: Path) -> None:
    content = small(op("MatMul", "x w", "y", "NAME")).SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content.replace(b"NAME", b"N\xd5\xd5E"))
    with pytest.raises(ModelError, match=r"node 0: the name b'N\\xd5\\xd5E' is not valid UTF-8"):
        Model.load(path)


# --- subgraphs and functions -----------------------------------------------------------------


def branched(then: list[NodeProto], outputs: str = "y", result: str = "p") -> ModelProto:
    other = make_graph([op("Identity", "x", "q")], {}, ["q"])
    branch = make_graph(then, {}, [result])
    condition = constant_node("c", scalar(True, np.bool_))
    node = op("If", "c", outputs, "choice", then_branch=branch, else_branch=other)
    return small(condition, node)


def test_a_branch_that_reads_what_nobody_writes(tmp_path: Path) -> None:
    found = refusal(branched([op("Relu", "q9", "p")]), tmp_path)
    assert found == "in then_branch of If 'choice': Relu 'p' reads 'q9', which nobody writes"


def test_a_branch_with_fewer_results_than_its_node(tmp_path: Path) -> None:
    found = refusal(branched([op("Relu", "x", "p")], "y y2"), tmp_path)
    assert found == "in else_branch of If 'choice': 1 result, the node has 2 outputs and needs 2"


def test_a_branch_may_read_what_is_around_it_and_hand_it_on(tmp_path: Path) -> None:
    for model in (branched([op("Relu", "x", "p")]), branched([], result="x")):
        Model.load(save(model, tmp_path / "m.onnx"))


def test_a_branch_that_waits_for_its_own_node(tmp_path: Path) -> None:
    found = refusal(branched([op("Relu", "y", "p")]), tmp_path)
    assert found == "nodes wait for each other in a cycle: If 'choice'"


def test_a_loop_hands_on_all_but_the_condition(tmp_path: Path) -> None:
    def looped(results: list[str]) -> ModelProto:
        body = make_graph(
            [op("Identity", "go_in", "go"), op("Relu", "v", "v_out")],
            [helper.make_tensor_value_info(n, k, []) for n, k in (("i", 7), ("go_in", 9))]
            + [helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 8])],
            results,
        )
        count = constant_node("n", scalar(3, np.int64))
        return small(count, op("Loop", "n - x", "y", "steps", body=body))

    Model.load(save(looped(["go", "v_out"]), tmp_path / "m.onnx"))
    found = refusal(looped(["go"]), tmp_path)
    assert found == "in body of Loop 'steps': 1 result, the node has 1 output and needs 2"


def with_function(*nodes: NodeProto) -> FunctionProto:
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_function("own", "Twice", ["a"], ["b"], list(nodes), opsets)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (op("Relu", "q", "b"), "in function 'Twice': Relu 'b' reads 'q', which nobody writes"),
        (op("Relu", "a", "d"), "in function 'Twice': nobody writes the output 'b'"),
        (
            op("Concat", "a a", "b"),
            "in function 'Twice': Concat 'b': the attribute 'axis' is missing",
        ),
    ],
    ids=["input", "output", "attribute"],
)
def test_functions_are_looked_into(node: NodeProto, reason: str, tmp_path: Path) -> None:
    model = small(op("Twice", "x", "y", domain="own"))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.functions.append(with_function(node))
    assert refusal(model, tmp_path) == reason


def test_a_call_has_no_more_operands_than_its_function(tmp_path: Path) -> None:
    for inputs, outputs, what in (("x w", "y", "2 inputs"), ("x", "y z", "2 outputs")):
        model = small(op("Twice", inputs, outputs, "call", domain="own"))
        model.opset_import.append(helper.make_opsetid("own", 1))
        model.functions.append(with_function(op("Relu", "a", "b")))
        assert refusal(model, tmp_path) == f"Twice 'call': {what}, the local function has 1"


def test_a_function_may_take_an_attribute_from_its_caller(tmp_path: Path) -> None:
    node = op("Concat", "a a", "b")
    node.attribute.add(name="axis", ref_attr_name="axis", type=onnx.AttributeProto.INT)
    model = small(op("Twice", "x", "y", domain="own", axis=0))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.functions.append(with_function(node))
    assert Model.load(save(model, tmp_path / "m.onnx")).nodes


# --- operators -------------------------------------------------------------------------------


def renamed(node: NodeProto, attribute: str) -> NodeProto:
    """With an attribute that comes twice."""
    node.attribute.append(helper.make_attribute(attribute, 0))
    return node


OPERATORS: dict[str, tuple[NodeProto, str]] = {
    "float for int": (
        op("Softmax", "x", "y", axis=1.0),
        "Softmax 'y': attribute 'axis' is of type float, expected type int",
    ),
    "float for ints": (
        op("Transpose", "x", "y", perm=1.5),
        "Transpose 'y': attribute 'perm' is of type float, expected a list of int",
    ),
    "int for string": (
        op("Einsum", "x w", "y", equation=7),
        "Einsum 'y': attribute 'equation' is of type int, expected type string",
    ),
    "missing": (op("Concat", "x x", "y"), "Concat 'y': the attribute 'axis' is missing"),
    "twice": (
        renamed(op("Concat", "x x", "y", axis=1), "axis"),
        "Concat 'y': attribute 'axis' is given twice",
    ),
    "no order": (
        op("Transpose", "x", "y", perm=[1, 1]),
        "Transpose 'y': attribute 'perm' is [1, 1], which is no order of the axes",
    ),
    "too few inputs": (op("MatMul", "x", "y"), "MatMul 'y': 1 input, the operator takes 2"),
    "too many inputs": (op("Relu", "x w", "y"), "Relu 'y': 2 inputs, the operator takes 1"),
    "between": (op("Conv", "x", "y"), "Conv 'y': 1 input, the operator takes 2 to 3"),
    "none": (op("Sum", "", "y"), "Sum 'y': 0 inputs, the operator takes 1 or more"),
    "no output": (
        op("Constant", "", "", value_int=1),
        "Constant without a name: 0 outputs, the operator takes 1",
    ),
    "left out": (op("Add", "- x", "y"), "Add 'y': input 0 is left out, the operator needs it"),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_nodes_are_held_against_their_operator(name: str, tmp_path: Path) -> None:
    node, reason = OPERATORS[name]
    assert refusal(small(node), tmp_path) == reason


def test_a_node_of_a_subgraph_is_held_against_its_operator_too(tmp_path: Path) -> None:
    found = refusal(branched([op("Concat", "x x", "p")]), tmp_path)
    assert found == "in then_branch of If 'choice': Concat 'p': the attribute 'axis' is missing"


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"pads": [1]}, "attribute 'pads' holds 1 number, not two per axis"),
        (
            {"pads": [1, 1]},
            "attribute 'pads' holds 2 numbers, not 4: 'strides' holds 2, one per axis",
        ),
        (
            {"kernel_shape": [3]},
            "attribute 'strides' holds 2 numbers, not 1: 'kernel_shape' holds 1, one per axis",
        ),
        ({"strides": [0, 1]}, "attribute 'strides' is [0, 1], sizes begin at 1"),
        ({"dilations": [1, -1]}, "attribute 'dilations' is [1, -1], sizes begin at 1"),
        ({"group": 0}, "attribute 'group' is 0, groups begin at 1"),
    ],
    ids=["odd pads", "few pads", "kernel", "stride", "dilation", "group"],
)
def test_attributes_of_a_kernel_fit_each_other(
    attributes: dict[str, object], reason: str, tmp_path: Path
) -> None:
    model = conv_model()
    given = {"strides": [1, 1], "dilations": [1, 1], **attributes}
    del model.graph.node[0].attribute[:]
    model.graph.node[0].attribute.extend(helper.make_attribute(n, v) for n, v in given.items())
    assert refusal(model, tmp_path) == f"Conv 'conv': {reason}"


def test_what_onnx_does_not_know_is_left_alone(tmp_path: Path) -> None:
    """Other domains, operators without a schema, attributes that none asks for, newer opsets."""
    unknown = op("Mystery", "x x x", "y", axis=1.0)
    foreign = op("Concat", "x", "y", domain="com.example", axis=1.0)
    for node in (unknown, foreign, op("Relu", "x", "y", note="exported")):
        model = small(node)
        model.opset_import.append(helper.make_opsetid("com.example", 1))
        Model.load(save(model, tmp_path / "m.onnx"))
    newer = small(op("Concat", "x x", "y"))
    newer.opset_import[0].version = onnx.defs.onnx_opset_version() + 1
    Model.load(save(newer, tmp_path / "m.onnx"))


def test_inputs_left_out_at_the_end_do_not_count(tmp_path: Path) -> None:
    Model.load(save(small(op("Clip", "x - -", "y")), tmp_path / "m.onnx"))
    Model.load(save(small(op("Relu", "x -", "y")), tmp_path / "m.onnx"))


def test_operand_counts_are_those_of_the_models_own_opset(tmp_path: Path) -> None:
    """Gemm had to have a bias before opset 11."""
    for opset, fits in ((9, False), (11, True)):
        model = make_model([op("Gemm", "x w", "y")], {"x": (1, 8)}, ["y"], {"w": normal((8, 8))})
        model.opset_import[0].version = opset
        if fits:
            Model.load(save(model, tmp_path / "m.onnx"))
        else:
            assert refusal(model, tmp_path) == "Gemm 'y': 2 inputs, the operator takes 3"


@pytest.mark.parametrize("domain", ["com.microsoft.nchwc", "com.ms.internal.nhwc"])
def test_layouts_of_one_machine_are_refused(domain: str, tmp_path: Path) -> None:
    """Also within a subgraph; what helps is said in the same line."""
    node = op("Conv", "x w", "y", "conv", domain=domain)
    said = (
        f"Conv 'conv' is of domain '{domain}', which onnxruntime lays a model out in for one "
        "machine; save it at the level ORT_ENABLE_EXTENDED, or take the model as exported"
    )
    assert refusal(small(node), tmp_path) == said


def test_what_onnxruntime_saves_at_its_highest_level_is_refused(tmp_path: Path) -> None:
    import onnxruntime

    file = save(chain(["Conv", "Relu", "Conv"], (1, 3, 16, 16), width=16), tmp_path / "m.onnx")
    levels = onnxruntime.GraphOptimizationLevel
    for level in (levels.ORT_ENABLE_EXTENDED, levels.ORT_ENABLE_ALL):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(tmp_path / f"{level}.onnx")
        onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    Model.load(tmp_path / f"{levels.ORT_ENABLE_EXTENDED}.onnx")
    highest = tmp_path / f"{levels.ORT_ENABLE_ALL}.onnx"
    domains = {node.domain for node in onnx.load(highest).graph.node}
    if domains <= {"", "com.microsoft"}:
        pytest.skip("onnxruntime has no layout of its own for this machine")
    with pytest.raises(ModelError, match="save it at the level ORT_ENABLE_EXTENDED"):
        Model.load(highest)
