"""Graphs with seeded weights for `count_macs.py`, each with operators whose MACs can go wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]
Shape = Sequence[int | str]
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def normal(*shape: int, seed: int = 0) -> Array:
    """Seeded float32 values."""
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def op(op_type: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """A node; `-` is an input left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op_type, names, outputs.split(), **attributes)


def model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, int],
    tensors: Mapping[str, Array],
    kind: int = FLOAT,
) -> ModelProto:
    """A model of opset 17; `outputs` have an element type, inputs one `kind`."""
    fed = [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()]
    given = [helper.make_tensor_value_info(name, each, None) for name, each in outputs.items()]
    weights = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "made", fed, given, weights)
    domains = {"", *(node.domain for node in nodes)}
    opsets = [helper.make_opsetid(name, 1 if name else 17) for name in sorted(domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def recurrent(
    op_type: str, gates: int, both: bool = False, x: Shape = (10, 1, 12), hidden: int = 16
) -> ModelProto:
    """x (steps, batch, inputs) through one cell."""
    directions, width = 2 if both else 1, int(x[2])
    tensors = {
        "w": normal(directions, gates * hidden, width),
        "r": normal(directions, gates * hidden, hidden, seed=1),
    }
    direction = "bidirectional" if both else "forward"
    node = op(op_type, "x w r", "y", hidden_size=hidden, direction=direction)
    return model([node], {"x": x}, {"y": FLOAT}, tensors)


def convolution(
    x: Shape, weights: Sequence[int], op_type: str = "Conv", **attributes: Any
) -> ModelProto:
    """One convolution."""
    node = op(op_type, "x w", "y", **attributes)
    return model([node], {"x": x}, {"y": FLOAT}, {"w": normal(*weights)})


def einsum(equation: str, x: Shape, weights: Sequence[int]) -> ModelProto:
    """One Einsum of an input and weights."""
    node = op("Einsum", "x w", "y", equation=equation)
    return model([node], {"x": x}, {"y": FLOAT}, {"w": normal(*weights)})


def body(
    nodes: Sequence[NodeProto], inputs: Mapping[str, tuple[int, Shape]], outputs: str
) -> GraphProto:
    """A subgraph; outputs have no declared type."""
    fed = [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()]
    given = [helper.make_empty_tensor_value_info(name) for name in outputs.split()]
    return helper.make_graph(nodes, "body", fed, given)


def loop() -> ModelProto:
    """Five turns, each with one product."""
    inner = body(
        [op("Identity", "go_in", "go"), op("MatMul", "v w", "v_out")],
        {"i": (INT64, []), "go_in": (TensorProto.BOOL, []), "v": (FLOAT, [1, 8])},
        "go v_out",
    )
    tensors = {"w": normal(8, 8), "n": np.array(5, np.int64)}
    node = op("Loop", "n - x", "y", body=inner)
    return model([node], {"x": (1, 8)}, {"y": FLOAT}, tensors)


def scan() -> ModelProto:
    """Seven slices of 6, each with two products."""
    nodes = [
        op("MatMul", "e w", "a"),
        op("MatMul", "s u", "b"),
        op("Add", "a b", "s2"),
        op("Identity", "s2", "r"),
    ]
    inner = body(
        nodes,
        {"s": (FLOAT, [1, 8]), "e": (FLOAT, [1, 6])},
        "s2 r",
    )
    tensors = {"w": normal(6, 8), "u": normal(8, 8, seed=1), "s0": np.zeros((1, 8), np.float32)}
    node = op("Scan", "s0 x", "y z", body=inner, num_scan_inputs=1)
    return model([node], {"x": (7, 1, 6)}, {"y": FLOAT, "z": FLOAT}, tensors)


def choice(taken: bool) -> ModelProto:
    """A constant condition: one branch has a product, the other two."""
    one = body([op("MatMul", "x w", "p")], {}, "p")
    two = body([op("MatMul", "x w", "t"), op("MatMul", "t w", "q")], {}, "q")
    node = op("If", "c", "y", then_branch=one, else_branch=two)
    return model([node], {"x": (1, 8)}, {"y": FLOAT}, {"w": normal(8, 8), "c": np.array(taken)})


def transformer() -> ModelProto:
    """One block: 20 positions of 32, four heads, and an inner layer of 64."""
    tensors: dict[str, Array] = {n: normal(32, 32, seed=i) for i, n in enumerate("qkvo")}
    tensors |= {"up": normal(32, 64), "down": normal(64, 32)}
    tensors |= {"heads": np.array([0, 0, 4, 8]), "joined": np.array([0, 0, 32])}
    nodes = []
    for name, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [
            op("MatMul", f"x {name}", f"{name}1"),
            op("Reshape", f"{name}1 heads", f"{name}2"),
            op("Transpose", f"{name}2", f"{name}3", perm=order),
        ]
    nodes += [
        op("MatMul", "q3 k3", "scores"),
        op("Softmax", "scores", "shares", axis=-1),
        op("MatMul", "shares v3", "mixed"),
        op("Transpose", "mixed", "turned", perm=[0, 2, 1, 3]),
        op("Reshape", "turned joined", "flat"),
        op("MatMul", "flat o", "out"),
        op("Add", "x out", "sum"),
        op("MatMul", "sum up", "wide"),
        op("Relu", "wide", "bent"),
        op("MatMul", "bent down", "y"),
    ]
    return model(nodes, {"x": (1, 20, 32)}, {"y": FLOAT}, tensors)


def detector() -> ModelProto:
    """A backbone with boxes and scores at two scales."""
    tensors = {"a": normal(8, 3, 3, 3), "b": normal(16, 8, 3, 3)}
    nodes = [
        op("Conv", "x a", "a1", pads=[1] * 4, strides=[2, 2]),
        op("Conv", "a1 b", "b1", pads=[1] * 4, strides=[2, 2]),
    ]
    for scale, channels in (("a1", 8), ("b1", 16)):
        for head, wide in (("boxes", 12), ("scores", 6)):
            name = f"{head}_{scale}"
            tensors[f"w_{name}"] = normal(wide, channels, 1, 1)
            nodes.append(op("Conv", f"{scale} w_{name}", name))
    outputs = {f"{head}_{scale}": FLOAT for scale in ("a1", "b1") for head in ("boxes", "scores")}
    return model(nodes, {"x": (1, 3, 32, 32)}, outputs, tensors)


def text() -> ModelProto:
    """Words of an open number to embeddings, a GRU and a class each."""
    tensors = {
        "table": normal(50, 12),
        "w": normal(1, 48, 12),
        "r": normal(1, 48, 16),
        "head": normal(16, 5),
        "one": np.array([1]),
    }
    nodes = [
        op("Gather", "table ids", "e"),
        op("Transpose", "e", "steps", perm=[1, 0, 2]),
        op("GRU", "steps w r", "h", hidden_size=16),
        op("Squeeze", "h one", "states"),
        op("MatMul", "states head", "y"),
    ]
    return model(nodes, {"ids": ("batch", "length")}, {"y": FLOAT}, tensors, INT64)


def tabular() -> ModelProto:
    """Three Gemm, one of them with both operands transposed."""
    tensors = {"a": normal(32, 10), "b": normal(32, 16), "c": normal(4, 16), "d": normal(1, 4)}
    nodes = [
        op("Gemm", "x a", "h", transB=1),
        op("Relu", "h", "h1"),
        op("Gemm", "h1 b", "g"),
        op("Transpose", "g", "t", perm=[1, 0]),
        op("Gemm", "t c d", "y", transA=1, transB=1),
    ]
    return model(nodes, {"x": (1, 10)}, {"y": FLOAT}, tensors)


def integers(op_type: str) -> ModelProto:
    """A layer of 8-bit integers: ConvInteger, MatMulInteger, QLinearConv or QLinearMatMul."""
    is_conv = op_type.endswith(("ConvInteger", "Conv"))
    shape = (6, 4, 3, 3) if is_conv else (24, 6)
    rng = np.random.default_rng(0)
    weights: dict[str, Array] = {"w": rng.integers(-90, 90, shape).astype(np.int8)}
    scales: dict[str, Array] = {f"s{i}": np.array(0.1, np.float32) for i in range(3)}
    zeros: dict[str, Array] = {f"z{i}": np.array(0, np.uint8) for i in (0, 2)}
    zeros["z1"] = np.array(0, np.int8)
    x: Shape = (1, 4, 9, 9) if is_conv else (1, 5, 24)
    if op_type.startswith("QLinear"):
        node = op(op_type, "x s0 z0 w s1 z1 s2 z2", "y")
        tensors, kind = {**weights, **scales, **zeros}, TensorProto.UINT8
    else:
        node, tensors, kind = op(op_type, "x w", "y"), weights, TensorProto.INT32
    return model([node], {"x": x}, {"y": kind}, tensors, TensorProto.UINT8)


ORT = "com.microsoft"


def fused_product() -> ModelProto:
    """x (1, 24, 5) turned, times weights turned."""
    node = op("FusedMatMul", "x w", "y", domain=ORT, transA=1, transB=1, alpha=0.5)
    return model([node], {"x": (1, 24, 5)}, {"y": FLOAT}, {"w": normal(6, 24)})


def packed_product() -> ModelProto:
    """x (1, 3, 64) times 16 columns of 4-bit weights in blocks of 32."""
    rng = np.random.default_rng(0)
    tensors = {"w": rng.integers(0, 256, (16, 2, 16)).astype(np.uint8), "s": normal(32)}
    node = op("MatMulNBits", "x w s", "y", domain=ORT, K=64, N=16, bits=4, block_size=32)
    return model([node], {"x": (1, 3, 64)}, {"y": FLOAT}, tensors)


def heads() -> ModelProto:
    """Seven queries of 32 over nine keys, in four heads."""
    node = op("MultiHeadAttention", "q k v", "y", domain=ORT, num_heads=4)
    shapes = {"q": (1, 7, 32), "k": (1, 9, 32), "v": (1, 9, 32)}
    return model([node], shapes, {"y": FLOAT}, {})


Image: Shape = (1, 8, 12, 12)

MADE: Mapping[str, Callable[[], ModelProto]] = {
    "lstm": lambda: recurrent("LSTM", 4),
    "gru": lambda: recurrent("GRU", 3),
    "rnn_batch_3": lambda: recurrent("RNN", 1, x=(10, 3, 12)),
    "lstm_both_100": lambda: recurrent("LSTM", 4, both=True, x=(100, 1, 64), hidden=32),
    "gru_both": lambda: recurrent("GRU", 3, both=True),
    "conv": lambda: convolution(Image, (16, 8, 3, 3), pads=[1] * 4),
    "conv_grouped": lambda: convolution(Image, (16, 2, 3, 3), group=4),
    "conv_depthwise": lambda: convolution(Image, (8, 1, 5, 5), group=8, strides=[2, 2]),
    "conv_dilated": lambda: convolution(Image, (16, 8, 3, 3), dilations=[2, 3]),
    "conv_1d": lambda: convolution((1, 4, 40), (6, 4, 5), strides=[3], pads=[1, 0]),
    "conv_3d": lambda: convolution((1, 2, 6, 6, 6), (4, 2, 3, 3, 3)),
    "conv_same_upper": lambda: convolution(
        Image, (16, 8, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]
    ),
    "conv_transpose": lambda: convolution(Image, (8, 6, 4, 4), "ConvTranspose", strides=[2, 2]),
    "conv_transpose_cropped": lambda: convolution(
        Image, (8, 3, 4, 4), "ConvTranspose", strides=[2, 2], pads=[1] * 4, group=2
    ),
    "einsum_product": lambda: einsum("bij,jk->bik", (1, 5, 8), (8, 6)),
    "einsum_heads": lambda: einsum("bhid,bhjd->bhij", (1, 4, 6, 8), (1, 4, 7, 8)),
    "einsum_ellipsis": lambda: einsum("...i,ij->...j", (1, 3, 8), (8, 5)),
    "einsum_outer": lambda: einsum("bi,j->bij", (1, 7), (9,)),
    "loop_5": loop,
    "scan_7": scan,
    "if_then": lambda: choice(True),
    "if_else": lambda: choice(False),
    "transformer_block": transformer,
    "detector": detector,
    "text_open_length": text,
    "tabular": tabular,
    "conv_integer": lambda: integers("ConvInteger"),
    "matmul_integer": lambda: integers("MatMulInteger"),
    "qlinear_conv": lambda: integers("QLinearConv"),
    "qlinear_matmul": lambda: integers("QLinearMatMul"),
    "fused_matmul": fused_product,
    "matmul_nbits": packed_product,
    "multi_head_attention": heads,
}
