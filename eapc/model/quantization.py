"""Which tensors hold integers that stand for real numbers: their widths and zero points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eapc.model.graph import Node
from eapc.model.model import Model
from eapc.model.shapes import Shapes
from eapc.model.tensors import type_bits


@dataclass(frozen=True)
class _Operands:
    """Places of an operator's quantized tensors, each with that of its zero point.

    Zero points are inputs, except for those of DynamicQuantizeLinear (`zero_output`).
    `channel_axis` is the axis of the weights that a list of zero points runs along.
    """

    inputs: tuple[tuple[int, int], ...] = ()
    output: int | None = None
    zero_output: int | None = None
    channel_axis: int = -1


_PAIR = ((0, 2), (3, 5))
_QUANTIZED = {
    "QuantizeLinear": _Operands(output=2),
    "DequantizeLinear": _Operands(inputs=((0, 2),)),
    "DynamicQuantizeLinear": _Operands(zero_output=2),
    "QLinearConv": _Operands(_PAIR, output=7, channel_axis=0),
    "QLinearMatMul": _Operands(_PAIR, output=7),
    "ConvInteger": _Operands(((0, 2), (1, 3)), channel_axis=0),
    "MatMulInteger": _Operands(((0, 2), (1, 3))),
    "MatMulIntegerToFloat": _Operands(((0, 4), (1, 5))),
    "DynamicQuantizeMatMul": _Operands(((1, 3),)),
    "QGemm": _Operands(_PAIR, output=8),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), _Operands(_PAIR, output=7)),
    **dict.fromkeys(
        """QLinearAveragePool QLinearGlobalAveragePool QLinearLeakyRelu QLinearReduceMean
        QLinearSigmoid QLinearSoftmax""".split(),
        _Operands(((0, 2),), output=4),
    ),
}

_VALUE_KEEPING = frozenset(
    """Clip DepthToSpace Expand Flatten Gather Identity MaxPool Pad Relu Reshape Slice SpaceToDepth
    Split Squeeze Tile Transpose Unsqueeze""".split()
)
"""Operators whose result is as wide as their first input."""


@dataclass(frozen=True)
class ZeroPoint:
    """The tensor that says which integer stands for zero; a list of them runs along `axis`."""

    tensor: str
    axis: int


def zero_points(node: Node) -> dict[str, ZeroPoint]:
    """Zero points of a node's quantized operands, by tensor; those left out are zero."""
    places = _QUANTIZED.get(node.op_type, _Operands())
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
    computes with these. Floating-point tensors have no entry, whatever their type.
    """
    known: dict[str, dict[str, int]] = {"": {}}
    for node in model.nodes:
        found = known[node.scope]
        for name, bits in _bits_of_node(node, shapes, found):
            found.setdefault(name, bits)
        for scope in node.subgraphs:
            known[scope] = dict(found)
    return dict(known)


def _bits_of_node(
    node: Node, shapes: Shapes, known: Mapping[str, int]
) -> Iterator[tuple[str, int]]:
    if node.op_type == "MatMulNBits":
        yield node.input(1), node.attribute("bits", 4)
        return
    places = _QUANTIZED.get(node.op_type)
    if places is None:
        if node.op_type in _VALUE_KEEPING and node.input(0) in known:
            yield from ((name, known[node.input(0)]) for name in node.outputs if name)
        elif node.op_type == "Concat" and all(name in known for name in node.inputs):
            yield node.outputs[0], max(known[name] for name in node.inputs)
        return
    for place, zero in places.inputs:
        bits = _declared_bits(shapes, node, node.input(place), node.input(zero))
        if bits is not None:
            yield node.input(place), bits
    bits = _bits_of_result(node, shapes, places)
    if bits is not None:
        yield node.outputs[0], bits


def _bits_of_result(node: Node, shapes: Shapes, places: _Operands) -> int | None:
    result = node.outputs[0]
    if node.op_type == "DequantizeLinear":
        return _declared_bits(shapes, node, node.input(0), node.input(2))
    if places.output is not None:
        return _declared_bits(shapes, node, result, node.input(places.output))
    if places.zero_output is not None or node.op_type in ("ConvInteger", "MatMulInteger"):
        return _declared_bits(shapes, node, result, "")
    return None


def _declared_bits(shapes: Shapes, node: Node, tensor: str, zero: str) -> int | None:
    """Bits by a tensor's own type, else by that of its zero point, which is the same."""
    for name in (tensor, zero):
        spec = shapes.spec(node, name) if name else None
        if spec is not None:
            return None if spec.is_float else type_bits(spec.dtype)
    return None
