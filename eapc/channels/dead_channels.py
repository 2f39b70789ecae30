"""Dead channels: those whose feature map is zero, or is read by zeros alone.

Constants are propagated by channel: that of an index of an axis is the number that all elements
at that index are whatever the model is fed, or NaN where nothing is known of them. They start in
layers with weights of zero and go through the graph in data-flow order, along the dependencies
of its nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from onnx import numpy_helper

from eapc.channels.constraints import Axis, Dependency, Operand, Weights
from eapc.channels.finding import groups_and_constraints
from eapc.channels.groups import ChannelGroup, ChannelGroups
from eapc.channels.nodes import NodeAxes, NodeConstraints
from eapc.channels.quantized_constants import (
    ELEMENT_WISE,
    dequantized,
    dynamically_quantized,
    integer_layer,
    quantized,
    zeros_along,
)
from eapc.channels.quantized_ranges import bounds_behind_grids
from eapc.model import (
    Array,
    Model,
    Node,
    Shapes,
    evaluate_node,
    find_weights,
    is_float,
    spread_zero_points,
)
from eapc.operators import Operator, operator_of

Used = dict[tuple[str, int], Array]
"""(tensor, axis) -> True where an index has an effect on a sum of products."""


def dead_channels(model: Model, shapes: Shapes) -> tuple[ChannelGroups, dict[str, Array]]:
    """The channel groups, and by name the sorted channels whose removal changes no output.

    A channel ends where layers sum products over it, and there in each product one factor must
    be zero: the feature map, whatever the input, or the weights that read it.
    """
    groups, stated = groups_and_constraints(model, shapes)
    values = ChannelConstants(model, shapes, stated)
    used: Used = {}
    for node, dependency in ((one, each) for one in stated for each in _contractions(one)):
        pairs = tuple(zip((dependency.one, dependency.other), dependency.pairs(), strict=True))
        sides = (zeros_along(values, node, axis)[indices] for axis, indices in pairs)
        both = ~np.logical_or(*sides)
        for axis, indices in pairs:
            _use(used, axis, indices[both])
    for node in stated:
        if node.axes.op_type in _RANGED:
            for axis in node.axes.input(0).axes() if not node.reason else ():
                _use(used, axis, np.flatnonzero(values.of(axis) != 0))
    return groups, {group.name: _dead(group, used) for group in groups.groups}


_RANGED = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul")
"""Operators whose grid follows from all that they read: of that only zeros have no effect."""


def _use(used: Used, axis: Axis, indices: Array) -> None:
    if axis.size > 1:
        key = (axis.operand.tensor, axis.number)
        used.setdefault(key, np.zeros(axis.size, np.bool_))[indices] = True


def _contractions(stated: NodeConstraints) -> list[Dependency]:
    """The dependencies between the first two operands, along which products are summed.

    None of a convolution whose groups go whole: what it reads and writes is one channel.
    """
    weights = {each.axis.number for each in stated.of(Weights)}
    first, second = stated.axes.row.factors or (0, 1)
    operands = {*stated.axes.inputs[first : first + 1], *stated.axes.inputs[second : second + 1]}
    if not stated.axes.row.contracts or len(weights) == 1 or len(operands) < 2:
        return []
    found = stated.of(Dependency)
    return [each for each in found if {each.one.operand, each.other.operand} == operands]


def _dead(group: ChannelGroup, used: Used) -> Array:
    dead = np.ones(group.size, np.bool_)
    for cut in group.slices:
        found = used.get((cut.tensor, cut.axis))
        if found is not None:
            dead &= ~found[cut.indices].any(axis=1)
    return np.flatnonzero(dead)


# --- channel constant propagation ------------------------------------------------------------


class ChannelConstants:
    """The constants along every axis of a model's tensors that depends on another."""

    def __init__(self, model: Model, shapes: Shapes, stated: Iterable[NodeConstraints]) -> None:
        self._model, self._shapes = model, shapes
        self._found: dict[Axis, Array] = {}
        self._ranges = bounds_behind_grids(model, shapes)
        with np.errstate(all="ignore"):  # what divides by zero has no constant
            for each in stated:
                propagated = None if each.reason else _propagation_of(each.axes.row)
                for result in each.axes.outputs if propagated else ():
                    if result and propagated and not find_weights(self._model, result.tensor):
                        for axis in (axis for axis in result.axes() if axis.size > 1):
                            self._found[axis] = propagated(self, each, axis)

    def of(self, axis: Axis) -> Array:
        """The constants (length of the axis,) float64 along an axis of a tensor."""
        if axis not in self._found:
            array = self.value(axis.operand.tensor)
            self._found[axis] = _unknown(axis) if array is None else _common(array, axis.number)
        return self._found[axis]

    def dtype(self, tensor: str) -> np.dtype[Any] | None:
        """The type of a computed tensor's elements; None where it is unknown."""
        spec = self._shapes.by_scope[""].get(tensor)
        return None if spec is None else spec.dtype

    def bounds(self, x: Operand, y: Axis) -> tuple[Array, Array] | None:
        """Between which numbers x lies at every index of an axis of y, which x has too."""
        if self._ranges is None or x.rank != y.operand.rank or x.shape[y.number] != y.size:
            return None
        return self._ranges.channels(x.tensor, y.number - x.rank, y.size)

    def value(self, tensor: str) -> Array | None:
        """The value of a constant, behind Transpose, DequantizeLinear and the like too."""
        array, node = self._model.constants.value(tensor), self._model.view.producer(tensor)
        if array is not None or node is None:
            return array
        if node.op_type == "CastLike" and not node.domain:  # to the type of any tensor
            array, spec = self.value(node.input(0)), self._shapes.by_scope[""].get(tensor)
            return None if array is None or spec is None else array.astype(spec.dtype)
        if not operator_of(node).shows_weights:
            return None
        feeds = {name: self.value(name) for name in node.inputs if name}
        known = {name: array for name, array in feeds.items() if array is not None}
        if len(known) < len(feeds):
            return None
        return self._evaluated(node, known)

    def _evaluated(self, node: Node, feeds: dict[str, Array]) -> Array | None:
        if node.op_type == "DequantizeLinear":
            return _dequantized(node, *feeds.values())
        opsets = self._model.view.proto.opset_import
        return evaluate_node(self._model.view.node_proto(node), feeds, opsets)

    def parts(
        self, stated: NodeConstraints, operand: Operand, y: Axis
    ) -> Iterator[tuple[Axis, Array, Array]]:
        """(axis of an operand, indices there, along y) of each dependency between the two."""
        return _parts(stated, operand, y)

    def _along(self, operand: Operand, stated: NodeConstraints, y: Axis) -> Array | None:
        """What an operand holds for every index of an axis of y; None where nothing."""
        values, known = _unknown(y), np.zeros(y.size, np.bool_)
        for axis, indices, targets in _parts(stated, operand, y):
            new = ~known[targets]
            values[targets[new]] = self.of(axis)[indices[new]]
            known[targets] = True
        return values if known.any() else None

    def spread_of(self, operand: Operand, stated: NodeConstraints, y: Axis) -> Array:
        """The same, of an operand that is one number, too."""
        along = self._along(operand, stated, y)
        if along is not None:
            return along
        array = self.value(operand.tensor)
        is_one = array is not None and array.size > 0 and np.all(array == array.flat[0])
        return np.full(y.size, float(array.flat[0]) if array is not None and is_one else np.nan)

    # --- through operators -----------------------------------------------------------------------

    def kept(self, stated: NodeConstraints, y: Axis) -> Array:
        """Zero where all that is read is zero, and any constant that is only moved.

        What is put beyond edges counts as read.
        """
        node, fill = stated.axes, _fill(stated.axes)
        if fill is None:
            return _unknown(y)
        low, high = np.full(y.size, np.inf), np.full(y.size, -np.inf)
        read = np.zeros(y.size, np.bool_)
        for operand in node.inputs if node.row.joins else node.inputs[:1]:
            for axis, indices, targets in _parts(stated, operand, y):
                read[targets] = True
                np.minimum.at(low, targets, self.of(axis)[indices])
                np.maximum.at(high, targets, self.of(axis)[indices])
        found = np.where(read & (low == high), low, np.nan)
        if node.op_type == "Pad" and read.any():
            found[~read] = fill
        is_kept = (found == fill) | (node.op_type in _MOVES)
        return np.where(is_kept, found, np.nan)

    def mapped(self, stated: NodeConstraints, y: Axis) -> Array:
        """Element-wise: the operator's own value where all operands are constant."""
        given, node = stated.axes.given(), stated.axes.node
        operands = [self.spread_of(operand, stated, y) for operand in given]
        known = ~np.any(np.isnan(operands), axis=0)
        result = _unknown(y)
        specs = [self._shapes.by_scope[""].get(operand.tensor) for operand in given]
        if known.any() and None not in specs:
            feeds = {}
            for operand, spec, values in zip(given, specs, operands, strict=True):
                own = values[known].astype(spec.dtype if spec else None)
                feeds[operand.tensor] = own if operand.rank else own[0]
            found = self._evaluated(node, feeds)
            if found is not None and (is_float(found.dtype) or found.dtype.kind in "iub"):
                result[known] = found
        if node.op_type == "Mul":
            result[np.any(np.equal(operands, 0), axis=0)] = 0
        return result

    def spread(self, stated: NodeConstraints, y: Axis) -> Array:
        """CastLike and Expand: what they read, along an axis that is made too."""
        return self.spread_of(stated.axes.input(0), stated, y)

    def filled(self, stated: NodeConstraints, y: Axis) -> Array:
        """ConstantOfShape: one number everywhere."""
        value = stated.axes.attribute("value", None)
        number = 0.0 if value is None else float(numpy_helper.to_array(value).reshape(-1)[0])
        return np.full(y.size, number)

    def normalised(self, stated: NodeConstraints, y: Axis) -> Array:
        """Scale 0 leaves the offset, and so does an instance that is the same everywhere."""
        node = stated.axes
        if y.number != 1 or node.attribute("training_mode", 0):
            return _unknown(y)
        given = [self.spread_of(operand, stated, y) for operand in node.given()]
        x, scale, offset, *statistics = given
        if node.op_type == "InstanceNormalization":
            return np.where(np.isnan(x), np.nan, offset)
        scaled = _unknown(y)
        if statistics:
            mean, variance = statistics
            deviation = np.sqrt(variance + node.attribute("epsilon", 1e-5))
            scaled = (x - mean) / deviation * scale
        return np.where(scale == 0, 0.0, scaled) + offset

    def layered(self, stated: NodeConstraints, y: Axis) -> Array:
        """Layers with weights: the bias where every weight or its input is zero."""
        node, attributes, layout = (
            stated.axes,
            stated.axes.node.attributes,
            stated.axes.row.weights,
        )
        weight = self.value(node.input(layout.operand).tensor) if layout else None
        if layout is None or weight is None or y.number != layout.channels % y.operand.rank:
            return _unknown(y)
        if node.row.kind == "product" and weight.ndim != 2:
            return _unknown(y)
        x = node.input(0).axis(y.number - int(bool(attributes.get(layout.x_swapped_by, 0))))
        read = self.of(x) != 0 if x.size > 1 else np.ones(1, np.bool_)
        groups = layout.groups(attributes)
        used = np.any((weight != 0).reshape(groups, -1, *weight.shape[1:2], weight[0, 0].size), 3)
        if layout.axes(attributes, weight.ndim)[0]:
            used = used.swapaxes(1, 2)  # (groups, outputs, inputs)
        is_used = np.any(used & read.reshape(groups, 1, -1), axis=2).reshape(-1)
        bias = [self.spread_of(operand, stated, y) for operand in node.given(2)]
        value = bias[0] if bias else np.zeros(y.size)
        return np.where(is_used, np.nan, layout.bias_factor(attributes) * value)

    def multiplied(self, stated: NodeConstraints, y: Axis) -> Array:
        """MatMul and Einsum: zero where an operand is, or every weight or its input."""
        zero = self.layered(stated, y) == 0
        for operand in stated.axes.given():
            along = self._along(operand, stated, y)
            zero |= False if along is None else along == 0
        return np.where(zero, 0.0, np.nan)


