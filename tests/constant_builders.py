"""One network whose weights and bias a file holds in ways of every kind, each with a dense twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from builders import Array, constant_node, ints, make_model, normal, op, scalar
from onnx import ModelProto, NodeProto, SparseTensorProto, helper, numpy_helper

SHAPE = (6, 3, 3, 3)
NODES = [
    op("Conv", "x w b", "c", "one", pads=[1, 1, 1, 1]),
    op("Relu", "c", "r", "relu"),
    op("Conv", "r w2", "y", "two"),
]


def with_zeros(shape: Sequence[int] = SHAPE, seed: int = 1) -> Array:
    """Values of which every third is 0."""
    array = normal(shape, seed)
    array.reshape(-1)[::3] = 0
    return array


def sparse_of(array: Array, name: str = "", by_axis: bool = False) -> SparseTensorProto:
    """A tensor in sparse form, its indices linear or by axis."""
    places = np.flatnonzero(array)
    indices = np.argwhere(array) if by_axis else places
    values = numpy_helper.from_array(array.reshape(-1)[places], name)
    return helper.make_sparse_tensor(values, numpy_helper.from_array(indices), array.shape)


def network(
    nodes: Sequence[NodeProto],
    tensors: Mapping[str, Array],
    sparse: Sequence[SparseTensorProto] = (),
) -> ModelProto:
    """Two convolutions; the first reads w and b, which come of tensors, sparse ones or nodes."""
    second = normal((4, 6, 1, 1), 7)
    model = make_model([*nodes, *NODES], {"x": ("N", 3, 8, 8)}, ["y"], {"w2": second})
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in tensors.items())
    model.graph.sparse_initializer.extend(sparse)
    (out,) = model.graph.output
    out.CopyFrom(helper.make_tensor_value_info("y", 1, ["N", 4, 8, 8]))
    return model


def twin(w: Array, b: Array) -> ModelProto:
    """The network with plain weights and bias."""
    return network([], {"w": w, "b": b})


def folded_normalization() -> tuple[ModelProto, ModelProto]:
    """What onnxoptimizer makes of a BatchNormalization behind a convolution."""
    v, first, gamma, beta, mean = with_zeros(), *(normal((6,), seed) for seed in (2, 3, 4, 5))
    var = np.abs(normal((6,), 6)) + 0.5
    nodes = [
        op("Add", "var eps", "wide"),
        op("Sqrt", "wide", "deviation"),
        op("Div", "gamma deviation", "factor"),
        op("Unsqueeze", "factor axes", "column"),
        op("Mul", "v column", "w", "product"),
        op("Sub", "first mean", "centred"),
        op("Mul", "centred factor", "scaled"),
        op("Add", "scaled beta", "b"),
    ]
    tensors = {"v": v, "first": first, "gamma": gamma, "beta": beta, "mean": mean, "var": var}
    given = {**tensors, "eps": scalar(1e-5), "axes": ints(1, 2, 3)}
    factor = gamma / np.sqrt(var + np.float32(1e-5))
    plain = twin(v * factor.reshape(-1, 1, 1, 1), (first - mean) * factor + beta)
    return network(nodes, given), plain


def weight_normalization() -> tuple[ModelProto, ModelProto]:
    """g * v / ||v||, as PyTorch writes its weight_norm."""
    v, g, b = with_zeros(), normal((6, 1, 1, 1), 2), normal((6,), 3)
    nodes = [
        op("ReduceL2", "v", "norm", axes=[1, 2, 3], keepdims=1),
        op("Div", "v norm", "unit"),
        op("Mul", "g unit", "w", "product"),
    ]
    norm = np.sqrt(np.square(v).sum(axis=(1, 2, 3), keepdims=True))
    return network(nodes, {"v": v, "g": g, "b": b}), twin(g * (v / norm), b)


def arithmetic_behind_a_view() -> tuple[ModelProto, ModelProto]:
    """A product whose axes a Transpose puts in order."""
    v, b = with_zeros((3, 3, 3, 6)), normal((6,), 3)
    nodes = [op("Mul", "v two", "t"), op("Transpose", "t", "w", perm=[3, 0, 1, 2])]
    return network(nodes, {"v": v, "two": scalar(2), "b": b}), twin(2 * v.transpose(3, 0, 1, 2), b)


def sparse_constant() -> tuple[ModelProto, ModelProto]:
    """A Constant node with sparse_value."""
    w, b = with_zeros(), normal((6,), 3)
    node = op("Constant", "", "w", "held", sparse_value=sparse_of(w))
    return network([node], {"b": b}), twin(w, b)


def sparse_initializer() -> tuple[ModelProto, ModelProto]:
    """A sparse_initializer."""
    w, b = with_zeros(), normal((6,), 3)
    return network([], {"b": b}, [sparse_of(w, "w")]), twin(w, b)


def number_constants() -> tuple[ModelProto, ModelProto]:
    """A bias in value_floats, and weights whose shape stands in value_ints."""
    v, b = with_zeros((6, 27)), normal((6,), 3)
    nodes = [
        op("Constant", "", "b", value_floats=[float(each) for each in b]),
        op("Constant", "", "shape", value_ints=list(SHAPE)),
        op("Reshape", "v shape", "w"),
    ]
    return network(nodes, {"v": v}), twin(v.reshape(SHAPE), b)


def constant_of_constants() -> tuple[ModelProto, ModelProto]:
    """Arithmetic of Constant nodes."""
    v, b = with_zeros(), normal((6,), 3)
    nodes = [constant_node("v", v), constant_node("h", scalar(0.5)), op("Mul", "v h", "w")]
    return network(nodes, {"b": b}), twin(v / 2, b)


KINDS: Mapping[str, Callable[[], tuple[ModelProto, ModelProto]]] = {
    made.__name__: made
    for made in (
        folded_normalization,
        weight_normalization,
        arithmetic_behind_a_view,
        sparse_constant,
        sparse_initializer,
        number_constants,
        constant_of_constants,
    )
}
"""Files, each with a dense twin."""
