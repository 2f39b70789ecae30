"""What stays the same whatever a model is fed: values of single indices of an axis.

The steady value of an index is the number that all elements at that index are, or NaN where
nothing is known of them. Values start in layers with weights of zero and go through the graph
in data-flow order, along the ties of its nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from onnx import numpy_helper

from eapc.channels.axis_rules import Port, Site, Tie
from eapc.channels.sites import Said
from eapc.channels.weight_use import dequantized, inputs_of, used_weights
from eapc.model import (
    Array,
    Model,
    Node,
    Shapes,
    evaluate_node,
    find_weights,
    is_float,
)
from eapc.operators import operator_of

_Way = Callable[["SteadyValues", Said, Port, int], Array]


def tied_pairs(tie: Tie) -> tuple[Array, Array]:
    """The indices that a tie pairs, as arrays of equal length."""
    one, other = tie.one_indices, tie.other_indices
    one = np.arange(tie.one.shape[tie.one_axis]) if one is None else one
    return one, np.arange(tie.other.shape[tie.other_axis]) if other is None else other


class SteadyValues:
    """The steady values of every tied axis of a model's tensors."""

    def __init__(self, model: Model, shapes: Shapes, said: Iterable[Said]) -> None:
        self._model, self._shapes = model, shapes
        self._found: dict[tuple[str, int], Array] = {}
        said = list(said)
        self._small = said[0].site.constant if said else model.constants.value
        with np.errstate(all="ignore"):  # what divides by zero has no steady value
            for one in said:
                way = _way_of(one.site.node)
                if way is not None and not one.reason:
                    self._visit(one, way)

    def _visit(self, said: Said, way: _Way) -> None:
        for name, port in zip(said.site.node.outputs, said.site.outputs, strict=True):
            if not name or port is None or find_weights(self._model, name):
                continue
            for axis in range(port.rank):
                if port.shape[axis] > 1:
                    self._found[name, axis] = way(self, said, port, axis)

    def of(self, port: Port, axis: int) -> Array:
        """The steady values (length of the axis,) float64 along an axis of a tensor."""
        key = (port.tensor, axis)
        if key not in self._found:
            array = self._constant(port.tensor)
            if array is None:
                return _unknown(port.shape[axis])
            self._found[key] = _common(array, axis)
        return self._found[key]

    def _constant(self, tensor: str) -> Array | None:
        """The value of a constant, behind Transpose, DequantizeLinear and the like too."""
        cast = self._model.view.producer(tensor)
        if cast is not None and cast.op_type == "CastLike" and not cast.domain:
            return self._cast(cast)
        source = find_weights(self._model, tensor)
        array = self._model.constants.value(source.root) if source else self._small(tensor)
        for node in source.chain if source else ():
            feeds = {name: self._model.constants.value(name) for name in node.inputs[1:] if name}
            known = {name: value for name, value in feeds.items() if value is not None}
            if array is None or len(known) < len(feeds):
                return None
            if node.op_type == "DequantizeLinear":
                array = dequantized(node, array, *known.values())
                continue
            array = evaluate_node(
                self._model.view.node_proto(node),
                {node.input(0): array, **known},
                self._model.view.proto.opset_import,
            )
        return array

    def _cast(self, node: Node) -> Array | None:
        """A constant in the type of a tensor that need not be one."""
        array = self._constant(node.input(0))
        spec = self._shapes.by_scope[""].get(node.outputs[0])
        return None if array is None or spec is None else array.astype(spec.dtype)

    def _along(self, port: Port, said: Said, y: Port, axis: int) -> Array | None:
        """What an operand holds for every index of an axis of y; None where they are not tied."""
        for one, (indices, targets) in _ties_to(said, port, y, axis):
            values = _unknown(y.shape[axis])
            values[targets] = self.of(port, one)[indices]
            return values
        return None

    def zero_kept(self, said: Said, y: Port, axis: int) -> Array:
        """Zero where all that is read is zero; padding with zeros counts as read."""
        site = said.site
        if not self._fills_with_zero(site):
            return _unknown(y.shape[axis])
        read = np.zeros(y.shape[axis], np.bool_)
        loud = np.zeros(y.shape[axis], np.bool_)
        sources = site.inputs if site.node.op_type == "Concat" else site.inputs[:1]
        for port in sources:
            for one, (indices, targets) in _ties_to(said, port, y, axis) if port else ():
                assert port is not None  # it has ties
                read[targets] = True
                loud[targets[self.of(port, one)[indices] != 0]] = True
        quiet = read.any() if site.node.op_type == "Pad" else read
        return np.where(quiet & ~loud, 0.0, np.nan)

    def _fills_with_zero(self, site: Site) -> bool:
        """Whether what Pad or Resize puts beyond the edges is zero."""
        if site.node.op_type == "Resize":
            return bool(site.node.attribute("extrapolation_value", 0.0) == 0)
        if site.node.op_type != "Pad":
            return True
        given = site.node.input(2)
        value = site.constant(given) if given else np.asarray(site.node.attribute("value", 0.0))
        return value is not None and not np.any(value)

    def mapped(self, said: Said, y: Port, axis: int) -> Array:
        """Element-wise: the operator's own value where all operands are steady."""
        operands = [self._operand(port, said, y, axis) for port in said.site.given()]
        known = ~np.any(np.isnan(operands), axis=0)
        result = _unknown(y.shape[axis])
        if known.any():
            result[known] = self._evaluated(said.site, [values[known] for values in operands])
        if said.site.node.op_type == "Mul":
            result[np.any(np.equal(operands, 0), axis=0)] = 0
        return result

    def _operand(self, port: Port, said: Said, y: Port, axis: int) -> Array:
        along = self._along(port, said, y, axis)
        if along is not None:
            return along
        array = self._constant(port.tensor)
        steady = array is not None and array.size > 0 and np.all(array == array.flat[0])
        value = float(array.flat[0]) if array is not None and steady else np.nan
        return np.full(y.shape[axis], value)

    def _evaluated(self, site: Site, operands: list[Array]) -> Array:
        """The operator applied to vectors of steady values; NaN where it cannot be evaluated."""
        feeds = {}
        for port, values in zip(site.given(), operands, strict=True):
            spec = self._shapes.by_scope[""].get(port.tensor)
            if spec is None:
                return _unknown(len(operands[0]))
            feeds[port.tensor] = values.astype(spec.dtype)
            if port.rank == 0:
                feeds[port.tensor] = feeds[port.tensor][0]
        opsets = self._model.view.proto.opset_import
        found = evaluate_node(self._model.view.node_proto(site.node), feeds, opsets)
        if found is None or not (is_float(found.dtype) or found.dtype.kind in "iub"):
            return _unknown(len(operands[0]))
        return np.broadcast_to(found.astype(np.float64), operands[0].shape)

    def spread(self, said: Said, y: Port, axis: int) -> Array:
        """CastLike and Expand: what they read, along an axis that is made too."""
        return self._operand(said.site.input(0), said, y, axis)

    def filled(self, said: Said, y: Port, axis: int) -> Array:
        """ConstantOfShape: one number everywhere."""
        value = said.site.node.attribute("value", None)
        number = 0.0 if value is None else float(numpy_helper.to_array(value).reshape(-1)[0])
        return np.full(y.shape[axis], number)

    def normalised(self, said: Said, y: Port, axis: int) -> Array:
        """BatchNormalization: scale 0 leaves the offset, whatever is read."""
        site = said.site
        if site.node.attribute("training_mode", 0):
            return _unknown(y.shape[axis])
        x = self._along(site.input(0), said, y, axis)
        if axis != 1 or x is None:
            return _unknown(y.shape[axis])
        scale, offset, mean, variance = (self.of(port, 0) for port in site.given(1))
        spread = np.sqrt(variance + site.node.attribute("epsilon", 1e-5))
        return np.where(scale == 0, 0.0, (x - mean) / spread * scale) + offset

    def instance_normalised(self, said: Said, y: Port, axis: int) -> Array:
        """InstanceNormalization: what is the same everywhere becomes the offset."""
        x = self._along(said.site.input(0), said, y, axis)
        if axis != 1 or x is None:
            return _unknown(y.shape[axis])
        return np.where(np.isnan(x), np.nan, self.of(said.site.input(2), 0))

    def group_normalised(self, said: Said, y: Port, axis: int) -> Array:
        """GroupNormalization: scale 0 leaves the offset, whatever is read."""
        if axis != 1:
            return _unknown(y.shape[axis])
        scale, offset = (self._along(port, said, y, 1) for port in said.site.given(1))
        assert scale is not None  # the rule has tied both
        assert offset is not None
        return np.where(scale == 0, offset, np.nan)

    def quantized(self, said: Said, y: Port, axis: int) -> Array:
        """Quantization by one scale: zero becomes the zero point, and that zero again."""
        site = said.site
        given = [self._constant(port.tensor) for port in site.given(1)]
        x = self._along(site.input(0), said, y, axis)
        if x is None or any(array is None or array.size > 1 for array in given):
            return _unknown(y.shape[axis])
        zero = float(given[1].flat[0]) if len(given) > 1 and given[1] is not None else 0.0
        before, after = (0, zero) if site.node.op_type == "QuantizeLinear" else (zero, 0)
        return np.where(x == before, after, np.nan)

    def layered(self, said: Said, y: Port, axis: int) -> Array:
        """Layers with weights: the bias where every weight or its input is zero."""
        site, layout = said.site, operator_of(said.site.node).weights
        weight = self._constant(site.input(layout.operand).tensor) if layout else None
        if layout is None or weight is None or axis != layout.channels % y.rank:
            return _unknown(y.shape[axis])
        attributes = site.node.attributes
        reads = axis - int(bool(attributes.get(layout.x_swapped_by, 0)))
        x = self.of(site.input(0), reads) if site.input(0).shape[reads] > 1 else np.array([np.nan])
        loud = np.any(used_weights(site, weight) & (x != 0)[inputs_of(site, weight)], axis=1)
        bias = [self._operand(port, said, y, axis) for port in site.given(2)]
        value = bias[0] if bias else np.zeros(y.shape[axis])
        return np.where(loud, np.nan, layout.bias_factor(attributes) * value)

    def product(self, said: Said, y: Port, axis: int) -> Array:
        """Einsum: zero where an operand is."""
        zero = np.zeros(y.shape[axis], np.bool_)
        for port in said.site.given():
            along = self._along(port, said, y, axis)
            zero |= False if along is None else along == 0
        return np.where(zero, 0.0, np.nan)

    def multiplied(self, said: Said, y: Port, axis: int) -> Array:
        """MatMul: zero where a whole row or column is, or every weight or its input."""
        site = said.site
        zero = self.product(said, y, axis) == 0
        b = site.input(1)
        weight = self._constant(b.tensor)
        if axis == y.rank - 1 and weight is not None and weight.ndim == 2 and b.shape[0] > 1:
            x = self.of(site.input(0), site.input(0).rank - 1)
            zero |= ~np.any((weight != 0) & (x != 0)[:, None], axis=0)
        return np.where(zero, 0.0, np.nan)


