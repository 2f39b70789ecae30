"""Layers with constant weights, and between which numbers lies what they make."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eapc.channels.intervals import Interval, product, sums_of_products
from eapc.channels.ranges import Ranges
from eapc.model import Array, Model, Node, WeightSource, as_seen, find_weights, obstacle
from eapc.operators import WeightLayout, operator_of


@dataclass(frozen=True, eq=False)
class ConstantLayer:
    """A layer with constant weights, seen as (groups, outputs, inputs, taps) of each group."""

    model: Model
    node: Node
    layout: WeightLayout
    source: WeightSource
    weights: Array

    @property
    def size(self) -> int:
        """How many outputs it has."""
        groups, outputs, _, _ = self.weights.shape
        return int(groups * outputs)

    def result(self, ranges: Ranges) -> Interval:
        """Bounds of what it makes."""
        rank = len(ranges.shape(self.node.outputs[0]) or ())
        low, high = self.bias(ranges)
        ends = sums_of_products(self.weights, np.abs(self.weights), self.read(ranges))
        found = Interval(ends[0] + low, ends[1] + high, self.axis(ranges) + rank)
        return found if rank else replace(found, axis=None).hull()

    def axis(self, ranges: Ranges) -> int:
        """The axis of the channels in what it makes, counted from the end."""
        rank = len(ranges.shape(self.node.outputs[0]) or ())
        return self.layout.channel_axis(rank) if rank else -1

    def read(self, ranges: Ranges) -> Interval:
        """Bounds of what is multiplied by the weights, zeros of padding among it."""
        groups, _, inputs, taps = self.weights.shape
        name = self.node.input(0)
        shape = ranges.shape(name)
        found = ranges.of(name)
        turned = self.node.attributes.get(self.layout.x_swapped_by, 0)
        own = None if shape is None or turned else self.layout.channel_axis(len(shape)) + len(shape)
        found = found.along(own, groups * inputs) if own is not None else found.hull()
        found = found.along(found.axis or 0, groups * inputs)
        pads = any(self.node.attribute("pads", ())) or self.node.attribute("auto_pad", "")
        found = found.with_number(0.0) if taps > 1 or pads else found
        factor = self.layout.factor(self.node.attributes)
        if factor == 1:
            return found
        ends = product(np.array(factor), found.low), product(np.array(factor), found.high)
        return Interval(np.minimum(*ends), np.maximum(*ends), found.axis)

    def bias(self, ranges: Ranges) -> tuple[Array, Array]:
        """Bounds of the bias of each output; one array twice where it is constant."""
        name, factor = self.layout.bias_of(self.node.inputs), 1.0
        axis, size = self.axis(ranges), self.size
        if not name:
            zero = np.zeros(size)
            return zero, zero
        if self.layout.bias_scale:
            factor = self.layout.bias_factor(self.node.attributes)
        bias_axis = -1 if self.layout.swapped_by else axis
        vector = ranges.constant(name)
        if vector is not None and vector.ndim == 1:
            bias_axis = -1
        low, high = ranges.channels(name, bias_axis, size)
        if vector is not None and np.array_equal(low, high):
            return (found := factor * low), found
        ends = factor * low, factor * high
        return np.minimum(*ends), np.maximum(*ends)


def constant_layer(model: Model, ranges: Ranges, node: Node) -> ConstantLayer | None:
    """A node of ONNX's own with constant weights, codes of such among them; None for all else."""
    layout = operator_of(node).weights
    if layout is None or node.domain:
        return None
    source = find_weights(model, node.input(layout.operand))
    if source is None or source.root not in model.constants.plain:
        return None
    if obstacle(model, source) and model.constants.dtype(source.root).kind != "f":
        return None
    seen = as_seen(model, source)
    if seen.ndim < 2 or not seen.size or (operator_of(node).kind == "product" and seen.ndim != 2):
        return None
    shape, groups = ranges.shape(node.input(0)), layout.groups(node.attributes)
    if groups < 1 or seen.shape[0] % groups:
        return None
    matrix = _matrix(seen if seen.dtype.itemsize > 2 else seen.astype(np.float32), layout, node)
    own = shape[layout.channel_axis(len(shape))] if shape else None
    turned = node.attributes.get(layout.x_swapped_by, 0)
    if own is not None and not turned and own != groups * matrix.shape[2]:
        return None
    return ConstantLayer(model, node, layout, source, matrix)


def _matrix(seen: Array, layout: WeightLayout, node: Node) -> Array:
    """Weights as (groups, outputs, inputs, taps)."""
    groups = layout.groups(node.attributes)
    found = seen.reshape(groups, seen.shape[0] // groups, seen.shape[1], -1)
    return found.swapaxes(1, 2) if layout.axes(node.attributes, seen.ndim)[0] else found


def unmatrix(flags: Array, shape: tuple[int, ...], layout: WeightLayout, node: Node) -> Array:
    """The inverse of `_matrix`."""
    swapped = layout.axes(node.attributes, len(shape))[0]
    found: Array = (flags.swapaxes(1, 2) if swapped else flags).reshape(shape)
    return found
