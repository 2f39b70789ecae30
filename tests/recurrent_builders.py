"""Small recurrent networks on correlated sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from builders import Array, ints, make_model, normal, op, value
from onnx import TensorProto
from pruning_builders import Net

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}

STEPS, INPUTS, HIDDEN = 12, 16, 24


def sequences(count: int = 96) -> Array:
    """(count, STEPS, INPUTS): few directions hold most of them, and steps follow each other."""
    rng = np.random.default_rng(5)
    scale = np.exp(-np.arange(INPUTS) / 4)[:, None]
    mixing = rng.normal(size=(INPUTS, INPUTS)) * scale
    steps = rng.normal(size=(count, STEPS, INPUTS))
    for step in range(1, STEPS):
        steps[:, step] = 0.7 * steps[:, step - 1] + 0.7 * steps[:, step]
    return np.asarray(steps @ mixing, np.float32)


def cell_net(
    kind: str,
    directions: int = 1,
    *,
    lengths: bool = False,
    bias: bool = True,
    initial: bool = False,
    opset: int = 17,
    **attributes: Any,
) -> Net:
    """x (N, STEPS, INPUTS) through one cell named `cell` and a product `out` over its states."""
    rows = directions * GATES[kind] * HIDDEN
    tensors = {
        "w": normal((directions, rows // directions, INPUTS), 1, 1.2 / np.sqrt(INPUTS)),
        "r": normal((directions, rows // directions, HIDDEN), 2, 1.2 / np.sqrt(HIDDEN)),
        "b": normal((directions, 2 * rows // directions), 4, 0.3),
        "wo": normal((directions * HIDDEN, 8), 3, 0.3),
        "joined": ints(0, 0, directions * HIDDEN),
    }
    operands = ["t w r", "b" if bias else "-", "lens" if lengths else "-"]
    arrays, inputs = {"x": sequences()}, [value("x", ("N", STEPS, INPUTS))]
    if lengths:
        inputs.append(value("lens", ("N",), TensorProto.INT32))
        count = len(arrays["x"])
        arrays["lens"] = np.random.default_rng(6).integers(3, STEPS + 1, count).astype(np.int32)
    if initial:
        inputs.append(value("h", ("N", directions, HIDDEN)))
        arrays["h"] = normal((len(arrays["x"]), directions, HIDDEN), 7)
        operands.append("h0")
    if directions == 2:
        attributes["direction"] = "bidirectional"
    used = {name for text in operands for name in text.split()}
    nodes = [
        op("Transpose", "x", "t", perm=[1, 0, 2]),
        *([op("Transpose", "h", "h0", perm=[1, 0, 2])] if initial else []),
        op(kind, " ".join(operands), "s", "cell", hidden_size=HIDDEN, **attributes),
        op("Transpose", "s", "q", perm=[2, 0, 1, 3]),
        op("Reshape", "q joined", "j"),
        op("MatMul", "j wo", "y", "out"),
    ]
    kept = {n: a for n, a in tensors.items() if n in used or n in ("wo", "joined")}
    return Net(make_model(nodes, inputs, ["y"], kept, opset=opset), arrays)