def _unknown(length: int) -> Array:
    return np.full(length, np.nan)


def _ties_to(said: Said, port: Port, y: Port, axis: int) -> list[tuple[int, tuple[Array, Array]]]:
    """(axis of the operand, (indices there, indices along y's axis)) of each tie between them."""
    found = []
    for tie in said.effects:
        if not isinstance(tie, Tie):
            continue
        one, other = tied_pairs(tie)
        if (tie.one, tie.other, tie.other_axis) == (port, y, axis) and len(one) == len(other):
            found.append((tie.one_axis, (one, other)))
        elif (tie.other, tie.one, tie.one_axis) == (port, y, axis) and len(one) == len(other):
            found.append((tie.other_axis, (other, one)))
    return found


def _common(array: Array, axis: int) -> Array:
    """The value of each index along an axis where all elements there are equal, else NaN."""
    if array.dtype.kind not in "fiub" and not is_float(array.dtype):
        return _unknown(array.shape[axis])
    rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    equal = np.all(rows == rows[:, :1], axis=1)
    return np.where(equal, rows[:, 0].astype(np.float64), np.nan)


_WAYS: dict[str, _Way] = {
    **dict.fromkeys(("CastLike", "Expand"), SteadyValues.spread),
    "ConstantOfShape": SteadyValues.filled,
    "BatchNormalization": SteadyValues.normalised,
    "GroupNormalization": SteadyValues.group_normalised,
    "InstanceNormalization": SteadyValues.instance_normalised,
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), SteadyValues.quantized),
    "Einsum": SteadyValues.product,
    "MatMul": SteadyValues.multiplied,
}


def _way_of(node: Node) -> _Way | None:
    """How an operator's values follow from those it reads; None where they do not."""
    row = operator_of(node)
    if row.full_name in _WAYS:
        return _WAYS[row.full_name]
    if row.is_element_wise and row.keeps_constants:
        return SteadyValues.mapped
    if row.weights is not None:
        return SteadyValues.layered
    return SteadyValues.zero_kept if row.keeps_zero else None
