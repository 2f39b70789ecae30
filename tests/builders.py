"""Tiny graphs for tests: nodes in one line each, models in a few.

model = make_model([op("Relu", "x", "y")], {"x": (1, 4)}, ["y"])
model = conv_model(filters=8, group=2, pads=[1, 1, 1, 1])
model = chain(["Conv", "Relu", "MaxPool", "Flatten", "Gemm"])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from eapc.model import Model

Array = NDArray[Any]
Axis = int | str | None
Inputs = Mapping[str, Sequence[Axis]] | Sequence[ValueInfoProto]
Initializers = Mapping[str, Array | TensorProto]


def op(op_type: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> NodeProto:
    """A node; operand names are separated by blanks, `-` is an input left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op_type, names, outputs.split(), name=name, **attributes)


def value(name: str, shape: Sequence[Axis] | None, kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    """A graph input, output or value_info."""
    return helper.make_tensor_value_info(name, kind, shape)


def normal(shape: Sequence[int], seed: int = 0, scale: float = 0.5) -> Array:
    """Seeded float32 values about zero, none of them exactly zero."""
    return (np.random.default_rng(seed).normal(0, scale, shape)).astype(np.float32)


def ints(*values: int) -> Array:
    """A one-dimensional int64 array."""
    return np.array(values, np.int64)


def scalar(number: float, kind: type[np.generic] = np.float32) -> Array:
    """An array without axes."""
    return np.array(number, kind)


def constant_node(output: str, array: Array, name: str = "") -> NodeProto:
    """A Constant node whose tensor has no name of its own."""
    return op("Constant", "", output, name=name, value=numpy_helper.from_array(array))


def make_graph(
    nodes: Sequence[NodeProto],
    inputs: Inputs,
    outputs: Sequence[str] | Sequence[ValueInfoProto],
    initializers: Initializers | None = None,
    name: str = "graph",
) -> GraphProto:
    """A graph; outputs given by name have no type, as it may be in subgraphs."""
    fed = [value(n, s) for n, s in inputs.items()] if isinstance(inputs, Mapping) else inputs
    given = [ValueInfoProto(name=out) if isinstance(out, str) else out for out in outputs]
    tensors = [_tensor(n, v) for n, v in (initializers or {}).items()]
    return helper.make_graph(nodes, name, fed, given, tensors)


def _tensor(name: str, content: Array | TensorProto) -> TensorProto:
    if isinstance(content, TensorProto):
        return content
    return numpy_helper.from_array(content, name)


def make_model(
    nodes: Sequence[NodeProto],
    inputs: Inputs,
    outputs: Sequence[str] | Sequence[ValueInfoProto],
    initializers: Initializers | None = None,
    opset: int = 17,
    ir_version: int = 8,
) -> ModelProto:
    """A model; outputs given by name get the inferred type, else float of unknown shape."""
    graph = make_graph(nodes, inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", opset)]
    for domain in sorted({node.domain for node in nodes} - {"", "ai.onnx"}):
        opsets.append(helper.make_opsetid(domain, 1))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output
    for out, found in zip(model.graph.output, inferred, strict=True):
        out.CopyFrom(found if found.HasField("type") else value(out.name, None))
    return model


def loaded(
    nodes: Sequence[NodeProto],
    inputs: Inputs,
    outputs: Sequence[str] | Sequence[ValueInfoProto],
    initializers: Initializers | None = None,
    opset: int = 17,
) -> Model:
    """The `Model` of a graph, without a file."""
    return Model.from_proto(make_model(nodes, inputs, outputs, initializers, opset))


def replaceable(model: ModelProto) -> ModelProto:
    """The model with its initializers among its inputs, so that a caller may replace them."""
    for tensor in model.graph.initializer:
        model.graph.input.append(value(tensor.name, tensor.dims, tensor.data_type))
    return model


def save(model: ModelProto, path: Path) -> Path:
    """Write a model as it is and return the path."""
    path.write_bytes(model.SerializeToString())
    return path


def conv_model(
    x: Sequence[Axis] = (1, 4, 8, 8),
    filters: int = 6,
    kernel: Sequence[int] = (3, 3),
    group: int = 1,
    bias: bool = False,
    weight: Array | None = None,
    **attributes: Any,
) -> ModelProto:
    """One Conv named `conv`: x, w (and b) to y."""
    channels = x[1]
    assert isinstance(channels, int)
    shape = (filters, channels // group, *kernel)
    tensors = {"w": normal(shape) if weight is None else weight}
    if bias:
        tensors["b"] = normal((filters,), 1)
    operands = "x w b" if bias else "x w"
    node = op("Conv", operands, "y", name="conv", group=group, **attributes)
    return make_model([node], {"x": x}, ["y"], tensors)


def gemm_model(
    rows: Axis = 1, inputs: int = 10, outputs: int = 4, bias: bool = True, seed: int = 0
) -> ModelProto:
    """One Gemm named `gemm` as PyTorch exports it (transB): x, w (and b) to y."""
    tensors = {"w": normal((outputs, inputs), seed)}
    if bias:
        tensors["b"] = normal((outputs,), seed + 1)
    node = op("Gemm", "x w b" if bias else "x w", "y", name="gemm", transB=1)
    return make_model([node], {"x": (rows, inputs)}, ["y"], tensors)


def chain(
    ops: Sequence[str],
    x: Sequence[Axis] = ("N", 3, 8, 8),
    width: int = 8,
    classes: int = 5,
    seed: int = 0,
) -> ModelProto:
    """A sequential network over `x`; node `i` of type T is named `T_i`, its output `T_i_out`.

    Conv is 3x3 with padding 1, `width` filters and a bias; Gemm has `classes` outputs and a
    bias; BatchNormalization has seeded statistics; MaxPool and AveragePool are 2x2 with stride
    2. Other operators (Relu, Flatten, GlobalAveragePool, Softmax) take no parameters. The
    input is called `x`, the output `y`.
    """
    shape = [1 if not isinstance(axis, int) else axis for axis in x]
    nodes: list[NodeProto] = []
    tensors: dict[str, Array] = {}
    current = "x"
    for index, op_type in enumerate(ops):
        name = f"{op_type}_{index}"
        out = "y" if index == len(ops) - 1 else f"{name}_out"
        parameters, attributes, shape = _layer(op_type, shape, width, classes, seed + index)
        for key, array in parameters.items():
            tensors[f"{name}.{key}"] = array
        operands = " ".join([current, *(f"{name}.{key}" for key in parameters)])
        nodes.append(op(op_type, operands, out, name=name, **attributes))
        current = out
    return make_model(nodes, {"x": x}, ["y"], tensors)


_Layer = tuple[dict[str, Array], dict[str, Any], list[int]]


def _layer(op_type: str, shape: list[int], width: int, classes: int, seed: int) -> _Layer:
    """Parameters, attributes and output shape of one layer of a chain."""
    channels, rest = shape[1], shape[2:]
    if op_type == "Conv":
        weights = {"weight": normal((width, channels, 3, 3), seed, 0.3), "bias": normal((width,))}
        return weights, {"pads": [1, 1, 1, 1]}, [shape[0], width, *rest]
    if op_type == "Gemm":
        weights = {"weight": normal((classes, channels), seed, 0.3), "bias": normal((classes,))}
        return weights, {"transB": 1}, [shape[0], classes]
    if op_type == "BatchNormalization":
        return _statistics(channels, seed), {}, shape
    if op_type in ("MaxPool", "AveragePool"):
        window = {"kernel_shape": [2, 2], "strides": [2, 2]}
        return {}, window, [*shape[:2], *(size // 2 for size in rest)]
    if op_type == "GlobalAveragePool":
        return {}, {}, [*shape[:2], *(1 for _ in rest)]
    if op_type == "Flatten":
        return {}, {}, [shape[0], int(np.prod(shape[1:]))]
    return {}, {}, shape


def _statistics(channels: int, seed: int) -> dict[str, Array]:
    """Scale, offset, mean and variance of a BatchNormalization."""
    scale, offset, mean, spread = (normal((channels,), seed + i) for i in range(4))
    return {"scale": 1 + scale, "offset": offset, "mean": mean, "var": 0.5 + np.abs(spread)}


def sparse(name: str, dims: Sequence[int], positions: Sequence[int]) -> SparseTensorProto:
    """A sparse float initializer with ones at the given linear positions."""
    values = numpy_helper.from_array(np.ones(len(positions), np.float32), name)
    return helper.make_sparse_tensor(values, numpy_helper.from_array(ints(*positions)), dims)
