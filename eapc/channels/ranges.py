"""The interval of every tensor of a graph: one rule for each operator that has bounds.

Intervals begin at the inputs of a model, whose magnitude is given, and at its constants. Each node
makes those of its results (Moore, Kearfott, Cloud: Introduction to Interval Analysis, 2009). An
operator without a rule has no bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np

from eapc.channels.grid_ranges import codes_range, reals_range
from eapc.channels.intervals import UNBOUNDED, Interval, product, within
from eapc.model import Array, Model, Node, Shape, Shapes, is_float, numpy_type, value_seen
from eapc.operators import operator_of

_LARGEST_FLAT = 1 << 20
"""Longest axis, made by a Flatten, whose indices get intervals of their own."""


class Ranges:
    """The intervals of a model's tensors so far, and what their rules may ask of the graph."""

    def __init__(self, model: Model, shapes: Shapes, limits: Mapping[str, float]) -> None:
        """`limits` are the largest magnitudes of the model's inputs, by name."""
        self.model, self._shapes = model, shapes
        self._found = {name: within(limit) for name, limit in limits.items()}
        self._constants: dict[str, Array | None] = {}
        self._sizes: dict[str, Shape | None] = {}
        self.lines: dict[str, tuple[Array, Array] | None] = {}

    def of(self, tensor: str) -> Interval:
        """Bounds of a tensor; none where nothing is known of it."""
        found = self._found.get(tensor)
        if found is None:
            value = self.constant(tensor)
            found = UNBOUNDED if value is None or not value.size else _hull_of(value)
            self._found[tensor] = found
        return found

    def constant(self, tensor: str) -> Array | None:
        """The value of a constant, one behind DequantizeLinear included."""
        if tensor not in self._constants:
            self._constants[tensor] = value_seen(self.model, tensor) if tensor else None
        return self._constants[tensor]

    def shape(self, tensor: str) -> Shape | None:
        """The shape of a tensor of the main graph; None where an axis is unknown."""
        if tensor not in self._sizes:
            known = self.model.constants.shape(tensor) or self._shapes.main(tensor)
            self._sizes[tensor] = known
        return self._sizes[tensor]

    def set(self, tensor: str, interval: Interval) -> None:
        """Enter bounds of a tensor."""
        self._found[tensor] = interval

    def channels(self, tensor: str, axis: int, size: int) -> tuple[Array, Array]:
        """Bounds (size,) of an operand that is broadcast, along an axis counted from the end."""
        value = self.constant(tensor)
        if value is not None and value.ndim >= -axis and value.shape[axis] == size:
            rows = np.moveaxis(value, axis, 0).reshape(size, -1).astype(np.float64)
            return (rows.min(1), rows.max(1)) if rows.size else (rows, rows)
        found, shape = self.of(tensor), self.shape(tensor)
        fits = shape is not None and found.axis == axis + len(shape)
        found = found.along(found.axis or 0, size) if fits else found.hull().along(0, size)
        return found.low, found.high

    def follow(self, node: Node) -> None:
        """Enter the bounds of a node's results, of all but its layers with weights."""
        row = operator_of(node)
        rule = None if node.domain else _RULES.get(node.op_type)
        found = UNBOUNDED
        if rule is not None:
            with np.errstate(all="ignore"), suppress(IndexError, ValueError):
                found = rule(self, node)  # shapes that contradict each other leave no bounds
        elif row.kind in ("view", "copy") and node.op_type in _MOVES:
            found = self.of(node.input(0)).hull()
        ends = () if found is UNBOUNDED else (found.low, found.high)
        broken = any(np.isnan(end).any() for end in ends)
        for place, name in enumerate(node.outputs):
            is_result = not place or node.op_type in _MOVES
            self._found[name] = found if is_result and not broken else UNBOUNDED


def _hull_of(value: Array) -> Interval:
    if value.dtype.kind not in "fiub" and value.dtype.name != "bfloat16":
        return UNBOUNDED
    wide = value.astype(np.float64) if value.dtype.kind != "f" else value
    return Interval(np.array([float(wide.min())]), np.array([float(wide.max())]))


