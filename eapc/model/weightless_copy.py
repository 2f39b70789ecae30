"""A model reduced to what shape inference needs: no large weights, no stale shapes.

onnx infers no shapes through operators of other domains. In the copy of a model that serves
shape inference alone, each of these is replaced by the standard operator that the table of
operators names, whose results have the same shapes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from eapc.model.constants import LARGEST_ELEMENTS
from eapc.model.model import Model
from eapc.model.tensors import (
    ShapeOf,
    attributes_of,
    element_type,
    subgraphs_of_node,
    value_like,
)
from eapc.operators import Substitute, operator_of


def weightless_copy(model: Model, inputs: Mapping[str, tuple[int, ...]]) -> ModelProto:
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


def loosen_reshapes(graph: GraphProto, shape_of: ShapeOf) -> bool:
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
        kind = TensorProto.INT64
        graph.input.append(helper.make_tensor_value_info(unknown, kind, [rank]))
        node.input[1] = unknown
    return bool(found)


_FORGOTTEN = "/forgotten target"


def _contradicts(node: NodeProto, shape_of: ShapeOf) -> bool:
    before, after = shape_of(node.input[0]), shape_of(node.output[0])
    if before is None or after is None or node.input[1].endswith(_FORGOTTEN):
        return False
    return math.prod(before) != math.prod(after)


def _add_constants(model: Model, graph: GraphProto) -> None:
    """Small constants by value, external and sparse ones included; others by their shape."""
    for name, tensor in model.view.initializers.items():
        if math.prod(tensor.dims) <= LARGEST_ELEMENTS:
            graph.initializer.extend(model.initializers([name]))
        else:
            kind = element_type(tensor)
            graph.input.append(helper.make_tensor_value_info(name, kind, tensor.dims))


# --- substitutes -----------------------------------------------------------------------------


def use_substitutes(graph: GraphProto, matrices: Set[str] = frozenset()) -> None:
    """Replace operators that onnx does not know in a graph and its subgraphs, one for one.

    `matrices` are the constants of outer graphs that have two axes.
    """
    matrices = matrices | set(_matrices(graph))
    for node in graph.node:
        row = operator_of(node)
        substitute = row.substitute
        if substitute and not any(map(attributes_of(node).get, substitute.unless)):
            if row.quantized is not None and row.quantized.packed is not None:
                _unpack(graph, node, row.quantized.packed)
            _replace(node, substitute, matrices)
        elif node.op_type == "STFT" and "onesided" not in attributes_of(node):
            node.attribute.append(helper.make_attribute("onesided", 1))  # onnx infers as if 0
        for inner in subgraphs_of_node(node):
            use_substitutes(inner, matrices)


def _matrices(graph: GraphProto) -> Iterator[str]:
    """Constants with two axes; of large ones the copy has the shape alone, as an input."""
    yield from (tensor.name for tensor in graph.initializer if len(tensor.dims) == 2)
    yield from (fed.name for fed in graph.input if len(fed.type.tensor_type.shape.dim) == 2)


def _unpack(graph: GraphProto, node: NodeProto, place: int) -> None:
    """Give packed weights a name with the shape (K, N) that they stand for."""
    sizes = attributes_of(node)
    name = f"{node.output[0]}.unpacked"
    shape = (sizes["K"], sizes["N"])
    graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    node.input[place] = name


def _equation(node: NodeProto, matrices: Set[str]) -> str:
    """A product of stacks of matrices, or of a stack and a matrix, either of them transposed."""
    turned = attributes_of(node)
    left = "ji" if turned.get("transA") else "ij"
    right = "kj" if turned.get("transB") else "jk"
    stack = "" if node.input[1] in matrices else "..."
    return f"...{left},{stack}{right}->...ik"


def _replace(node: NodeProto, substitute: Substitute, matrices: Set[str]) -> None:
    op_type, places = substitute.name, substitute.places
    outputs = list(node.output[: substitute.results])
    inputs = [node.input[place] for place in places if place < len(node.input)]
    if substitute.step:
        inputs = list(node.input[places[0] :: substitute.step])
    if substitute.sum_place is not None and len(node.output) > substitute.sum_place:
        op_type = "Dropout"  # its two results have one shape
        outputs.append(node.output[substitute.sum_place])
    kept: list[AttributeProto] = [a for a in node.attribute if a.name in substitute.attributes]
    if op_type == "Einsum":
        kept = [helper.make_attribute("equation", _equation(node, matrices))]
    node.op_type, node.domain = op_type, ""
    del node.input[:], node.output[:], node.attribute[:]
    node.input.extend(inputs)
    node.output.extend(outputs)
    node.attribute.extend(kept)
