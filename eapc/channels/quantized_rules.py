"""Axis rules of quantization, and of operators that compute on integers.

Scales and zero points are one for a tensor, which no channel takes anything of, or one for each
channel or block, which go with it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eapc.channels.constraints import (
    Constraint,
    Dependency,
    FixedNodeError,
    Operand,
    last_axes,
    same_axes,
)
from eapc.channels.nodes import NodeAxes, axis_rule
from eapc.channels.product_rules import convolved, multiplied
from eapc.channels.view_rules import in_a_row
from eapc.operators import operator

ORT = "com.microsoft"

_PARAMETERS = {
    "QLinearConv": (4, 5, 8),
    "ConvInteger": (3,),
    "QLinearMatMul": (4, 5),
    "MatMulInteger": (3,),
    "QGemm": (4, 5, 6),
    "MatMulIntegerToFloat": (3, 5, 6),
    "DynamicQuantizeMatMul": (2, 3, 4),
}
"""Where an operator has its weights' scale and zero point, and its bias."""


@axis_rule("QuantizeLinear", "DequantizeLinear", f"{ORT}.QuantizeLinear", f"{ORT}.DequantizeLinear")
def quantization(node: NodeAxes) -> Iterator[Constraint]:
    """Scale and zero point follow `axis`, unless there is one for all; blocks go whole."""
    x, y = node.input(0), node.output()
    yield from same_axes(x, y, range(x.rank))
    axis = x.axis(node.attribute("axis", 1))
    block = int(node.attribute("block_size", 0))
    for operand in node.given(1):
        if block:
            yield from _blocks(operand, y, axis.number, block)
        elif operand.rank == 1 and axis.number < x.rank and operand.shape[0] == axis.size:
            yield Dependency(operand.axis(0), y.axis(axis.number))


def _blocks(operand: Operand, y: Operand, axis: int, block: int) -> Iterator[Constraint]:
    """Along one axis one number for each block of indices, along the others one for each."""
    if operand.rank != y.rank:
        raise FixedNodeError("its scales do not fit its blocks")
    yield from same_axes(operand, y, (each for each in range(y.rank) if each != axis))
    places = np.arange(y.shape[axis])
    yield Dependency(y.axis(axis), y.axis(axis), None, places // block * block)
    yield Dependency(y.axis(axis), operand.axis(axis), None, places // block)


@axis_rule("DynamicQuantizeLinear")
def dynamic_quantization(node: NodeAxes) -> Iterator[Constraint]:
    """One scale and zero point for all, which follow from what is left."""
    yield from same_axes(node.input(0), node.output(), range(node.input(0).rank))


@axis_rule("QLinearConv", "ConvInteger", f"{ORT}.QLinearConv")
def integer_convolution(node: NodeAxes) -> Iterator[Constraint]:
    """A convolution; scales and zero points of the weights may be one for each filter."""
    if node.attribute("channels_last", 0):
        raise FixedNodeError("its channels come last")
    x, w, vectors = _factors(node)
    yield from convolved(node, x, w, vectors)


@axis_rule(
    "QLinearMatMul",
    "MatMulInteger",
    *(f"{ORT}.{name}" for name in ("QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul")),
)
def integer_product(node: NodeAxes) -> Iterator[Constraint]:
    """A product; scales and zero points of the weights may be one for each column."""
    a, b, vectors = _factors(node)
    layout = operator(node.row.like or "MatMul").weights
    if layout is None or b.rank < 2:
        raise FixedNodeError("it multiplies by a vector")
    yield from multiplied(node, layout, a, b, vectors)


def _factors(node: NodeAxes) -> tuple[Operand, Operand, list[Operand]]:
    """What is multiplied, and the lists of one number for each output."""
    first, second = node.row.factors or (0, 1)
    places = _PARAMETERS[node.op_type]
    vectors = [node.input(place) for place in places if node.node.input(place)]
    return node.input(first), node.input(second), [each for each in vectors if _is_list(each)]


def _is_list(operand: Operand) -> bool:
    return operand.rank > 0 and operand.shape[-1] > 1


@axis_rule(f"{ORT}.QLinearAdd", f"{ORT}.QLinearMul")
def integer_element_wise(node: NodeAxes) -> Iterator[Constraint]:
    """The operands, each followed by its scale and zero point, broadcast against the result."""
    for place in (0, 3):
        yield from last_axes(node.input(place), node.output())


@axis_rule(f"{ORT}.QLinearConcat")
def integer_concatenation(node: NodeAxes) -> Iterator[Constraint]:
    """The result's scale and zero point come first, then each operand with its own."""
    y = node.output()
    parts = [node.input(place) for place in range(2, len(node.node.inputs), 3)]
    yield from in_a_row(parts, y, y.axis(node.attribute("axis", 1)).number)


@axis_rule(f"{ORT}.QLinearLeakyRelu", f"{ORT}.QLinearSigmoid")
def integer_unary(node: NodeAxes) -> Iterator[Constraint]:
    """Every element of the result is made of one."""
    yield from same_axes(node.input(0), node.output(), range(node.output().rank))


@axis_rule(f"{ORT}.QLinearAveragePool", f"{ORT}.QLinearGlobalAveragePool")
def integer_pooling(node: NodeAxes) -> Iterator[Constraint]:
    """Channels stay apart; positions stay whole."""
    if node.attribute("channels_last", 0):
        raise FixedNodeError("its channels come last")
    yield from same_axes(node.input(0), node.output(), (0, 1))


@axis_rule(f"{ORT}.QLinearSoftmax")
def integer_softmax(node: NodeAxes) -> Iterator[Constraint]:
    """The axis along which it mixes stays whole, before opset 13 all from there on."""
    x, y = node.input(0), node.output()
    axis = node.attribute("axis", -1) % x.rank
    end = axis + 1 if node.attribute("opset", 13) >= 13 else x.rank
    yield from same_axes(x, y, (each for each in range(x.rank) if not axis <= each < end))


@axis_rule(f"{ORT}.QLinearReduceMean")
def integer_mean(node: NodeAxes) -> Iterator[Constraint]:
    """The reduced axes stay whole; the others keep their order in the result."""
    x, y = node.input(0), node.output()
    reduced = {axis % x.rank for axis in node.attribute("axes", range(x.rank))}
    kept = [axis for axis in range(x.rank) if axis not in reduced]
    for place, axis in enumerate(kept):
        yield Dependency(x.axis(axis), y.axis(axis if node.attribute("keepdims", 1) else place))
