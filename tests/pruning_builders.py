"""Small networks of every kind that pruning must cope with, each with inputs to calibrate on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import ml_dtypes
import numpy as np
from builders import Array, chain, constant_node, ints, make_graph, make_model, normal, op, value
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from eapc.data import Dataset, dataset
from eapc.model import Model


class Net(NamedTuple):
    """A model and the arrays that it is calibrated on."""

    proto: ModelProto
    arrays: Mapping[str, Array]

    @property
    def model(self) -> Model:
        return Model.from_proto(self.proto)

    @property
    def data(self) -> Dataset:
        return dataset(self.arrays, self.model.inputs, "test")


def weights_for(
    nodes: Sequence[NodeProto], shapes: Mapping[str, Sequence[int]]
) -> dict[str, Array]:
    """Seeded weights by name, of a size that keeps activations near one."""
    used = {name for node in nodes for name in node.input}
    found = {}
    for seed, (name, shape) in enumerate(shapes.items()):
        assert name in used
        fan_in = max(1, int(np.prod(shape)) // max(shape))
        found[name] = normal(shape, seed, 1.5 / np.sqrt(fan_in) if len(shape) > 1 else 0.3)
    return found


def statistics(prefix: str, channels: int, seed: int = 0) -> dict[str, Array]:
    """What a BatchNormalization `<prefix>g b m v` reads."""
    g, b, m, v = (normal((channels,), seed + i, 0.3) for i in range(4))
    named = {"g": 1 + g, "b": b, "m": m, "v": np.abs(v) + 0.5}
    return {prefix + key: array for key, array in named.items()}


def batch_norm(x: str, y: str, prefix: str) -> NodeProto:
    return op("BatchNormalization", " ".join([x, *(prefix + part for part in "gbmv")]), y)


def images(count: int = 40, channels: int = 3, size: int = 8) -> Array:
    """Smooth, correlated images (count, channels, size, size), not about zero."""
    rough = normal((count, channels, size + 2, size + 2), 99, 1.0)
    return rough[..., 1:-1, 1:-1] + rough[..., 2:, 1:-1] + rough[..., 1:-1, 2:] + np.float32(0.5)


PAD = {"pads": [1, 1, 1, 1]}


def head(x: str) -> list[NodeProto]:
    """Pool, flatten and classify into y."""
    return [
        op("GlobalAveragePool", x, "pooled"),
        op("Flatten", "pooled", "flat"),
        op("Gemm", "flat fw fb", "y", "fc", transB=1),
    ]


def residual(batch: int | str = "N", opset: int = 17) -> Net:
    """A convolution, a residual block with BatchNormalization, a classifier."""
    nodes = [
        op("Conv", "x w0 b0", "c0", "stem", **PAD),
        op("Relu", "c0", "r0"),
        op("Conv", "r0 w1", "c1", "conv1", **PAD),
        batch_norm("c1", "n1", "p"),
        op("Relu", "n1", "r1"),
        op("Conv", "r1 w2", "c2", "conv2", **PAD),
        batch_norm("c2", "n2", "q"),
        op("Add", "n2 r0", "s"),
        op("Relu", "s", "t"),
        *head("t"),
    ]
    shapes = {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 8, 3, 3), "w2": (8, 8, 3, 3)}
    tensors = weights_for(nodes, {**shapes, "fw": (5, 8), "fb": (5,)})
    tensors |= statistics("p", 8, 10) | statistics("q", 8, 20)
    proto = make_model(nodes, {"x": (batch, 3, 8, 8)}, ["y"], tensors, opset=opset)
    return Net(proto, {"x": images()})


def plain() -> Net:
    """Four convolutions and a classifier in a row, on images of very different contrast."""
    ops = ["Conv", "Relu"] * 4 + ["GlobalAveragePool", "Flatten", "Gemm"]
    gains = np.random.default_rng(1).normal(1, 1.5, (60, 3, 1, 1)).astype(np.float32)
    return Net(chain(ops), {"x": images(60) * gains})


def projected() -> Net:
    """A residual sum of two convolutions, one of them a strided projection."""
    nodes = [
        op("Conv", "x w0 b0", "a", "left", strides=[2, 2], **PAD),
        op("Conv", "x w1", "b", "right", strides=[2, 2], **PAD),
        op("Add", "a b", "s"),
        op("Relu", "s", "t"),
        *head("t"),
    ]
    shapes = {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 3, 3, 3), "fw": (5, 8), "fb": (5,)}
    proto = make_model(nodes, {"x": ("N", 3, 8, 8)}, ["y"], weights_for(nodes, shapes))
    return Net(proto, {"x": images()})


def branches() -> Net:
    """Concat of branches, a grouped, a depthwise and a transposed convolution."""
    nodes = [
        op("Conv", "x w0 b0", "a", "one", **PAD),
        op("Conv", "x w1 b1", "b", "two"),
        op("Concat", "a b", "c", axis=1),
        op("Relu", "c", "r"),
        op("Conv", "r w2", "d", "grouped", group=2, **PAD),
        op("Conv", "d w3 b3", "e", "depthwise", group=8, **PAD),
        op("ConvTranspose", "e w4 b4", "f", "up", strides=[2, 2]),
        op("Add", "f k", "g"),
        *head("g"),
    ]
    shapes = {
        **{"w0": (4, 3, 3, 3), "b0": (4,), "w1": (4, 3, 1, 1), "b1": (4,)},
        **{"w2": (8, 4, 3, 3), "w3": (8, 1, 3, 3), "b3": (8,), "w4": (8, 8, 2, 2), "b4": (8,)},
        **{"k": (8, 1, 1), "fw": (5, 8), "fb": (5,)},
    }
    proto = make_model(nodes, {"x": ("N", 3, 8, 8)}, ["y"], weights_for(nodes, shapes))
    return Net(proto, {"x": images()})


def tied() -> Net:
    """One weight used three times in a row, with a bias of its own each time or none."""
    nodes = [
        op("MatMul", "x w", "h1", "first"),
        op("Add", "h1 k1", "a1"),
        op("Tanh", "a1", "t1"),
        op("MatMul", "t1 w", "h2", "second"),
        op("Add", "h2 k2", "a2"),
        op("Tanh", "a2", "t2"),
        op("MatMul", "t2 w", "h3", "third"),
        op("MatMul", "h3 v", "y", "last"),
    ]
    shapes = {"w": (10, 10), "k1": (10,), "k2": (1, 10), "v": (10, 3)}
    proto = make_model(nodes, {"x": ("N", 10)}, ["y"], weights_for(nodes, shapes))
    return Net(proto, {"x": normal((200, 10), 3, 1.0)})


def dense() -> Net:
    """Gemm with alpha, beta and transB, a BatchNormalization, MatMul with a Transpose, no bias."""
    nodes = [
        op("Gemm", "x w0 b0", "a", "gemm", alpha=0.5, beta=2.0, transB=1),
        op("Relu", "a", "r"),
        op("Gemm", "r w1", "b", "bare"),
        batch_norm("b", "n", "p"),
        op("Relu", "n", "q"),
        op("Transpose", "w2", "w2t", perm=[1, 0]),
        op("MatMul", "q w2t", "y", "matmul"),
    ]
    shapes = {"w0": (16, 12), "b0": (16,), "w1": (16, 16), "w2": (4, 16)}
    tensors = weights_for(nodes, shapes) | statistics("p", 16, 5)
    proto = make_model(nodes, {"x": ("N", 12)}, ["y"], tensors)
    return Net(proto, {"x": normal((300, 12), 3, 1.0) + np.float32(0.5)})


def transformer() -> Net:
    """One attention head and a feed-forward block over embedded tokens."""
    nodes = [
        op("Gather", "table tokens", "e", "embed"),
        op("MatMul", "e wq", "q0", "query"),
        op("Add", "q0 bq", "q"),
        op("MatMul", "e wk", "k", "key"),
        op("MatMul", "e wv", "v", "value"),
        op("Transpose", "k", "kt", perm=[0, 2, 1]),
        op("MatMul", "q kt", "s", "scores"),
        op("Softmax", "s", "p", axis=-1),
        op("MatMul", "p v", "c", "context"),
        op("MatMul", "c wo", "o0", "mix"),
        op("Add", "bo o0", "o"),
        op("Add", "o e", "r1"),
        op("LayerNormalization", "r1 g1 b1", "l1"),
        op("MatMul", "l1 w1", "f0", "up"),
        op("Add", "f0 c1", "f1"),
        op("Relu", "f1", "f2"),
        op("MatMul", "f2 w2", "f3", "down"),
        op("Add", "l1 f3", "y"),
    ]
    d, ff = 8, 16
    square = dict.fromkeys(("wq", "wk", "wv", "wo"), (d, d))
    rows = dict.fromkeys(("bq", "bo", "g1", "b1"), (d,))
    shapes = {**square, **rows, "w1": (d, ff), "c1": (ff,), "w2": (ff, d)}
    tensors = {"table": normal((20, d), 7, 1.0), **weights_for(nodes, shapes)}
    inputs = [value("tokens", ("N", 6), TensorProto.INT64)]
    tokens = np.random.default_rng(0).integers(0, 20, (60, 6))
    return Net(make_model(nodes, inputs, ["y"], tensors), {"tokens": tokens})


def stacked() -> Net:
    """Three experts, each a matrix of a stack, whose answers are added up, and a head."""
    nodes = [
        op("Unsqueeze", "x first", "u"),
        op("MatMul", "u w1", "a", "up"),
        op("Add", "a c1", "b"),
        op("Relu", "b", "r"),
        op("MatMul", "r w2", "d", "down"),
        op("ReduceSum", "d first", "s", keepdims=0),
        op("Add", "s x", "t"),
        op("MatMul", "t w3", "y", "head"),
    ]
    shapes = {"w1": (3, 12, 10), "c1": (3, 1, 10), "w2": (1, 3, 10, 12), "w3": (12, 4)}
    tensors = {"first": ints(1), **weights_for(nodes, shapes)}
    proto = make_model(nodes, {"x": ("N", 5, 12)}, ["y"], tensors)
    return Net(proto, {"x": normal((60, 5, 12), 3, 1.0) + np.float32(0.3)})


def fixed_batch() -> Net:
    """As the residual network, for one image at a time."""
    return residual(batch=1)


def old() -> Net:
    """Opset 8 and IR 3, whose initializers are inputs too."""
    net = residual(opset=8)
    net.proto.ir_version = 3
    for tensor in net.proto.graph.initializer:
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        net.proto.graph.input.append(info)
    return net


def in_type(elem_type: int) -> Net:
    """The dense network with weights and activations of another floating-point type."""
    net = dense()
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    for tensor in net.proto.graph.initializer:
        values = numpy_helper.to_array(tensor).astype(dtype)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for info in (*net.proto.graph.input, *net.proto.graph.output):
        info.type.tensor_type.elem_type = elem_type
    return net


def bfloat16() -> Net:
    """bfloat16 weights that are cast where they are used, and a float layer."""
    nodes = [
        op("Cast", "h", "hf", to=TensorProto.FLOAT),
        op("MatMul", "x hf", "a", "cast"),
        op("MatMul", "a w", "y", "plain"),
    ]
    shapes = {"h": (12, 10), "w": (10, 4)}
    proto = make_model(nodes, {"x": ("N", 12)}, ["y"], weights_for(nodes, shapes))
    half = proto.graph.initializer[0]
    dtype = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    half.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(half).astype(dtype), "h"))
    return Net(proto, {"x": normal((200, 12), 3, 1.0)})


def stored_in_half() -> Net:
    """A transformer's block whose weights and biases are float16 behind casts to float.

    Heads are a stack of matrices, one product has its weights in front, and two operators share.
    """
    d, heads, per = 12, 3, 4
    nodes = [
        *(op("Cast", f"{name}_h", name, to=TensorProto.FLOAT) for name in ("wq", "wv", "bq")),
        *(op("Cast", f"{name}_h", name, to=TensorProto.FLOAT) for name in ("w1", "wm", "b1")),
        op("Unsqueeze", "x first", "u"),
        op("MatMul", "u wq", "q0", "query"),
        op("Add", "q0 bq", "q"),
        op("MatMul", "u wv", "v", "value"),
        op("Transpose", "q", "qt", perm=[0, 1, 3, 2]),
        op("MatMul", "q qt", "s", "scores"),
        op("Softmax", "s", "p", axis=-1),
        op("MatMul", "p v", "c", "context"),
        op("Transpose", "c", "ct", perm=[0, 2, 1, 3]),
        op("Reshape", "ct merged", "m"),
        op("Add", "m x", "r"),
        op("MatMul", "wm r", "mixed", "positions"),
        op("MatMul", "mixed w1", "f0", "up"),
        op("Add", "f0 b1", "f1"),
        op("Relu", "f1", "f2"),
        op("Reshape", "f2 rows", "f3"),
        op("Transpose", "w1", "w1t"),
        op("Gemm", "f3 w1t", "y", "again", transB=1),
    ]
    shapes: dict[str, Sequence[int]] = {"wq": (heads, d, per), "wv": (heads, d, per)}
    shapes |= {"bq": (heads, 1, per), "wm": (5, 5), "w1": (d, d), "b1": (d,)}
    tensors = {f"{k}_h": v.astype(np.float16) for k, v in weights_for(nodes, shapes).items()}
    sizes = {"first": ints(1), "merged": ints(0, 5, d), "rows": ints(-1, d)}
    proto = make_model(nodes, {"x": ("N", 5, d)}, [value("y", (None, d))], tensors | sizes)
    return Net(proto, {"x": normal((60, 5, d), 3, 1.0) + np.float32(0.3)})


def with_constants() -> Net:
    """Weights in Constant nodes, a branch that an If decides, a model-local function."""
    hidden = make_graph([op("Relu", "a", "t")], {}, ["t"])
    other = make_graph([op("Add", "a k", "e")], {}, ["e"])
    nodes = [
        constant_node("w", normal((12, 10))),
        constant_node("w2", normal((10, 4), 1)),
        op("MatMul", "x w", "a", "one"),
        op("If", "flag", "b", "if", then_branch=hidden, else_branch=other),
        op("Twice", "b", "c", "local", domain="own"),
        op("MatMul", "c w2", "y", "two"),
    ]
    tensors = {"k": normal((10,), 3), "flag": np.array(False)}
    outputs = [value("y", ("N", 4))]
    proto = make_model(nodes, [value("x", ("N", 12))], outputs, tensors)
    opsets = [helper.make_opsetid("", 17)]
    twice = helper.make_function(
        "own", "Twice", ["i"], ["o"], [op("Add", "i i", "o")], opset_imports=opsets
    )
    proto.functions.append(twice)
    proto.graph.output[0].CopyFrom(outputs[0])
    return Net(proto, {"x": normal((200, 12), 3, 1.0) + np.float32(0.3)})


def reshaped() -> Net:
    """Weights behind a Reshape, activations whose rows a Reshape merges, sequence inputs."""
    nodes = [
        op("Reshape", "w flat", "w2"),
        op("MatMul", "x w2", "a", "one"),
        op("Add", "a k", "b"),
        op("Reshape", "b shape", "c"),
        op("Gemm", "c v vb", "d", "two", transB=1),
        op("Tanh", "d", "y"),
    ]
    tensors = {"w": normal((12, 2, 3)), "flat": ints(0, -1), "shape": ints(-1, 6)}
    tensors |= {"k": normal((6,), 4), "v": normal((4, 6), 5), "vb": normal((4,), 6)}
    proto = make_model(nodes, {"x": ("N", 5, 12)}, ["y"], tensors)
    return Net(proto, {"x": normal((60, 5, 12), 3, 1.0)})


def halved(net: Net) -> Model:
    """The network with the smaller half of every matrix and kernel zeroed."""
    model = net.model
    weights = {}
    for name in model.constants.plain:
        array = model.constants[name]
        if array.ndim > 1:
            weights[name] = np.where(np.abs(array) < np.median(np.abs(array)), 0, array)
    return model.with_weights(weights)


NETS: Mapping[str, Callable[[], Net]] = {
    "residual": residual,
    "projected": projected,
    "branches": branches,
    "tied": tied,
    "dense": dense,
    "transformer": transformer,
    "stacked": stacked,
    "fixed batch": fixed_batch,
    "old": old,
    "float16": lambda: in_type(TensorProto.FLOAT16),
    "double": lambda: in_type(TensorProto.DOUBLE),
    "bfloat16": bfloat16,
    "stored in half": stored_in_half,
    "constants": with_constants,
    "reshaped": reshaped,
}


def rounded_net() -> Net:
    """Real weights that the file itself quantizes: by channel, through a Clip, behind a Transpose.

    A BatchNormalization comes behind the convolution, whose largest weights are beyond the range.
    """
    nodes = [
        op("QuantizeLinear", "x xs xz", "xq"),
        op("DequantizeLinear", "xq xs xz", "xd"),
        op("QuantizeLinear", "c cs cz", "cq", axis=0),
        op("DequantizeLinear", "cq cs cz", "cw", axis=0),
        op("Conv", "xd cw", "conv_y", "conv", pads=[1, 1, 1, 1]),
        op("BatchNormalization", "conv_y bg bb bm bv", "bn_y", "bn"),
        op("Relu", "bn_y", "a"),
        op("GlobalAveragePool", "a", "pooled"),
        op("Flatten", "pooled", "flat"),
        op("QuantizeLinear", "g gs gz", "gq"),
        op("Clip", "gq low high", "gc"),
        op("DequantizeLinear", "gc gs gz", "gw"),
        op("Gemm", "flat gw gb", "h", "gemm", transB=1),
        op("Relu", "h", "r"),
        op("QuantizeLinear", "m ms mz", "mq", axis=0),
        op("DequantizeLinear", "mq ms mz", "md", axis=0),
        op("Transpose", "md", "mw", perm=[1, 0]),
        op("MatMul", "r mw", "y", "matmul"),
    ]
    tensors: dict[str, Array] = {
        "xs": np.array(0.03, np.float32), "xz": np.array(0, np.int8),
        "c": normal((8, 3, 3, 3), 1, 0.2), "cz": np.zeros(8, np.int8),
        "cs": np.linspace(0.002, 0.004, 8).astype(np.float32),
        "bg": np.ones(8, np.float32), "bb": normal((8,), 5, 0.3),
        "bm": normal((8,), 6, 0.1), "bv": np.linspace(0.5, 2, 8).astype(np.float32),
        "g": normal((6, 8), 2, 0.3), "gs": np.array(0.01, np.float32),
        "gz": np.array(0, np.int8), "gb": normal((6,), 3, 0.2),
        "low": np.array(-127, np.int8), "high": np.array(127, np.int8),
        "m": normal((5, 6), 4, 0.5), "mz": np.zeros(5, np.int8),
        "ms": np.linspace(0.01, 0.02, 5).astype(np.float32),
    }  # fmt: skip
    proto = make_model(nodes, {"x": ("N", 3, 8, 8)}, ["y"], tensors, opset=17)
    return Net(proto, {"x": images(200)})


def quantized_net() -> Net:
    """A convolution, a turned and a plain product of int8, uint8 and int4 weights.

    The first has a scale for each filter, one of them negative, and an int32 bias; the second's
    zero points are 128 and 120. Activations are quantized in between, the first to a range that
    begins at 0, as of a Relu.
    """
    rng = np.random.default_rng(7)
    nodes = [
        op("DequantizeLinear", "c cs", "cw", axis=0),
        op("DequantizeLinear", "cb cbs", "cbd", axis=0),
        op("Conv", "x cw cbd", "conv_y", "conv", pads=[1, 1, 1, 1]),
        op("QuantizeLinear", "conv_y as az", "aq"),
        op("DequantizeLinear", "aq as az", "a"),
        op("GlobalAveragePool", "a", "pooled"),
        op("Flatten", "pooled", "flat"),
        op("DequantizeLinear", "g gs gz", "gw", axis=0),
        op("Gemm", "flat gw gb", "h", "gemm", transB=1),
        op("Relu", "h", "r"),
        op("DequantizeLinear", "m ms", "md"),
        op("Transpose", "md", "mw"),
        op("MatMul", "r mw", "y", "matmul"),
    ]
    scale = np.linspace(0.002, 0.004, 8).astype(np.float32)
    scale[3] *= -1
    tensors: dict[str, Array] = {
        "c": rng.integers(-90, 91, (8, 3, 3, 3)).astype(np.int8), "cs": scale,
        "cb": rng.integers(-900, 900, 8).astype(np.int32), "cbs": np.abs(scale) * np.float32(0.05),
        "as": np.array(0.02, np.float32), "az": np.array(0, np.uint8),
        "g": rng.integers(0, 256, (6, 8)).astype(np.uint8),
        "gs": np.linspace(0.003, 0.005, 6).astype(np.float32),
        "gz": np.array([128, 120, 128, 128, 120, 128], np.uint8), "gb": normal((6,), 3, 0.2),
        "m": rng.integers(-8, 8, (5, 6)).astype(ml_dtypes.int4), "ms": np.array(0.1, np.float32),
    }  # fmt: skip
    proto = make_model(nodes, {"x": ("N", 3, 8, 8)}, ["y"], tensors, opset=21)
    return Net(proto, {"x": images(200)})
