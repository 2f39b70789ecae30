"""What is wrong with the scales and zero points of quantized tensors, where the file stores them.

A missing zero point is zero. Runtimes take some of what is refused here, and compute nonsense.
Stored constants may have a scale of 0, which some quantizers write for filters of zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from eapc.model.graph import stored_in
from eapc.model.signatures import counted, label
from eapc.model.tensors import (
    Array,
    attributes_of,
    is_external,
    numpy_type,
    subgraphs_of_node,
)
from eapc.operators import operator

Known = Mapping[str, onnx.TensorProto]

_Tensor = onnx.TensorProto | None

_TO_ZERO_POINT = 2
"""Places from an operand to its zero point, where its scale stands between them."""

_PAIR = ("QuantizeLinear", "DequantizeLinear")


def grid_faults(graph: onnx.GraphProto, outer: Known | None = None) -> Iterator[str]:
    """What is wrong with the grids of a graph's nodes, those of its subgraphs included."""
    stored = stored_in(graph)
    plain = {name: t for name, t in stored.items() if isinstance(t, onnx.TensorProto)}
    known = {**(outer or {}), **plain}
    for node in graph.node:
        yield from (f"{label(node)}: {fault}" for fault in _node_faults(node, known))
        for inner in subgraphs_of_node(node):
            yield from grid_faults(inner, known)


def _node_faults(node: onnx.NodeProto, known: Known) -> Iterator[str]:
    for name, scaled in _scales(node):
        if name in known and not is_external(known[name]):
            values = numpy_helper.to_array(known[name])
            yield from _scale_faults(name, values, may_be_zero=scaled in known)
    if node.op_type in _PAIR and len(node.input) > 1:
        names = [*node.input, ""][:3]
        yield from _shape_faults(node, *(known.get(name) for name in names))


def _scales(node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
    """Scales and the operands that they scale, without a name for results.

    They stand between what is quantized and its zero point, that of a result before it.
    """
    places = operator(node.op_type, node.domain).quantized
    if places is None or places.plain:
        return
    operands = [place for place, zero in places.inputs if zero - place == _TO_ZERO_POINT]
    for place in operands:
        yield from ((name, node.input[place]) for name in node.input[place + 1 : place + 2])
    if places.output is not None:
        yield from ((name, "") for name in node.input[places.output - 1 : places.output])


def _scale_faults(name: str, scale: Array, may_be_zero: bool) -> Iterator[str]:
    values = scale.astype(np.float64).reshape(-1)
    is_right = np.isfinite(values) & ((values > 0) | ((values == 0) & may_be_zero))
    wrong = values[~is_right]
    if wrong.size:
        yield (
            f"its scale '{name}' holds {wrong[0]:g}, and scales have to be positive numbers; "
            "quantize the float network anew"
        )


def _shape_faults(
    node: onnx.NodeProto, x: _Tensor, scale: _Tensor, zero: _Tensor = None
) -> Iterator[str]:
    attributes, name = attributes_of(node), node.input[0]
    if scale is not None and zero is not None:
        told, given = list(zero.dims), list(scale.dims)
        if told != given and not (_is_one(scale) and _is_one(zero)):
            yield f"its zero point has shape {told}, its scale {given}"
    if x is None:
        return
    if node.op_type == "DequantizeLinear" and zero is not None and x.data_type != zero.data_type:
        types = (numpy_type(each.data_type).name for each in (zero, x))
        yield "its zero point is of type {}, and what it reads of {}".format(*types)
    is_list = scale is not None and len(scale.dims) == 1 and not _is_one(scale)
    if scale is None or not is_list or attributes.get("block_size"):
        return
    axis, rank = attributes.get("axis", 1), len(x.dims)
    if not -rank <= axis < rank:
        yield f"its axis is {axis}, and '{name}' has {rank} axes"
    elif x.dims[axis] != scale.dims[0]:
        found = counted(scale.dims[0], "number")
        yield f"its scale holds {found}, and axis {axis} of '{name}' has length {x.dims[axis]}"


def _is_one(tensor: onnx.TensorProto) -> bool:
    return all(size == 1 for size in tensor.dims)
