"""Constant folding of the small integer arithmetic that exporters build shapes from.

ONNX shape inference follows part of it (Shape, Gather, Concat); Pad amounts out of
ConstantOfShape, negative Slice steps and the like it gives up on. Here such nodes are
evaluated by onnx's reference implementation and become Constant nodes.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from eapc.model.tensors import Array, is_external

LARGEST_ELEMENTS = 4096
"""Results above this size are data, not shapes; they stay nodes."""

_FOLDABLE = frozenset(
    """Abs Add And Cast CastLike Ceil Clip Concat ConstantOfShape Div Equal Expand Floor Gather
    GatherElements GatherND Greater GreaterOrEqual Identity Less LessOrEqual Max Min Mod Mul Neg
    NonZero Not Or Pow Range ReduceMax ReduceMin ReduceProd ReduceSum Reshape Round ScatterND
    Shape Size Slice Sqrt Squeeze Sub Tile Transpose Unsqueeze Where""".split()
)

ShapeOf = Callable[[str], tuple[int, ...] | None]


def fold_constants(
    graph: GraphProto,
    shape_of: ShapeOf,
    opsets: Sequence[onnx.OperatorSetIdProto],
    outer: Mapping[str, Array] | None = None,
) -> int:
    """Turn nodes of `graph` whose value is known into Constant nodes, in place.

    `shape_of` gives the shapes known so far. Node count and order stay, subgraphs are not
    entered. Returns how many nodes were folded.
    """
    known: MutableMapping[str, Array] = ChainMap({}, dict(outer or {}))
    _learn_initializers(graph, known)
    folded = 0
    for node in graph.node:
        if node.op_type == "Constant":
            _learn_constant(node, known)
        elif node.op_type in _FOLDABLE and not node.domain and len(node.output) == 1:
            folded += _fold(node, known, shape_of, opsets)
    return folded


def known_constants(graph: GraphProto, outer: Mapping[str, Array]) -> dict[str, Array]:
    """Values of a graph's small constants and of those around it, for its subgraphs."""
    known: MutableMapping[str, Array] = dict(outer)
    _learn_initializers(graph, known)
    for node in graph.node:
        if node.op_type == "Constant":
            _learn_constant(node, known)
    return dict(known)


def _learn_initializers(graph: GraphProto, known: MutableMapping[str, Array]) -> None:
    for tensor in graph.initializer:
        if _is_small(tensor):
            known[tensor.name] = numpy_helper.to_array(tensor)


def _is_small(tensor: TensorProto) -> bool:
    return not is_external(tensor) and math.prod(tensor.dims) <= LARGEST_ELEMENTS


def _learn_constant(node: NodeProto, known: MutableMapping[str, Array]) -> None:
    for attribute in node.attribute:
        if attribute.name == "value":
            if _is_small(attribute.t):
                known[node.output[0]] = numpy_helper.to_array(attribute.t)
        elif attribute.name in ("value_int", "value_ints"):
            value = helper.get_attribute_value(attribute)
            known[node.output[0]] = np.asarray(value, dtype=np.int64)
        elif attribute.name in ("value_float", "value_floats"):
            value = helper.get_attribute_value(attribute)
            known[node.output[0]] = np.asarray(value, dtype=np.float32)


def _fold(
    node: NodeProto,
    known: MutableMapping[str, Array],
    shape_of: ShapeOf,
    opsets: Sequence[onnx.OperatorSetIdProto],
) -> int:
    if node.op_type in ("Shape", "Size"):
        value = _shape_value(node, shape_of(node.input[0]))
    else:
        value = _evaluate(node, known, shape_of, opsets)
    if value is None:
        return 0
    known[node.output[0]] = value
    _become_constant(node, value)
    return 1


def _shape_value(node: NodeProto, shape: tuple[int, ...] | None) -> Array | None:
    if shape is None:
        return None
    if node.op_type == "Size":
        return np.asarray(np.prod(shape, dtype=np.int64))
    bounds = {a.name: a.i for a in node.attribute}
    start, end = bounds.get("start", 0), bounds.get("end", len(shape))
    return np.asarray(shape[start:end], np.int64)


def _evaluate(
    node: NodeProto,
    known: Mapping[str, Array],
    shape_of: ShapeOf,
    opsets: Sequence[onnx.OperatorSetIdProto],
) -> Array | None:
    if any(name and name not in known for name in node.input) or not node.input:
        return None
    shape = shape_of(node.output[0])
    if shape is not None and np.prod(shape) > LARGEST_ELEMENTS:
        return None
    array = evaluate_node(node, {name: known[name] for name in node.input if name}, opsets)
    return array if array is not None and array.size <= LARGEST_ELEMENTS else None


def evaluate_node(
    node: NodeProto, feeds: Mapping[str, Array], opsets: Sequence[onnx.OperatorSetIdProto]
) -> Array | None:
    """The first result of a node by onnx's reference implementation; None where it lacks it."""
    from onnx.reference import ReferenceEvaluator

    try:
        model = _single_node_model(node, feeds, opsets)
        results: Any = ReferenceEvaluator(model).run(None, dict(feeds))
        return np.asarray(results[0])
    except Exception:  # whatever the reference implementation lacks simply stays a node
        return None


def _single_node_model(
    node: NodeProto, feeds: Mapping[str, Array], opsets: Sequence[onnx.OperatorSetIdProto]
) -> onnx.ModelProto:
    def value(name: str, elem_type: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, elem_type, None)

    inputs = [value(n, helper.np_dtype_to_tensor_dtype(a.dtype)) for n, a in feeds.items()]
    outputs = [value(node.output[0], onnx.TensorProto.UNDEFINED)]
    graph = helper.make_graph([node], "fold", inputs, outputs)
    return helper.make_model(graph, opset_imports=list(opsets))


def _become_constant(node: NodeProto, value: Array) -> None:
    del node.input[:]
    del node.attribute[:]
    node.op_type = "Constant"
    node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(value)))
