"""Small networks with layers inside If, Loop and Scan, on correlated inputs."""

from __future__ import annotations

import numpy as np
from builders import Array, constant_node, ints, make_graph, make_model, normal, op, scalar, value
from onnx import GraphProto, TensorProto, helper
from pruning_builders import Net, images
from recurrent_builders import INPUTS, STEPS, sequences

UNITS = 20
BOOL = TensorProto.BOOL


def _loop_weights() -> dict[str, Array]:
    return {
        "u": normal((INPUTS, UNITS), 1, 1 / np.sqrt(INPUTS)),
        "v": normal((UNITS, UNITS), 2, 1 / np.sqrt(UNITS)),
        "b": normal((UNITS,), 3, 0.3),
        "wo": normal((UNITS, 6), 4, 0.4),
    }


def _step(x: str) -> GraphProto:
    """s = tanh(x[:, i] u + s v + b), and y = s wo of it: a cell that is written out."""
    weights = _loop_weights()
    nodes = [
        op("Gather", f"{x} i", "now", axis=1),
        op("MatMul", "now u", "from_x", "from_x"),
        op("MatMul", "s_in v", "from_s", "from_s"),
        op("Add", "from_s b", "biased"),
        op("Add", "from_x biased", "sum"),
        op("Tanh", "sum", "s_out"),
        op("MatMul", "s_out wo", "out", "from_state"),
        op("Identity", "go", "go_on"),
    ]
    inputs = [value("i", (), TensorProto.INT64), value("go", (), BOOL), value("s_in", ("B", UNITS))]
    outputs = [value("go_on", (), BOOL), value("s_out", ("B", UNITS)), value("out", ("B", 6))]
    return make_graph(nodes, inputs, outputs, weights, "body")


def loop() -> Net:
    """x (N, STEPS, INPUTS) step by step through three products in a Loop's body."""
    nodes = [
        op("Loop", "count yes begin", "last ys", "loop", body=_step("x")),
        op("Transpose", "ys", "y", perm=[1, 0, 2]),
        op("Shape", "x", "shape", start=0, end=1),
        op("Concat", "shape units", "begin_shape", axis=0),
        op("Expand", "zero begin_shape", "begin"),
    ]
    tensors: dict[str, Array] = {
        "count": scalar(STEPS, np.int64), "yes": scalar(True, np.bool_), "units": ints(UNITS),
        "zero": np.zeros((1, UNITS), np.float32),
    }  # fmt: skip
    ordered = [*nodes[2:], *nodes[:2]]
    proto = make_model(ordered, {"x": ("N", STEPS, INPUTS)}, [value("y", ("N", STEPS, 6))], tensors)
    return Net(proto, {"x": sequences()})


def scan() -> Net:
    """x (N, STEPS, INPUTS) step by step through products in a Scan's body; weights captured."""
    body = make_graph(
        [
            op("MatMul", "x_in u", "from_x", "from_x"),
            op("MatMul", "s_in v", "from_s", "from_s"),
            op("Add", "from_x from_s", "sum"),
            op("Tanh", "sum", "s_out"),
            op("Identity", "s_out", "out"),
        ],
        [value("s_in", ("B", UNITS)), value("x_in", ("B", INPUTS))],
        [value("s_out", ("B", UNITS)), value("out", ("B", UNITS))],
    )
    nodes = [
        op("Transpose", "x", "t", perm=[1, 0, 2]),
        op("Shape", "x", "shape", start=0, end=1),
        op("Concat", "shape units", "begin_shape", axis=0),
        op("Expand", "zero begin_shape", "begin"),
        op("Scan", "begin t", "last ys", "scan", body=body, num_scan_inputs=1),
        op("Transpose", "ys", "z", perm=[1, 0, 2]),
        op("MatMul", "z wo", "y", "out"),
    ]
    weights = {name: array for name, array in _loop_weights().items() if name != "b"}
    tensors = {**weights, "units": ints(UNITS), "zero": np.zeros((1, UNITS), np.float32)}
    proto = make_model(nodes, {"x": ("N", STEPS, INPUTS)}, [value("y", ("N", STEPS, 6))], tensors)
    return Net(proto, {"x": sequences()})


def _branch(prefix: str, seed: int) -> GraphProto:
    """Two convolutions with a Relu between; weights in Constant nodes and initializers."""
    nodes = [
        constant_node("w1", normal((8, 3, 3, 3), seed, 0.3)),
        op("Conv", "x w1 b1", f"{prefix}a", "first", pads=[1, 1, 1, 1]),
        op("Relu", f"{prefix}a", f"{prefix}r"),
        op("Conv", f"{prefix}r w2", f"{prefix}y", "second", pads=[1, 1, 1, 1]),
    ]
    tensors = {"b1": normal((8,), seed + 1, 0.3), "w2": normal((6, 8, 3, 3), seed + 2, 0.2)}
    return make_graph(nodes, {}, [f"{prefix}y"], tensors, prefix)


def choice(batch: int | str = 1) -> Net:
    """Images through one of two branches, by their mean."""
    nodes = [
        op("ReduceMean", "x", "mean", keepdims=0),
        op("Greater", "mean half", "bright"),
        op("If", "bright", "c", "if", then_branch=_branch("t", 1), else_branch=_branch("e", 5)),
        op("GlobalAveragePool", "c", "p"),
        op("Flatten", "p", "f"),
        op("MatMul", "f wo", "y", "out"),
    ]
    tensors = {"half": scalar(0.5), "wo": normal((6, 5), 9)}
    proto = make_model(nodes, {"x": (batch, 3, 8, 8)}, [value("y", (batch, 5))], tensors)
    return Net(proto, {"x": images(64)})


def calls() -> Net:
    """x (N, 16) through a function with two products of its own, twice, and a head of the model's.

    The first product's weights are the function's, the second's are handed to it.
    """
    nodes = [
        constant_node("w", normal((16, 16), 1, 0.3)),
        constant_node("b", normal((16,), 2, 0.3)),
        op("MatMul", "a w", "m", "inner"),
        op("Add", "m b", "s"),
        op("Relu", "s", "r"),
        op("MatMul", "r v", "z", "outer"),
    ]
    opsets = [helper.make_opsetid("", 17)]
    block = helper.make_function("own", "Block", ["a", "v"], ["z"], nodes, opsets)
    main = [
        op("Block", "x v1", "h", "one", domain="own"),
        op("Block", "h v2", "k", "two", domain="own"),
        op("MatMul", "k wo", "y", "out"),
    ]
    tensors = {
        "v1": normal((16, 16), 3, 0.3), "v2": normal((16, 16), 4, 0.3),
        "wo": normal((16, 5), 5, 0.4),
    }  # fmt: skip
    proto = make_model(main, {"x": ("N", 16)}, [value("y", ("N", 5))], tensors)
    proto.functions.append(block)
    rows = sequences().reshape(-1, INPUTS)[::2]
    return Net(proto, {"x": rows})


BODIES = {"loop": loop, "scan": scan, "choice": choice, "calls": calls}
