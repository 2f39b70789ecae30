"""Networks in floats of 16 bits, as onnxruntime can run them.

Its CPU kernels lack most of bfloat16, so such a network runs as its twin in float32: the same
nodes and the same numbers, as every bfloat16 is a float32. Only sums are rounded less. What is
written stays bfloat16.

In float16 the layouts that onnxruntime makes at its highest level of optimisation can end the
process as a model is opened. One level lower is as far as such models are taken, and another
process opens them first (`trial_opening`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    numpy_helper,
)

from eapc.model import tensors_of_model

_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)

_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "stash_type")
"""Attributes that name an element type."""


def holds_halves(proto: ModelProto, kinds: Iterable[int] = _HALVES) -> bool:
    """Whether a model has a tensor, an input, an output or a Cast of any of these types."""
    kinds = tuple(kinds)
    values = (*proto.graph.input, *proto.graph.output)
    if any(value.type.tensor_type.elem_type in kinds for value in values):
        return True
    if any(tensor.data_type in kinds for tensor in tensors_of_model(proto)):
        return True
    return any(attribute.i in kinds for attribute in _type_attributes(proto))


def holds_bfloat16(proto: ModelProto) -> bool:
    """Whether a model has anything of bfloat16."""
    return holds_halves(proto, (TensorProto.BFLOAT16,))


def float32_twin(proto: ModelProto) -> ModelProto:
    """A copy of a model whose data are embedded, with float32 for bfloat16 throughout."""
    twin = ModelProto()
    twin.CopyFrom(proto)
    for tensor in tensors_of_model(twin):
        if tensor.data_type == TensorProto.BFLOAT16:
            widened = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(widened, tensor.name))
    for attribute in _type_attributes(twin):
        if attribute.i == TensorProto.BFLOAT16:
            attribute.i = TensorProto.FLOAT
    for kind in _types(twin):
        _widen(kind)
    return twin


def _widen(kind: TypeProto) -> None:
    """float32 for bfloat16 in a type, also within a sequence or an optional, in place."""
    if kind.tensor_type.elem_type == TensorProto.BFLOAT16:
        kind.tensor_type.elem_type = TensorProto.FLOAT
    for case in ("sequence_type", "optional_type"):
        if kind.HasField(case):
            _widen(getattr(kind, case).elem_type)


def _types(proto: ModelProto) -> Iterator[TypeProto]:
    for graph in _graphs(proto.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.HasField("type"):
                yield value.type
    for function in proto.functions:
        yield from (value.type for value in function.value_info)


def _type_attributes(proto: ModelProto) -> Iterator[AttributeProto]:
    for node in _nodes(proto):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.INT and attribute.name in _TYPE_ATTRIBUTES:
                yield attribute


def _nodes(proto: ModelProto) -> Iterator[NodeProto]:
    for graph in _graphs(proto.graph):
        yield from graph.node
    for function in proto.functions:
        yield from function.node


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else []
            for each in (*inner, *attribute.graphs):
                yield from _graphs(each)
