"""Standard operators whose results have the shapes of those that onnx does not know.

onnx infers no shapes through operators of other domains. In the copy of a model that serves
shape inference alone, each of these is replaced by the one that the table of operators names.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper

from eapc.model.tensors import attributes_of, subgraphs_of_node
from eapc.operators import Substitute, operator_of


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
    op_type, outputs, places = substitute.name, [node.output[0]], substitute.places
    inputs = [node.input[place] for place in places]
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
