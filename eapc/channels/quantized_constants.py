"""Constants by channel through quantization, and through operators that compute on integers.

Constants of integers that stand for real numbers are codes; `ZERO_POINT` is the code of zero where
that is told at run time only. What a code stands for is its real constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from eapc.channels.constraints import Axis, Operand
from eapc.channels.grid_ranges import TIE
from eapc.channels.nodes import NodeAxes, NodeConstraints
from eapc.model import Array, code_range, is_code, spread_zero_points, zero_points
from eapc.operators import WeightLayout, operator

if TYPE_CHECKING:
    from eapc.channels.dead_channels import ChannelConstants

ZERO_POINT = math.inf
"""Stands for the code of zero, whichever that is."""


def zeros_along(constants: ChannelConstants, stated: NodeConstraints, axis: Axis) -> Array:
    """(length of the axis,) True where an operand is nothing but zeros, or codes of zero."""
    operand = axis.operand
    nonzero = nonzero_weights(constants, stated.axes, operand)
    if nonzero is not None:
        others = tuple(place for place in range(nonzero.ndim) if place != axis.number)
        return np.asarray(~nonzero.any(axis=others))
    given, zero = constants.of(axis), _zero_of(constants, stated.axes, operand)
    known: Array = (given == ZERO_POINT) | (given == (np.nan if zero is None else zero))
    return known


def nonzero_weights(constants: ChannelConstants, node: NodeAxes, operand: Operand) -> Array | None:
    """Where a constant is not zero, or not the code of zero; None of what is no constant."""
    array = constants.value(operand.tensor)
    if array is None:
        return None
    zero = zero_points(node.node).get(operand.tensor) if node.row.contracts else None
    if zero is None:
        return np.asarray(array != 0)
    code = constants.value(zero.tensor)
    if code is None:
        return np.ones(array.shape, np.bool_)
    return np.asarray(array != spread_zero_points(code, array.shape, zero.axis))


def _zero_of(constants: ChannelConstants, node: NodeAxes, operand: Operand) -> float | None:
    """The code of zero of an operand: 0 of real numbers; None where it is not told."""
    zero = zero_points(node.node).get(operand.tensor) if node.row.contracts else None
    return 0.0 if zero is None else _number(constants, zero.tensor)


def _number(constants: ChannelConstants, tensor: str) -> float | None:
    """The number that a constant is everywhere; 0 where it is left out, None where it is none."""
    if not tensor:
        return 0.0
    array = constants.value(tensor)
    if array is None or not array.size or np.any(array != array.flat[0]):
        return None
    return float(array.flat[0])


# --- grids -----------------------------------------------------------------------------------


def _grid(constants: ChannelConstants, node: NodeAxes, place: int) -> tuple[float, float]:
    """Scale and zero point from a place of a node on; NaN for several, and where none is told."""
    found = (_number(constants, node.node.input(each)) for each in (place, place + 1))
    step, offset = (np.nan if each is None else each for each in found)
    return step, offset


def _real(codes: Array, scale: Array | float, zero: Array | float) -> Array:
    """What constant codes stand for; a code of zero is 0 by any scale."""
    is_zero = (codes == zero) | (codes == ZERO_POINT)
    found: Array = np.where(is_zero, 0.0, (codes - zero) * scale)
    return found


def _coded(
    real: Array, scale: Array | float, zero: Array | float, dtype: np.dtype[Any] | None
) -> Array:
    """The codes of constant real numbers; NaN where runtimes may round one way or the other."""
    found = np.where(real == 0, zero, np.nan)
    if dtype is None or not is_code(dtype):
        return found
    steps = real / scale
    least, greatest = (end - zero for end in code_range(dtype))
    inside = (least - 0.5 < steps) & (steps < greatest + 0.5)
    is_tie = inside & (np.abs(steps - np.floor(steps) - 0.5) < TIE)
    known: Array = np.where(is_tie, np.nan, np.clip(np.rint(steps), least, greatest) + zero)
    return np.where(real == 0, found, known)


# --- quantization ------------------------------------------------------------------------------


def quantized(constants: ChannelConstants, stated: NodeConstraints, y: Axis) -> Array:
    """QuantizeLinear: the code of a constant, or of all that lies within bounds."""
    x, grids = stated.axes.input(0), _grids(constants, stated, y)
    dtype = constants.dtype(y.operand.tensor)
    given = constants.spread_of(x, stated, y)
    found = _coded(given, *grids, dtype)
    bounds = constants.bounds(x, y)
    if bounds is None:
        return found
    low, high = (_coded(end, *grids, dtype) for end in bounds)
    return np.where(np.isnan(given) & (low == high), low, found)


def dequantized(constants: ChannelConstants, stated: NodeConstraints, y: Axis) -> Array:
    """DequantizeLinear: what a constant code stands for; 0 by a scale of 0, whatever the code."""
    scale, zero = _grids(constants, stated, y)
    real = _real(constants.spread_of(stated.axes.input(0), stated, y), scale, zero)
    return np.where(scale == 0, 0.0, real)


def _grids(
    constants: ChannelConstants, stated: NodeConstraints, y: Axis
) -> tuple[Array, Array | float]:
    """Scale and zero point for every index of an axis; NaN where they are several."""
    scale, *zero = (constants.spread_of(each, stated, y) for each in stated.axes.given(1))
    return scale, zero[0] if zero else 0.0


def dynamically_quantized(constants: ChannelConstants, stated: NodeConstraints, y: Axis) -> Array:
    """DynamicQuantizeLinear: zero becomes the zero point, whichever that is."""
    x = constants.spread_of(stated.axes.input(0), stated, y)
    return np.where(x == 0, ZERO_POINT, np.nan)


# --- layers on integers --------------------------------------------------------------------------


def integer_layer(constants: ChannelConstants, stated: NodeConstraints, y: Axis) -> Array:
    """The code of the bias where each product has a code of zero: a weight, or what it reads."""
    node = stated.axes
    first, second = node.row.factors or (0, 1)
    layout = operator(node.row.like or "MatMul").weights
    x, w = node.input(first), node.input(second)
    silent = np.zeros(y.size, np.bool_)
    for operand in (x, w):
        silent |= _silent_along(constants, stated, operand, y)
    used = _used(constants, stated, layout, x, w, y) if layout else None
    silent |= False if used is None else ~used
    return np.where(silent, _BIAS[node.op_type](constants, stated, y), np.nan)


def _silent_along(
    constants: ChannelConstants, stated: NodeConstraints, operand: Operand, y: Axis
) -> Array:
    """True where all that an operand has for an index of y are codes of zero."""
    found = np.zeros(y.size, np.bool_)
    for axis, indices, targets in constants.parts(stated, operand, y):
        found[targets] = zeros_along(constants, stated, axis)[indices]
    return found


def _used(
    constants: ChannelConstants,
    stated: NodeConstraints,
    layout: WeightLayout,
    x: Operand,
    w: Operand,
    y: Axis,
) -> Array | None:
    """(outputs,) True where a weight and what it reads are not zero; None where it is no layer."""
    nonzero, attributes = (
        nonzero_weights(constants, stated.axes, w),
        stated.axes.node.attributes,
    )
    if nonzero is None or y.number != layout.channels % y.operand.rank:
        return None
    if nonzero.ndim < 2 or (nonzero.ndim > 2 and layout.outputs == -1):
        return None
    number = y.number - int(bool(attributes.get(layout.x_swapped_by, 0)))
    along = x.axis(number if y.operand.rank == x.rank else x.rank - 1)
    read = ~zeros_along(constants, stated, along) if along.size > 1 else np.ones(1, np.bool_)
    groups = layout.groups(attributes)
    taps = math.prod(nonzero.shape[2:])
    found = np.asarray(nonzero.reshape(groups, -1, nonzero.shape[1], taps).any(axis=3))
    if layout.axes(attributes, nonzero.ndim)[0]:
        found = found.swapaxes(1, 2)  # (groups, outputs, inputs)
    result: Array = (found & read.reshape(groups, 1, -1)).any(axis=2).reshape(-1)
    return result


_Bias = Callable[["ChannelConstants", NodeConstraints, Axis], "Array | float"]


def _no_bias(*_: object) -> float:
    return 0.0


def _float_bias(place: int) -> _Bias:
    def bias(constants: ChannelConstants, stated: NodeConstraints, y: Axis) -> Array | float:
        return _spread_at(constants, stated, y, place)

    return bias


def _coded_bias(x: int, w: int, bias: int | None, y: int) -> _Bias:
    """The bias's integers count steps of the product of both scales, at `x` and `w`."""

    def code(constants: ChannelConstants, stated: NodeConstraints, axis: Axis) -> Array | float:
        node, real = stated.axes, np.zeros(axis.size)
        if bias is not None and node.node.input(bias):
            scales = (_spread_at(constants, stated, axis, place) for place in (x, w))
            steps, alpha = _spread_at(constants, stated, axis, bias), node.attribute("alpha", 1.0)
            real = math.prod(scales, start=steps if alpha == 1.0 else steps * np.nan)
            real = np.where(steps == 0, 0.0, real)
        scale, zero = _grid(constants, node, y)
        return _coded(real, scale, zero, constants.dtype(axis.operand.tensor))

    return code


