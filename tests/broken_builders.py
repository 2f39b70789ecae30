"""Small models that are wrong, each of a kind: how one is made and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from builders import Array, constant_node, make_graph, normal, op, scalar, value
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)


class Broken(NamedTuple):
    """What makes the model, and what must be said of it after the file's name."""

    make: Callable[[], ModelProto]
    said: str


def network(*nodes: NodeProto, output: str = "y", **tensors: Array) -> ModelProto:
    """x (1, 8) times w (8, 8) and whatever nodes, to `output`, not checked."""
    weights = {"w": normal((8, 8)), **tensors}
    outputs = [value(output, [1, 8])]
    graph = make_graph(nodes, {"x": (1, 8)}, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def product(output: str = "y") -> NodeProto:
    return op("MatMul", "x w", output, "m")


def changed(change: Callable[[ModelProto], object], *nodes: NodeProto) -> Callable[[], ModelProto]:
    """A sound network with one change to its proto."""

    def make() -> ModelProto:
        model = network(*(nodes or (product(),)))
        change(model)
        return model

    return make


def attribute(op_type: str, inputs: str = "x w", **attributes: Any) -> Callable[[], ModelProto]:
    """One node `n` with these attributes."""
    return lambda: network(op(op_type, inputs, "y", "n", **attributes))


# --- grids ----------------------------------------------------------------------------------------


_POSITIVE = " and scales have to be positive numbers; quantize the float network anew"


def dequantized(axis: int = 0, **changes: Array) -> Callable[[], ModelProto]:
    """x on a grid and codes of weights with a scale each; `changes` replace what is stored."""

    def make() -> ModelProto:
        codes = np.arange(64, dtype=np.int8).reshape(8, 8)
        grid: dict[str, Array] = {"s": scalar(0.1), "z": scalar(3, np.uint8)}
        weights: dict[str, Array] = {
            "w": codes,
            "t": np.full(8, 0.5, np.float32),
            "u": np.zeros(8, np.int8),
        }
        nodes = [
            op("QuantizeLinear", "x s z", "q", "round"),
            op("DequantizeLinear", "q s z", "d", "back"),
            op("DequantizeLinear", "w t u", "v", "weights", axis=axis),
            op("MatMul", "d v", "y", "m"),
        ]
        stored: dict[str, Array] = {**grid, **weights, **changes}
        return network(*nodes, output="y", **stored)

    return make


def _with(place: int, number: float) -> Array:
    scales = np.full(8, 0.5, np.float32)
    scales[place] = number
    return scales


# --- subgraphs ------------------------------------------------------------------------------------


def choice(then: GraphProto, output: str = "y", inputs: str = "c") -> ModelProto:
    """An If `pick` behind a node that writes `early`."""
    other = make_graph([op("Neg", "x", "q")], {}, ["q"])
    return network(
        constant_node("c", scalar(True, np.bool_)),
        op("Abs", "x", "early"),
        op("If", inputs, output, "pick", then_branch=then, else_branch=other),
    )


def loop(inputs: Sequence[str], results: Sequence[str], operands: str = "n - x") -> ModelProto:
    """A Loop `turns` over a body with these inputs and results."""
    kinds = {"i": TensorProto.INT64, "go_in": TensorProto.BOOL}
    given = [value(name, None, kinds.get(name, TensorProto.FLOAT)) for name in inputs]
    nodes = [op("Identity", "go_in", "go"), op("Relu", "v", "v_out")]
    body = make_graph(nodes, given, results)
    return network(
        constant_node("n", scalar(3, np.int64)), op("Loop", operands, "y", "turns", body=body)
    )


def scan(inputs: str = "s e", results: str = "s2 r", **attributes: Any) -> ModelProto:
    """A Scan `steps` with one state and one slice."""
    nodes = [op("Add", "s e", "s2"), op("Identity", "s2", "r")]
    body = make_graph(nodes, [value(name, None) for name in inputs.split()], results.split())
    given = {"num_scan_inputs": 1, **attributes}
    return network(op("Scan", "x w", "y z", "steps", body=body, **given))


# --- functions ------------------------------------------------------------------------------------


def with_functions(calls: Mapping[str, str], repeated: bool = False) -> ModelProto:
    """Local functions by name, each with one node of the operator that it is mapped to."""
    model = network(op(next(iter(calls)), "x", "y", "call", domain="own"))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model.opset_import.append(opsets[1])
    for name, called in [*calls.items()] * (2 if repeated else 1):
        node = op(called, "a", "b", domain="own" if called in calls else "")
        model.functions.append(helper.make_function("own", name, ["a"], ["b"], [node], opsets))
    return model


def tensor(kind: int, dims: Sequence[int], **content: Any) -> Callable[[ModelProto], object]:
    """Adds an initializer `t` with just these fields."""
    return lambda m: m.graph.initializer.append(
        TensorProto(name="t", data_type=kind, dims=dims, **content)
    )


def sparse_out_of_range() -> ModelProto:
    """A sparse initializer `s` of 64 places with a value at place 99."""
    model = network(op("MatMul", "x s", "y", "m"))
    held = model.graph.sparse_initializer.add(dims=[8, 8])
    held.values.CopyFrom(numpy_helper.from_array(normal((1,)), "s"))
    held.indices.CopyFrom(numpy_helper.from_array(np.array([99])))
    return model


def _opset(version: int, domain: str = "") -> Callable[[ModelProto], object]:
    return lambda m: m.opset_import.append(helper.make_opsetid(domain, version))


def _kind(kind: int) -> Callable[[ModelProto], object]:
    return lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", kind)


BROKEN: Mapping[str, Broken] = {
    # names
    "two initializers": Broken(
        changed(lambda m: m.graph.initializer.append(m.graph.initializer[0])),
        "two initializers are called 'w'",
    ),
    "two inputs": Broken(
        changed(lambda m: m.graph.input.append(m.graph.input[0])), "two inputs are called 'x'"
    ),
    "an initializer without a name": Broken(
        changed(lambda m: m.graph.initializer.add(data_type=TensorProto.FLOAT, dims=[0])),
        "one of the initializers has no name",
    ),
    "an input without a name": Broken(
        changed(lambda m: m.graph.input.append(value("", [1]))), "one of the inputs has no name"
    ),
    "written twice": Broken(
        lambda: network(product(), op("Relu", "x", "y", "r")),
        "tensor 'y' that Relu 'r' writes has been written or given before",
    ),
    "input nobody makes": Broken(
        lambda: network(op("Add", "x q", "y", "n")), "Add 'n' reads 'q', which nobody writes"
    ),
    "output nobody writes": Broken(lambda: network(product("z")), "nobody writes the output 'y'"),
    "cycle": Broken(
        lambda: network(op("Add", "z x", "y"), op("Relu", "y", "z")),
        "nodes wait for each other in a cycle: Add 'y', Relu 'z'",
    ),
    # declarations
    "element type": Broken(
        changed(tensor(99, [2])), "tensor 't' has element type 99, which onnx does not know"
    ),
    "no element type": Broken(
        changed(tensor(0, [2])), "tensor 't' has element type 0, which onnx does not know"
    ),
    "negative axis": Broken(
        changed(tensor(1, [-1, 4], float_data=[1.0] * 4)),
        "tensor 't' has a negative axis: [-1, 4]",
    ),
    "too few numbers": Broken(
        changed(tensor(1, [4], float_data=[1.0])),
        "tensor 't' is cut short: 1 numbers, its shape needs 4",
    ),
    "too many numbers": Broken(
        changed(tensor(7, [1], int64_data=[1, 2])),
        "tensor 't' is too long: 2 numbers, its shape needs 1",
    ),
    "input of no type": Broken(
        changed(_kind(0)), "input 'x' has element type 0, which onnx does not know"
    ),
    "input of unknown type": Broken(
        changed(_kind(99)), "input 'x' has element type 99, which onnx does not know"
    ),
    "opset 0": Broken(
        changed(lambda m: setattr(m.opset_import[0], "version", 0)),
        "opset 0 of domain 'ai.onnx': opsets begin at 1",
    ),
    "two opsets": Broken(
        changed(_opset(13)), "opsets 17 and 13 of domain 'ai.onnx' are both imported"
    ),
    "no opset for a domain": Broken(
        lambda: network(op("Gelu", "x", "y", "n", domain="com.microsoft")),
        "Gelu 'n': the model imports no opset for its domain, 'com.microsoft'",
    ),
    "no opset for onnx": Broken(
        changed(lambda m: setattr(m.opset_import[0], "domain", "own")),
        "MatMul 'm': the model imports no opset for its domain, 'ai.onnx'",
    ),
    "no IR version": Broken(
        changed(lambda m: m.ClearField("ir_version")),
        "not an ONNX model (no IR version, opset or graph with outputs)",
    ),
    # attributes
    "group": Broken(
        attribute("Conv", group=0), "Conv 'n': attribute 'group' is 0, groups begin at 1"
    ),
    "group's type": Broken(
        attribute("Conv", group=2.0),
        "Conv 'n': attribute 'group' is of type float, expected type int",
    ),
    "kernel_shape": Broken(
        attribute("MaxPool", "x", kernel_shape=[0, 2]),
        "MaxPool 'n': attribute 'kernel_shape' is [0, 2], sizes begin at 1",
    ),
    "pads": Broken(
        attribute("Conv", pads=[1, 1, 1]),
        "Conv 'n': attribute 'pads' holds 3 numbers, not two per axis",
    ),
    "negative pads": Broken(
        attribute("Conv", pads=[0, -1]),
        "Conv 'n': attribute 'pads' is [0, -1], paddings begin at 0",
    ),
    "strides": Broken(
        attribute("Conv", strides=[1], dilations=[1, 1]),
        "Conv 'n': attribute 'dilations' holds 2 numbers, not 1: 'strides' holds 1, one per axis",
    ),
    "auto_pad": Broken(
        attribute("Conv", auto_pad="SAME"),
        "Conv 'n': attribute 'auto_pad' is 'SAME', expected one of NOTSET, SAME_UPPER, "
        "SAME_LOWER, VALID",
    ),
    "axis's type": Broken(
        attribute("Softmax", "x", axis="1"),
        "Softmax 'n': attribute 'axis' is of type string, expected type int",
    ),
    "perm": Broken(
        attribute("Transpose", "x", perm=[0, 2]),
        "Transpose 'n': attribute 'perm' is [0, 2], which is no order of the axes",
    ),
    "equation of a term too many": Broken(
        attribute("Einsum", equation="ij,jk,kl->il"),
        "Einsum 'n': attribute 'equation' is 'ij,jk,kl->il': 3 terms, the node has 2 inputs",
    ),
    "equation of an unknown axis": Broken(
        attribute("Einsum", equation="ij,jk->iz"),
        "Einsum 'n': attribute 'equation' is 'ij,jk->iz': no input has the axis 'z'",
    ),
    "equation with an axis twice": Broken(
        attribute("Einsum", equation="ij,jk->ii"),
        "Einsum 'n': attribute 'equation' is 'ij,jk->ii': the result has an axis twice",
    ),
    "no equation": Broken(
        attribute("Einsum", equation="i+j,jk->ik"),
        "Einsum 'n': attribute 'equation' is 'i+j,jk->ik', which is no equation",
    ),
    "hidden_size": Broken(
        attribute("LSTM", "x w w", hidden_size=-4),
        "LSTM 'n': attribute 'hidden_size' is -4, it begins at 1",
    ),
    "direction": Broken(
        attribute("GRU", "x w w", direction="both"),
        "GRU 'n': attribute 'direction' is 'both', expected one of forward, reverse, bidirectional",
    ),
    "layout": Broken(
        attribute("RNN", "x w w", layout=2), "RNN 'n': attribute 'layout' is 2, expected 0 or 1"
    ),
    "activation": Broken(
        attribute("RNN", "x w w", activations=["Swish"]),
        "RNN 'n': attribute 'activations' holds 'Swish', which is none that onnx knows",
    ),
    "too few activations": Broken(
        attribute("LSTM", "x w w", direction="bidirectional", activations=["Tanh"] * 3),
        "LSTM 'n': attribute 'activations' holds 3, the operator takes 6",
    ),
    "to": Broken(
        attribute("Cast", "x", to=0),
        "Cast 'n': attribute 'to' is 0, which is no element type that onnx knows",
    ),
    "mode": Broken(
        attribute("Pad", "x w", mode="mirror"),
        "Pad 'n': attribute 'mode' is 'mirror', expected one of constant, reflect, edge, wrap",
    ),
    "two values": Broken(
        attribute("Constant", "", value_int=1, value_float=1.0),
        "Constant 'n': attributes 'value_float' and 'value_int' both give a value",
    ),
    # subgraphs
    "a branch with inputs": Broken(
        lambda: choice(make_graph([op("Neg", "v", "p")], {"v": (1, 8)}, ["p"])),
        "in then_branch of If 'pick': 1 input, the node needs 0",
    ),
    "results of branches": Broken(
        lambda: choice(make_graph([op("Neg", "x", "p")], {}, ["p", "x"])),
        "in then_branch of If 'pick': 2 results, the node has 1 output and needs 1",
    ),
    "a branch that writes anew": Broken(
        lambda: choice(make_graph([op("Neg", "x", "early")], {}, ["early"])),
        "in then_branch of If 'pick': tensor 'early' that Neg 'early' writes has been written or "
        "given before",
    ),
    "a branch that reads what nobody makes": Broken(
        lambda: choice(make_graph([op("Neg", "q", "p", "n")], {}, ["p"])),
        "in then_branch of If 'pick': Neg 'n' reads 'q', which nobody writes",
    ),
    "a cycle by what a branch captures": Broken(
        lambda: choice(make_graph([op("Neg", "y", "p")], {}, ["p"])),
        "nodes wait for each other in a cycle: If 'pick'",
    ),
    "a loop's inputs": Broken(
        lambda: loop(["i", "go_in"], ["go", "v_out"]),
        "in body of Loop 'turns': 2 inputs, the node needs 3",
    ),
    "a loop's results": Broken(
        lambda: loop(["i", "go_in", "v"], ["go"]),
        "in body of Loop 'turns': 1 result, the node has 1 output and needs 2",
    ),
    "a loop's states": Broken(
        lambda: loop(["i", "go_in", "v", "u"], ["go", "v_out"], "n - x x"),
        "in body of Loop 'turns': the node hands in 2 states and has 1 output to take them",
    ),
    "a scan's inputs": Broken(
        lambda: scan("s"), "in body of Scan 'steps': 1 input, the node needs 2"
    ),
    "a scan's results": Broken(
        lambda: scan(results="s2"),
        "in body of Scan 'steps': 1 result, the node has 2 outputs and needs 2",
    ),
    "a scan's count": Broken(
        lambda: scan(num_scan_inputs=3),
        "in body of Scan 'steps': 'num_scan_inputs' is 3, the node has 2 inputs",
    ),
    "a scan's axes": Broken(
        lambda: scan(scan_input_axes=[0, 0]),
        "in body of Scan 'steps': 'scan_input_axes' holds 2 numbers, not 1",
    ),
    # grids
    "a scale of zero": Broken(
        dequantized(s=scalar(0)),
        "QuantizeLinear 'round': its scale 's' holds 0," + _POSITIVE,
    ),
    "a negative scale": Broken(
        dequantized(t=_with(7, -0.5)),
        "DequantizeLinear 'weights': its scale 't' holds -0.5," + _POSITIVE,
    ),
    "a scale that is no number": Broken(
        dequantized(s=scalar(np.nan)),
        "QuantizeLinear 'round': its scale 's' holds nan," + _POSITIVE,
    ),
    "an infinite scale": Broken(
        dequantized(t=_with(0, np.inf)),
        "DequantizeLinear 'weights': its scale 't' holds inf," + _POSITIVE,
    ),
    "too few scales": Broken(
        dequantized(t=np.ones(3, np.float32), u=np.zeros(3, np.int8)),
        "DequantizeLinear 'weights': its scale holds 3 numbers, and axis 0 of 'w' has length 8",
    ),
    "too few zero points": Broken(
        dequantized(u=np.zeros(3, np.int8)),
        "DequantizeLinear 'weights': its zero point has shape [3], its scale [8]",
    ),
    "zero points of another type": Broken(
        dequantized(u=np.zeros(8, np.uint8)),
        "DequantizeLinear 'weights': its zero point is of type uint8, and what it reads of int8",
    ),
    "a grid along no axis": Broken(
        dequantized(axis=7), "DequantizeLinear 'weights': its axis is 7, and 'w' has 2 axes"
    ),
    "a negative scale within an integer operator": Broken(
        lambda: network(
            op("QuantizeLinear", "x s z", "q", "round"),
            op("QLinearMatMul", "q s z w t u s z", "p", "product"),
            op("DequantizeLinear", "p s z", "y", "back"),
            s=scalar(0.1),
            z=scalar(3, np.uint8),
            t=scalar(-1),
            u=scalar(0, np.int8),
            w=np.ones((8, 8), np.int8),
        ),
        "QLinearMatMul 'product': its scale 't' holds -1," + _POSITIVE,
    ),
    # functions
    "a function that calls itself": Broken(
        lambda: with_functions({"Own": "Own"}), "functions call each other without end: 'Own'"
    ),
    "functions that call each other": Broken(
        lambda: with_functions({"A": "B", "B": "A"}),
        "functions call each other without end: 'A', 'B'",
    ),
    "two functions of one name": Broken(
        lambda: with_functions({"A": "Relu"}, repeated=True), "two functions are called 'A'"
    ),
    "a call with too many inputs": Broken(
        lambda: _called_with("x x"),
        "A 'call': 2 inputs, the local function has 1",
    ),
}


def _called_with(inputs: str) -> ModelProto:
    model = with_functions({"A": "Relu"})
    del model.graph.node[0].input[:]
    model.graph.node[0].input.extend(inputs.split())
    return model