# --- rules ---------------------------------------------------------------------------------------

_Rule = Callable[[Ranges, Node], Interval]
_Map = Callable[[Array, Node], Array]

_MOVES = frozenset(
    """DepthToSpace Expand Gather GatherElements GatherND ReverseSequence Slice SpaceToDepth
    Split Squeeze Tile Unsqueeze""".split()
)
"""Operators whose results hold elements of their first operand and nothing else."""


def _monotone(function: _Map) -> _Rule:
    def rule(ranges: Ranges, node: Node) -> Interval:
        x = ranges.of(node.input(0))
        ends = function(x.low, node), function(x.high, node)
        return Interval(np.minimum(*ends), np.maximum(*ends), x.axis)

    return rule


def _sigmoid(x: Array, _: Node) -> Array:
    found: Array = 1 / (1 + np.exp(-x))
    return found


def _hard_sigmoid(x: Array, node: Node) -> Array:
    slope, offset = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    found: Array = np.clip(slope * x + offset, 0, 1)
    return found


def _leaky(ranges: Ranges, node: Node) -> Interval:
    """Rises everywhere, or with a negative slope on the left from its least, zero."""
    slope = node.attribute("alpha", 0.01)
    found = _monotone(lambda x, _: np.where(x < 0, slope * x, x))(ranges, node)
    return found if slope >= 0 else found.with_number(0.0)


def _clip(ranges: Ranges, node: Node) -> Interval:
    x, limits = ranges.of(node.input(0)), [-math.inf, math.inf]
    for place, name in enumerate(("min", "max")):
        value = ranges.constant(node.input(place + 1))
        if node.input(place + 1):
            if value is None or value.size != 1:
                return UNBOUNDED
            limits[place] = float(value.reshape(-1)[0])
        limits[place] = float(node.attribute(name, limits[place]))
    low, high = limits
    return Interval(np.clip(x.low, low, high), np.clip(x.high, low, high), x.axis)


def _gated(ranges: Ranges, node: Node) -> Interval:
    """Gelu, HardSwish, Mish, Swish: above -0.5, and no larger than what they read."""
    x = ranges.of(node.input(0))
    if node.attribute("alpha", 1.0) != 1.0:
        return UNBOUNDED
    return Interval(np.maximum(np.minimum(x.low, 0), -0.5), np.maximum(x.high, 0), x.axis)


def _pooled(ranges: Ranges, node: Node) -> Interval:
    """A mean or a maximum lies between the least and the largest, padding counted as zero."""
    return ranges.of(node.input(0)).with_number(0.0)


def _reduced(ranges: Ranges, node: Node) -> Interval:
    x, shape = ranges.of(node.input(0)), ranges.shape(node.input(0))
    given = node.attribute("axes", None)
    if given is None:
        given = ranges.constant(node.input(1))
    if given is None or shape is None or x.axis is None:
        return x.hull()
    axes = {int(axis) % len(shape) for axis in np.asarray(given).reshape(-1)}
    if x.axis in axes or not axes:
        return x.hull()
    gone = 0 if node.attribute("keepdims", 1) else sum(axis < x.axis for axis in axes)
    return replace(x, axis=x.axis - gone)


def _same(ranges: Ranges, node: Node) -> Interval:
    return ranges.of(node.input(0))


def _dropout(ranges: Ranges, node: Node) -> Interval:
    """In training what stays is scaled."""
    trains = ranges.constant(node.input(2)) if node.input(2) else np.array(False)
    return UNBOUNDED if trains is None or trains.any() else _same(ranges, node)


def _cast(ranges: Ranges, node: Node) -> Interval:
    """To real numbers; a cast to integers may wrap around."""
    return ranges.of(node.input(0)) if is_float(numpy_type(node.attribute("to", 1))) else UNBOUNDED


