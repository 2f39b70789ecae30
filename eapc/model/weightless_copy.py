"""A model reduced to what shape inference needs: no large weights, no stale shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx

from eapc.model.folding import LARGEST_ELEMENTS
from eapc.model.model import Model
from eapc.model.shape_substitutes import use_substitutes
from eapc.model.tensors import ShapeOf, element_type, value_like


def weightless_copy(model: Model, inputs: Mapping[str, tuple[int, ...]]) -> onnx.ModelProto:
    """The model without large constants and stale shapes, its inputs made concrete."""
    proto = model.view.proto
    copy = model.emptied()
    graph = copy.graph
    graph.name = proto.graph.name or "graph"
    graph.node.extend(proto.graph.node)
    _add_constants(model, graph)
    use_substitutes(graph)
    for value in proto.graph.input:
        if value.name not in model.view.initializers:
            shape = inputs.get(value.name)
            graph.input.append(value if shape is None else value_like(value, value.name, shape))
    for value in proto.graph.output:
        is_tensor = value.type.HasField("tensor_type")
        graph.output.append(value_like(value, value.name, None) if is_tensor else value)
    return copy


def loosen_reshapes(graph: onnx.GraphProto, shape_of: ShapeOf) -> bool:
    """Forget the targets of Reshape nodes that do not fit their input; True if there were any.

    Such targets hold a batch of the file's own. onnx does not compare their number of elements.
    """
    found = [
        node
        for node in graph.node
        if node.op_type == "Reshape" and len(node.input) > 1 and _contradicts(node, shape_of)
    ]
    for node in found:
        rank = len(shape_of(node.output[0]) or ())
        unknown = f"{node.output[0]}{_FORGOTTEN}"
        kind = onnx.TensorProto.INT64
        graph.input.append(onnx.helper.make_tensor_value_info(unknown, kind, [rank]))
        node.input[1] = unknown
    return bool(found)


_FORGOTTEN = "/forgotten target"


def _contradicts(node: onnx.NodeProto, shape_of: ShapeOf) -> bool:
    before, after = shape_of(node.input[0]), shape_of(node.output[0])
    if before is None or after is None or node.input[1].endswith(_FORGOTTEN):
        return False
    return math.prod(before) != math.prod(after)


def _add_constants(model: Model, graph: onnx.GraphProto) -> None:
    """Small constants by value, external and sparse ones included; others by their shape."""
    for name, tensor in model.view.initializers.items():
        if math.prod(tensor.dims) <= LARGEST_ELEMENTS:
            graph.initializer.extend(model.initializers([name]))
        else:
            kind = element_type(tensor)
            graph.input.append(onnx.helper.make_tensor_value_info(name, kind, tensor.dims))