def _spread_at(constants: ChannelConstants, stated: NodeConstraints, y: Axis, place: int) -> Array:
    if not stated.axes.node.input(place):
        return np.zeros(y.size)
    return constants.spread_of(stated.axes.input(place), stated, y)


_BIAS: dict[str, _Bias] = {
    "QLinearConv": _coded_bias(1, 4, 8, 6),
    "QLinearMatMul": _coded_bias(1, 4, None, 6),
    "QGemm": _coded_bias(1, 4, 6, 7),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), _no_bias),
    "MatMulIntegerToFloat": _float_bias(6),
    "DynamicQuantizeMatMul": _float_bias(4),
}


# --- element by element on integers --------------------------------------------------------------

_Reals = Callable[[NodeAxes, list[Array]], Array]


def on_reals(function: _Reals, operands: tuple[int, ...], result: int) -> Any:
    """A rule of an operator that computes `function` of what its operands' codes stand for.

    Each operand is followed by its scale and zero point; those of the result are at `result`.
    """

    def rule(constants: ChannelConstants, stated: NodeConstraints, y: Axis) -> Array:
        node, reals = stated.axes, []
        for place in operands or range(2, len(node.node.inputs), 3):
            codes = constants.spread_of(node.input(place), stated, y)
            reals.append(_real(codes, *_grid(constants, node, place + 1)))
        grid = _grid(constants, node, result)
        return _coded(function(node, reals), *grid, constants.dtype(y.operand.tensor))

    return rule


