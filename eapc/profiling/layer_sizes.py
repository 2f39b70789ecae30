"""A layer at other channel counts: the shapes of what it reads and writes and of its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from eapc.model import Node, Shapes
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
        for node in kernel.nodes:
            shape = self.shapes.shape(node, node.input(1))
            if self.kind.independent and node is kernel.host and shape:
                now, then = self.counts, self.kind.counts(self.shapes.by_scope[""])
                words += int(np.prod(shape)) * now[0] * now[1] // (then[0] * then[1])
        return 4 * words


def sized(kind: LayerKind, shapes: Shapes, in_channels: int, out_channels: int) -> Sizing:
    """The layer at some counts; `in_channels` is for layers with independent axes only."""
    kernel, specs = kind.kernel, shapes.by_scope[""]
    first, last = kernel.inputs[0], kernel.outputs[0]
    then = {name: _shape(shapes, name) for name in (*kernel.inputs, last)}
    whole = kind.counts(specs)
    if kind.independent:
        wanted = dict.fromkeys((*kernel.inputs, last), out_channels) | {first: in_channels}
    else:
        share = out_channels / whole[1]
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
    if axis is None:
        return shape
    return (*shape[:axis], size, *shape[axis + 1 :])


def as_wide(shape: Shape, sizing: Sizing) -> Shape:
    """A parameter's shape: an axis as long as the output has channels follows these."""
    kind = sizing.kind
    last = kind.kernel.outputs[0]
    then = kind.count(_shape(sizing.shapes, last), last)
    now = kind.count(sizing.written, last)
    return tuple(now if size == then else size for size in shape)


def _convolution(node: Node, shape: Shape, sizing: Sizing) -> Shape:
    if is_depthwise(node, sizing.shapes):
        return (sizing.written[1], *shape[1:])
    return (sizing.counts[1], sizing.counts[0], *shape[2:]) if sizing.kind.independent else shape


def _transposed(node: Node, shape: Shape, sizing: Sizing) -> Shape:
    del node
    return (*sizing.counts, *shape[2:]) if sizing.kind.independent else shape


def _product(node: Node, shape: Shape, sizing: Sizing) -> Shape:
    """Gemm and MatMul; behind a Flatten there are several features for each channel."""
    if not sizing.kind.independent:
        return shape
    then = sizing.kind.counts(sizing.shapes.by_scope[""])[0]
    swapped = bool(node.attribute("transB", 0))
    features = shape[-1] if swapped else shape[-2]
    sizes = (features * sizing.counts[0] // then, sizing.counts[1])
    return (*shape[:-2], *(reversed(sizes) if swapped else sizes))


WEIGHT_SHAPES: Mapping[str, Callable[[Node, Shape, Sizing], Shape]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Gemm": _product,
    "MatMul": _product,
}
"""The shape of a node's weights, its second input, by operator."""