_MOVES = frozenset(
    """Concat DepthToSpace Flatten Gather GlobalMaxPool MaxPool Reshape Slice SpaceToDepth Split
    Squeeze Tile Transpose Unsqueeze""".split()
)
"""Operators whose results hold elements of what they read and nothing else."""


def _fill(node: NodeAxes) -> float | None:
    """What Pad puts beyond the edges, 0 for other operators; None where that is not told."""
    if node.op_type == "Resize":
        return 0.0 if node.attribute("extrapolation_value", 0.0) == 0 else None
    if node.op_type != "Pad":
        return 0.0
    value = node.constant(2) if node.node.input(2) else np.asarray(node.attribute("value", 0.0))
    return None if value is None or value.size != 1 else float(value.reshape(-1)[0])


def _unknown(axis: Axis) -> Array:
    return np.full(axis.size, np.nan)


def _parts(
    stated: NodeConstraints, operand: Operand | None, y: Axis
) -> Iterator[tuple[Axis, Array, Array]]:
    """(axis of the operand, indices there, indices along y) of each dependency between the two."""
    for each in stated.of(Dependency):
        if (each.one.operand, each.other) == (operand, y):
            yield each.one, *each.pairs()
        elif (each.other.operand, each.one) == (operand, y):
            yield each.other, *each.pairs()[::-1]