def _resized(ranges: Ranges, node: Node) -> Interval:
    """Nearest and linear interpolation lie between their neighbours."""
    mode = node.attribute("mode", "nearest")
    given, made = ranges.shape(node.input(0)), ranges.shape(node.outputs[0])
    if (mode.decode() if isinstance(mode, bytes) else mode) not in ("nearest", "linear"):
        return UNBOUNDED
    x = ranges.of(node.input(0))
    x = x.with_number(float(node.attribute("extrapolation_value", 0.0)))
    if x.axis is None or given is None or made is None or given[x.axis] != made[x.axis]:
        return x.hull()
    return x


def _padded(ranges: Ranges, node: Node) -> Interval:
    """What is there and the number that fills; channels that are cut or moved are not followed."""
    value = (
        ranges.constant(node.input(2))
        if node.input(2)
        else np.asarray(node.attribute("value", 0.0))
    )
    if value is None or value.size != 1:
        return UNBOUNDED
    x, shape = ranges.of(node.input(0)), ranges.shape(node.input(0))
    pads = ranges.constant(node.input(1)) if node.input(1) else node.attribute("pads", None)
    number = float(value.reshape(-1)[0])
    if x.axis is None or shape is None or pads is None or len(pads) != 2 * len(shape):
        return x.hull().with_number(number)
    stays = not pads[x.axis] and not pads[x.axis + len(shape)]
    return x.with_number(number) if stays else x.hull().with_number(number)


def _turned(ranges: Ranges, node: Node) -> Interval:
    x, order = ranges.of(node.input(0)), node.attribute("perm", None)
    shape = ranges.shape(node.input(0))
    if x.axis is None or (order is None and shape is None):
        return x.hull()
    order = list(order) if order is not None else list(reversed(range(len(shape or ()))))
    return replace(x, axis=order.index(x.axis))


def _reshaped(ranges: Ranges, node: Node) -> Interval:
    """The channels stay where the axes up to theirs do; a Flatten has them side by side."""
    x, given = ranges.of(node.input(0)), ranges.shape(node.input(0))
    made, axis = ranges.shape(node.outputs[0]), x.axis
    if axis is None or given is None or made is None:
        return x.hull()
    if made[: axis + 1] == given[: axis + 1]:
        return x
    if axis == 0 or len(made) != 2 or made[0] != given[0] or made[1] > _LARGEST_FLAT:
        return x.hull()
    inner = [len(x.low) if place == axis else 1 for place in range(1, len(given))]
    low, high = (np.broadcast_to(e.reshape(inner), given[1:]).reshape(-1) for e in (x.low, x.high))
    return Interval(low, high, 1)


def _joined(ranges: Ranges, node: Node) -> Interval:
    parts = [(ranges.of(name), ranges.shape(name)) for name in node.inputs]
    shapes = [shape for _, shape in parts if shape is not None]
    axis = node.attribute("axis", 1)
    if len(shapes) < len(parts) or not shapes:
        parts_low, parts_high = zip(*((p.hull().low, p.hull().high) for p, _ in parts), strict=True)
        return Interval(np.concatenate(parts_low), np.concatenate(parts_high)).hull()
    axis += len(shapes[0]) if axis < 0 else 0
    spread = [p.along(axis, shape[axis]) for (p, _), shape in zip(parts, shapes, strict=True)]
    low, high = (np.concatenate([getattr(e, end) for e in spread]) for end in ("low", "high"))
    return Interval(low, high, axis)


def _normalised(ranges: Ranges, node: Node) -> Interval:
    """BatchNormalization: (x - mean) * scale / sqrt(variance + epsilon) + offset."""
    line = line_of(ranges, node)
    if line is None:
        return UNBOUNDED
    slope, offset = line
    x = ranges.of(node.input(0)).along(1, len(slope))
    ends = product(slope, x.low) + offset, product(slope, x.high) + offset
    return Interval(np.minimum(*ends), np.maximum(*ends), 1)


def line_of(ranges: Ranges, node: Node) -> tuple[Array, Array] | None:
    """(slope, offset) of each channel of a BatchNormalization; None where they are not known."""
    if node.key not in ranges.lines:
        ranges.lines[node.key] = _line_of(ranges, node)
    return ranges.lines[node.key]