def _added(_: NodeAxes, reals: list[Array]) -> Array:
    return reals[0] + reals[1]


def _multiplied(_: NodeAxes, reals: list[Array]) -> Array:
    found: Array = np.where((reals[0] == 0) | (reals[1] == 0), 0.0, reals[0] * reals[1])
    return found


def _leaky(node: NodeAxes, reals: list[Array]) -> Array:
    (x,) = reals
    found: Array = np.where(x < 0, node.attribute("alpha", 0.01) * x, x)
    return found


def _pooled(_: NodeAxes, reals: list[Array]) -> Array:
    """Only zero stays what it is beside zeros of padding."""
    found: Array = np.where(reals[0] == 0, 0.0, np.nan)
    return found


def _joined(_: NodeAxes, reals: list[Array]) -> Array:
    """Each operand is known at its own indices alone."""
    found = reals[0]
    for other in reals[1:]:
        found = np.where(np.isnan(found), other, found)
    return found


ELEMENT_WISE = {
    "QLinearAdd": on_reals(_added, (0, 3), 6),
    "QLinearMul": on_reals(_multiplied, (0, 3), 6),
    "QLinearLeakyRelu": on_reals(_leaky, (0,), 3),
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool"), on_reals(_pooled, (0,), 3)),
    "QLinearConcat": on_reals(_joined, (), 0),
}
"""Rules of onnxruntime's own operators."""