def _common(array: Array, axis: int) -> Array:
    """The value of each index along an axis where all elements there are equal, else NaN."""
    if array.dtype.kind not in "fiub" and not is_float(array.dtype):
        return np.full(array.shape[axis], np.nan)
    rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    equal = np.all(rows == rows[:, :1], axis=1)
    return np.where(equal, rows[:, 0].astype(np.float64), np.nan)


def _dequantized(node: Node, array: Array, scale: Array, zero: Array | None = None) -> Array:
    """(x - zero point) * scale, one of each for the tensor, an index of an axis or a block."""
    place = (array.shape, int(node.attribute("axis", 1)), node.attribute("block_size", 0) or 1)
    offset = 0.0 if zero is None else spread_zero_points(zero, *place).astype(np.float32)
    values: Array = (array.astype(np.float32) - offset) * spread_zero_points(scale, *place)
    return values


_Propagation = Callable[[ChannelConstants, NodeConstraints, Axis], Array]
_ORT = "com.microsoft"
_INTEGER_LAYERS = (
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", f"{_ORT}.QLinearConv"),
    *(f"{_ORT}.{name}" for name in ("QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul")),
)
_NORMALISATIONS = ("BatchNormalization", "GroupNormalization", "InstanceNormalization")
_PROPAGATION: dict[str, _Propagation] = {
    **dict.fromkeys(("CastLike", "Expand"), ChannelConstants.spread),
    "ConstantOfShape": ChannelConstants.filled,
    **dict.fromkeys(_NORMALISATIONS, ChannelConstants.normalised),
    **dict.fromkeys(("QuantizeLinear", f"{_ORT}.QuantizeLinear"), quantized),
    **dict.fromkeys(("DequantizeLinear", f"{_ORT}.DequantizeLinear"), dequantized),
    "DynamicQuantizeLinear": dynamically_quantized,
    **dict.fromkeys(_INTEGER_LAYERS, integer_layer),
    **{f"{_ORT}.{name}": rule for name, rule in ELEMENT_WISE.items()},
    **dict.fromkeys(("Einsum", "MatMul"), ChannelConstants.multiplied),
}


def _propagation_of(row: Operator) -> _Propagation | None:
    """How an operator's constants follow from those it reads; None where they do not."""
    if row.full_name in _PROPAGATION:
        return _PROPAGATION[row.full_name]
    if row.is_element_wise and row.keeps_constants:
        return ChannelConstants.mapped
    if row.weights is not None:
        return ChannelConstants.layered
    return ChannelConstants.kept if row.keeps_zero else None
