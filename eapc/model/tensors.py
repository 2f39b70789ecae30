"""Tensors at the edge of a file: their types, and TensorProto to numpy and back."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import SparseTensorProto, TensorProto, helper, numpy_helper

from eapc.errors import ModelError
from eapc.model.refusals import ONNX, explained, shortened

Array = NDArray[Any]
Shape = tuple[int, ...]
Stored = TensorProto | SparseTensorProto
"""How a file holds a constant."""

KNOWN_TYPES: frozenset[int] = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}
"""The element types that onnx knows."""

ShapeOf = Callable[[str], Shape | None]
"""The shape of a tensor by its name; None where an axis is unknown."""


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's name, numpy type and shape; an unknown or dynamic axis is its name or None.

    `batch_axis` is that of inferences, if the tensor has one: see `eapc/model/batch_axes.py`.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]
    batch_axis: int = field(default=0, compare=False)

    @property
    def batch(self) -> int | str | None:
        """The size of the axis of inferences; None too where there are no axes."""
        return self.shape[self.batch_axis] if self.shape else None

    @property
    def sample_shape(self) -> tuple[int | str | None, ...]:
        """The shape without the axis of inferences."""
        return self.shape[: self.batch_axis] + self.shape[self.batch_axis + 1 :]

    def batched(self, sample: Sequence[int], count: int) -> tuple[int, ...]:
        """The shape of `count` inferences of a shape."""
        return (*sample[: self.batch_axis], count, *sample[self.batch_axis :])

    @property
    def is_float(self) -> bool:
        """True for float16, bfloat16, float32 and float64."""
        return is_float(self.dtype)


def is_float(dtype: np.dtype[Any]) -> bool:
    """True for real floating-point types, bfloat16 (kind V in ml_dtypes) included."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def type_bits(dtype: np.dtype[Any]) -> int:
    """Bits of one element, also for types below a byte: 4 for int4 and float4_e2m1fn."""
    digits = re.search(r"\d+", dtype.name)
    return int(digits.group()) if digits else 8 * dtype.itemsize


def numpy_type(elem_type: int) -> np.dtype[Any]:
    """The numpy type of an ONNX element type; `object` where onnx knows none."""
    try:
        return np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))
    except KeyError:
        return np.dtype(object)


def spec_of(value: onnx.ValueInfoProto) -> TensorSpec | None:
    """The spec of a value; None for sequences, maps and tensors without a known rank."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    shape = tuple(_axis(dim) for dim in tensor.shape.dim)
    return TensorSpec(value.name, numpy_type(tensor.elem_type), shape)


def _axis(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    """A negative size is no size: runtimes read it as an open axis, as exporters mean it."""
    is_size = dim.HasField("dim_value") and dim.dim_value >= 0
    return dim.dim_value if is_size else dim.dim_param or None


def value_like(
    value: onnx.ValueInfoProto, name: str, shape: Sequence[int] | None
) -> onnx.ValueInfoProto:
    """A tensor of a value's element type under another name and of another shape."""
    return helper.make_tensor_value_info(name, value.type.tensor_type.elem_type, shape)


def is_external(tensor: TensorProto) -> bool:
    """True when the tensor's bytes live in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def element_type(tensor: Stored) -> int:
    """The ONNX element type of a constant."""
    return (tensor.values if isinstance(tensor, SparseTensorProto) else tensor).data_type


def decode(tensor: Stored, folder: Path) -> Array:
    """The tensor as a dense numpy array; external data is read from below `folder`."""
    if isinstance(tensor, SparseTensorProto):
        return _dense(tensor, folder)
    source = _copy(tensor) if is_external(tensor) else tensor  # onnx 1.19 loads data into it
    try:
        return numpy_helper.to_array(source, str(folder))
    except (ValueError, TypeError, KeyError, OSError, onnx.checker.ValidationError) as error:
        said = explained(error, ONNX)
        raise ModelError(f"tensor '{tensor.name}' cannot be read: {said}") from error


def _dense(tensor: SparseTensorProto, folder: Path) -> Array:
    """Indices are linear, or a row of one per axis for each value."""
    values, places = decode(tensor.values, folder), decode(tensor.indices, folder)
    dense = np.zeros(math.prod(tensor.dims), values.dtype)
    is_linear = places.ndim == 1
    try:
        dense[places if is_linear else np.ravel_multi_index(tuple(places.T), tensor.dims)] = values
    except (IndexError, ValueError) as error:
        name = tensor.values.name
        said = f"indices of the sparse tensor '{name}' do not fit it: {shortened(str(error))}"
        raise ModelError(said) from error
    return dense.reshape(tensor.dims)


def encode(array: Array, original: TensorProto) -> TensorProto:
    """A copy of `original` holding `array`, cast to the element type the file has."""
    replacement = _copy(original)
    for name in _PAYLOAD_FIELDS:
        replacement.ClearField(name)
    typed = np.asarray(array, dtype=numpy_type(original.data_type))
    replacement.raw_data = numpy_helper.from_array(typed).raw_data  # packs types below a byte
    return replacement


def _copy(tensor: TensorProto) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    return copy


_PAYLOAD_FIELDS = (
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "double_data",
    "uint64_data",
    "raw_data",
    "external_data",
    "data_location",
)


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes, without those that are left to whoever calls a local function."""
    return {a.name: _value(a) for a in node.attribute if not a.ref_attr_name}


def _value(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    return value.decode(errors="replace") if isinstance(value, bytes) else value


PLAIN = frozenset(
    map(onnx.AttributeProto.AttributeType.Value, "FLOAT INT STRING FLOATS INTS STRINGS".split())
)
"""Types of attributes that hold neither tensors nor graphs."""


def tensors_of_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Every tensor in a graph: initializers, sparse ones, node attributes, subgraphs."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from tensors_of_node(node)


def tensors_of_node(node: onnx.NodeProto) -> Iterator[TensorProto]:
    """Every tensor in a node's attributes, those of its subgraphs included."""
    for attribute in node.attribute:
        if attribute.type in PLAIN:
            continue
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in subgraphs_of_attribute(attribute):
            yield from tensors_of_graph(graph)


def subgraphs_of_attribute(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    """The graphs held by one attribute."""
    if attribute.type in PLAIN:
        return
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def subgraphs_of_node(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs held by a node's attributes, in order."""
    return [graph for attribute in node.attribute for graph in subgraphs_of_attribute(attribute)]


def tensors_of_model(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor in a model: main graph, training information, local functions."""
    yield from tensors_of_graph(model.graph)
    for training in model.training_info:
        yield from tensors_of_graph(training.initialization)
        yield from tensors_of_graph(training.algorithm)
    for function in model.functions:
        for node in function.node:
            yield from tensors_of_node(node)
