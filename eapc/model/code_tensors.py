"""Which tensors hold integers that stand for real numbers: their zero points and widths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eapc.model.graph import Node
from eapc.model.model import Model
from eapc.model.rounding import told_bits
from eapc.model.shapes import Shapes
from eapc.model.tensors import type_bits
from eapc.operators import QuantizedOperands, operator_of


@dataclass(frozen=True)
class ZeroPoint:
    """The tensor that says which integer stands for zero; a list of them runs along `axis`."""

    tensor: str
    axis: int


def zero_points(node: Node) -> dict[str, ZeroPoint]:
    """Zero points of a node's quantized operands, by tensor; those left out are zero."""
    places = operator_of(node).quantized or QuantizedOperands()
    found = {node.input(place): node.input(zero) for place, zero in places.inputs}
    if places.output is not None:
        found[node.outputs[0]] = node.input(places.output)
    if places.zero_output is not None:
        found[node.outputs[0]] = node.outputs[places.zero_output]
    axis = 0 if node.attribute("transB", 0) else places.channel_axis  # QGemm may turn them
    return {name: ZeroPoint(zero, axis) for name, zero in found.items() if name and zero}


def tensor_bits(model: Model, shapes: Shapes) -> dict[str, Mapping[str, int]]:
    """Bits of an element, per scope, of the tensors that hold integers for real numbers.

    What DequantizeLinear makes of such a tensor counts as wide as the integers: a machine
    computes with these. A node that tells fewer bits than its type has is believed. Floating-point
    tensors have no entry, whatever their type.
    """
    known: dict[str, dict[str, int]] = {"": {}}
    for node in model.nodes:
        found = known[node.scope]
        told = told_bits(model, node)
        for name, bits in _bits_of_node(node, shapes, found):
            found.setdefault(name, min(told or bits, bits))
        for scope in node.subgraphs:
            known[scope] = dict(found)
    return dict(known)


def _bits_of_node(
    node: Node, shapes: Shapes, known: Mapping[str, int]
) -> Iterator[tuple[str, int]]:
    row = operator_of(node)
    places = row.quantized
    if places is None:
        if row.keeps_width and node.input(0) in known:
            yield from ((name, known[node.input(0)]) for name in node.outputs if name)
        elif row.joins and all(name in known for name in node.inputs):
            yield node.outputs[0], max(known[name] for name in node.inputs)
        return
    if places.packed is not None:
        yield node.input(places.packed), node.attribute("bits", 4)
    told = [
        (node.input(place), node.input(place), node.input(zero)) for place, zero in places.inputs
    ]
    result = node.outputs[0]
    if node.op_type == "DequantizeLinear":
        told.append((result, node.input(0), node.input(2)))
    elif places.output is not None:
        told.append((result, result, node.input(places.output)))
    elif places.zero_output is not None or places.plain:
        told.append((result, result, ""))
    for name, tensor, zero in told:
        bits = _declared_bits(shapes, node, tensor, zero)
        if bits is not None:
            yield name, bits


def _declared_bits(shapes: Shapes, node: Node, tensor: str, zero: str) -> int | None:
    """Bits by a tensor's own type, else by that of its zero point, which is the same."""
    for name in (tensor, zero):
        spec = shapes.spec(node, name) if name else None
        if spec is not None:
            return None if spec.is_float else type_bits(spec.dtype)
    return None