def _line_of(ranges: Ranges, node: Node) -> tuple[Array, Array] | None:
    given = [ranges.constant(node.input(place)) for place in range(1, 5)]
    if node.attribute("training_mode", 0) or any(value is None for value in given):
        return None
    scale, offset, mean, variance = (np.asarray(value, np.float64) for value in given)
    slope = scale / np.sqrt(variance + node.attribute("epsilon", 1e-5))
    return slope, offset - mean * slope


def _combined(function: Callable[[Array, Array, Array, Array], tuple[Array, Array]]) -> _Rule:
    """Operators of two or more operands that are broadcast."""

    def rule(ranges: Ranges, node: Node) -> Interval:
        place = _common_axis(ranges, node)
        rank, axis, size = place or (0, -1, 1)
        found = [
            ranges.channels(name, axis - rank, size)
            if place
            else (ranges.of(name).hull().low, ranges.of(name).hull().high)
            for name in node.inputs
        ]
        low, high = found[0]
        for other in found[1:]:
            low, high = function(low, high, *other)
        return Interval(low, high, axis if place else None)

    return rule


def _common_axis(ranges: Ranges, node: Node) -> tuple[int, int, int] | None:
    """(rank, axis, length) of the channels of the result; None where no operand has any."""
    made = ranges.shape(node.outputs[0])
    found = ((ranges.shape(name), _own_axis(ranges, name)) for name in node.inputs)
    for shape, axis in found if made else ():
        if made and shape and axis is not None and len(shape) <= len(made):
            own = axis + len(made) - len(shape)
            if made[own] == shape[axis]:
                return len(made), own, made[own]
    return None


def _own_axis(ranges: Ranges, name: str) -> int | None:
    """The axis of a tensor's channels; of a constant the only one that is longer than 1."""
    axis, value = ranges.of(name).axis, ranges.constant(name)
    if axis is not None or value is None:
        return axis
    long = [place for place, size in enumerate(value.shape) if size > 1]
    return long[0] if len(long) == 1 else None


def _product(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    corners = [product(one, other) for one in (a, b) for other in (c, d)]
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def _quotient(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    spans = (c <= 0) & (d >= 0)
    low, high = _product(a, b, 1 / d, 1 / c)
    return np.where(spans, -math.inf, low), np.where(spans, math.inf, high)


def _table(names: str, rule: _Rule) -> dict[str, _Rule]:
    return dict.fromkeys(names.split(), rule)


_RULES: Mapping[str, _Rule] = {
    **_table("Identity", _same),
    **_table("Dropout", _dropout),
    **_table("Cast", _cast),
    **_table("QuantizeLinear", codes_range),
    **_table("DequantizeLinear", reals_range),
    **_table("Relu", _monotone(lambda x, _: np.maximum(x, 0.0))),
    **_table("Sigmoid", _monotone(_sigmoid)),
    **_table("Tanh", _monotone(lambda x, _: np.tanh(x))),
    **_table("HardSigmoid", _monotone(_hard_sigmoid)),
    **_table("LeakyRelu", _leaky),
    **_table("Gelu HardSwish Mish Swish", _gated),
    **_table("Clip", _clip),
    **_table("Softmax", lambda *_: Interval(np.zeros(1), np.ones(1))),
    **_table("AveragePool GlobalAveragePool GlobalMaxPool MaxPool", _pooled),
    **_table("ReduceMax ReduceMean ReduceMin", _reduced),
    **_table("Resize Upsample", _resized),
    **_table("Pad", _padded),
    **_table("Transpose", _turned),
    **_table("Flatten Reshape", _reshaped),
    **_table("Concat", _joined),
    **_table("BatchNormalization", _normalised),
    **_table("Add Sum", _combined(lambda a, b, c, d: (a + c, b + d))),
    **_table("Sub", _combined(lambda a, b, c, d: (a - d, b - c))),
    **_table("Mul", _combined(_product)),
    **_table("Div", _combined(_quotient)),
    **_table("Max", _combined(lambda a, b, c, d: (np.maximum(a, c), np.maximum(b, d)))),
    **_table("Min", _combined(lambda a, b, c, d: (np.minimum(a, c), np.minimum(b, d)))),
}
