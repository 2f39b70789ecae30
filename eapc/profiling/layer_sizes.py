"""A layer at other channel counts: the shapes of what it reads and writes and of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eapc.model import Array, Node, Shapes
from eapc.operators import operator_of
from eapc.profiling.layer_kinds import LayerKind, is_depthwise

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sizing:
    """One point of a layer's grid: the counts, and the shapes of what is read and written."""

    kind: LayerKind
    shapes: Shapes
    read: Mapping[str, Shape]
    written: Shape
    counts: tuple[int, int]

    @property
    def bytes(self) -> int:
        """Of the layer's float32 inputs, output and, roughly, weights."""
        words = sum(int(np.prod(shape)) for shape in (*self.read.values(), self.written))
        kernel = self.kind.kernel
        layout = operator_of(kernel.host).weights
        if layout is not None and self.kind.independent:
            shape = self.shapes.shape(kernel.host, kernel.host.input(layout.operand)) or (0,)
            now, then = self.counts, self.kind.counts(self.shapes.by_scope[""])
            words += int(np.prod(shape)) * now[0] * now[1] // (then[0] * then[1])
        return 4 * words


def sized(kind: LayerKind, shapes: Shapes, in_channels: int, out_channels: int) -> Sizing:
    """The layer at some counts; `in_channels` is for layers with independent axes only."""
    kernel = kind.kernel
    first, last = kernel.inputs[0], kernel.outputs[0]
    then = {name: _shape(shapes, name) for name in (*kernel.inputs, last)}
    if kind.independent:
        wanted = dict.fromkeys((*kernel.inputs, last), out_channels) | {first: in_channels}
    else:
        share = out_channels / kind.counts(shapes.by_scope[""])[1]
        counts = {name: kind.count(then[name], name) for name in then}
        wanted = {n: c if c == 1 else max(1, round(c * share)) for n, c in counts.items()}
        if kind.joins:
            wanted[last] = sum(wanted[name] for name in kernel.inputs)
    now = {name: with_axis(then[name], kind.axes[name], wanted[name]) for name in then}
    read = {name: now[name] for name in kernel.inputs}
    return Sizing(kind, shapes, read, now[last], (in_channels, out_channels))


def _shape(shapes: Shapes, tensor: str) -> Shape:
    shape = shapes.main(tensor)
    assert shape is not None  # a layer kind has known shapes
    return shape


def with_axis(shape: Shape, axis: int | None, size: int) -> Shape:
    """The shape with another size of one axis; as it is without an axis."""
    return tuple(size if place == axis else old for place, old in enumerate(shape))


def as_wide(shape: Shape, sizing: Sizing) -> Shape:
    """A parameter's shape: an axis as long as the output has channels follows these."""
    kind = sizing.kind
    last = kind.kernel.outputs[0]
    then = kind.count(_shape(sizing.shapes, last), last)
    now = kind.count(sizing.written, last)
    return tuple(now if size == then else size for size in shape)


def weight_shape(node: Node, shape: Shape, sizing: Sizing) -> Shape:
    """The shape of a node's weights; behind a Flatten there are several inputs a channel."""
    if is_depthwise(node, sizing.shapes):
        return (sizing.written[1], *shape[1:])
    layout = operator_of(node).weights
    if layout is None or not sizing.kind.independent:
        return shape
    outputs, inputs = layout.axes(node.attributes, len(shape))
    then = sizing.kind.counts(sizing.shapes.by_scope[""])[0]
    resized = with_axis(shape, inputs, shape[inputs] * sizing.counts[0] // then)
    return with_axis(resized, outputs, sizing.counts[1])


def steering(node: Node, value: Array, sizing: Sizing) -> Array:
    """A value that decides about a node's work; sizes of its result follow the channels."""
    axis = sizing.kind.axes[sizing.kind.kernel.outputs[0]]
    axes = [place % len(sizing.written) for place in node.attribute("axes", range(value.size))]
    if value.dtype.kind != "i" or axis is None or axis not in axes:
        return value
    sizes = value.copy()
    sizes[axes.index(axis)] = sizing.written[axis]
    return sizes
