"""Constant folding of the small integer arithmetic that exporters build shapes from.

ONNX shape inference follows part of it (Shape, Gather, Concat); Pad amounts out of
ConstantOfShape, negative Slice steps and the like it gives up on. Here such nodes are
evaluated by onnx's reference implementation and become Constant nodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import (
    GraphProto,
    NodeProto,
    OperatorSetIdProto,
    SparseTensorProto,
    TensorProto,
    helper,
    numpy_helper,
)

from eapc.model.graph import stored_in
from eapc.model.tensors import Array, ShapeOf, Stored, attributes_of, decode, is_external

LARGEST_ELEMENTS = 4096
"""Results above this size are data, not shapes; they stay nodes."""

FOLDABLE = frozenset(
    """Abs Add And Cast CastLike Ceil Clip Concat ConstantOfShape Div Equal Expand Floor Gather
    GatherElements GatherND Greater GreaterOrEqual Identity Less LessOrEqual Max Min Mod Mul Neg
    NonZero Not Or Pow Range ReduceMax ReduceMin ReduceProd ReduceSum Reshape Round ScatterND
    Shape Size Slice Sqrt Squeeze Sub Tile Transpose Unsqueeze Where""".split()
)


def fold_constants(
    graph: GraphProto,
    shape_of: ShapeOf,
    opsets: Sequence[OperatorSetIdProto],
    outer: Mapping[str, Array] | None = None,
) -> tuple[int, Mapping[str, Array]]:
    """Turn nodes of `graph` whose value is known into Constant nodes, in place.

    `shape_of` gives the shapes known so far. Node count and order stay, subgraphs are not
    entered. Returns how many nodes were folded, and what `known_constants` are then.
    """
    known = known_constants(graph, outer or {})
    folded = 0
    for node in graph.node:
        value = _value_of(node, known, shape_of, opsets)
        if value is not None:
            known[node.output[0]] = value
            become_constant(node, numpy_helper.from_array(value))
            folded += 1
    return folded, known


def known_constants(graph: GraphProto, outer: Mapping[str, Array]) -> dict[str, Array]:
    """Values of a graph's small constants and of those around it, for its subgraphs."""
    small = {name: tensor for name, tensor in stored_in(graph).items() if _is_small(tensor)}
    return {**outer, **{name: decode(tensor, Path()) for name, tensor in small.items()}}


def _is_small(tensor: Stored) -> bool:
    data = tensor.values if isinstance(tensor, SparseTensorProto) else tensor
    return not is_external(data) and math.prod(tensor.dims) <= LARGEST_ELEMENTS


def _value_of(
    node: NodeProto,
    known: Mapping[str, Array],
    shape_of: ShapeOf,
    opsets: Sequence[OperatorSetIdProto],
) -> Array | None:
    if node.op_type not in FOLDABLE or node.domain or len(node.output) != 1:
        return None
    if node.op_type in ("Shape", "Size"):
        return shape_value(node, shape_of(node.input[0]))
    if any(name and name not in known for name in node.input) or not node.input:
        return None
    shape = shape_of(node.output[0])
    if shape is not None and math.prod(shape) > LARGEST_ELEMENTS:
        return None
    array = evaluate_node(node, {name: known[name] for name in node.input if name}, opsets)
    return array if array is not None and array.size <= LARGEST_ELEMENTS else None


def shape_value(node: NodeProto, shape: tuple[int, ...] | None) -> Array | None:
    """What a Shape or Size makes of a tensor of a shape; None where that is unknown."""
    if shape is None:
        return None
    if node.op_type == "Size":
        return np.asarray(np.prod(shape, dtype=np.int64))
    bounds = attributes_of(node)
    start, end = bounds.get("start", 0), bounds.get("end", len(shape))
    return np.asarray(shape[start:end], np.int64)


def evaluate_node(
    node: NodeProto, feeds: Mapping[str, Array], opsets: Sequence[OperatorSetIdProto]
) -> Array | None:
    """The first result of a node by onnx's reference implementation; None where it lacks it."""
    from onnx.reference import ReferenceEvaluator

    try:
        inputs = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), None)
            for n, a in feeds.items()
        ]
        result = helper.make_tensor_value_info(node.output[0], TensorProto.UNDEFINED, None)
        graph = helper.make_graph([node], "node", inputs, [result])
        evaluator = ReferenceEvaluator(graph, {each.domain: each.version for each in opsets})
        return np.asarray(evaluator.run(None, dict(feeds))[0])  # type: ignore[index]
    except Exception:  # whatever the reference implementation lacks simply stays a node
        return None


def become_constant(node: NodeProto, value: TensorProto) -> None:
    """Turn a node into a Constant of the same name and result, in place."""
    del node.input[:]
    del node.attribute[:]
    node.op_type = "Constant"
    node.attribute.append(helper.make_attribute("value", value))
