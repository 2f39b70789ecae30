"""Which layers are the same but for their channel counts, and where those counts stand.

Two kernels are one layer if their operators, attributes, element type, shapes without the
channels and layouts are the same. Their latencies lie on one grid of channel counts.

A layer at other channel counts: the shapes of what it reads and writes and of its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eapc.model import Array, Node, Shapes, TensorSpec, static_shape
from eapc.operators import operator_of
from eapc.profiling.integer_layers import TIMED_TYPES, is_rounding, joins, weight_layout
from eapc.profiling.kernels import Kernel, Layout

_UNTIMED_ATTRIBUTES = frozenset(
    "epsilon momentum spatial is_test training_mode consumed_inputs".split()
)
_CHANNELS_FIRST_RANKS = (2, 4, 5)
_BLOCKED_RANK = 4
_LEAST_RANK = 3

ChannelCounts = tuple[int, int]
"""(input, output) channels of a layer; input 0 where they are not independent."""


class NotTimedError(Exception):
    """Why a kernel cannot be timed by itself."""


@dataclass(frozen=True)
class LayerKind:
    """A kernel as the layer that it is one of.

    `name` is what the profile lists it under. `independent` says that input and output channels
    vary by themselves; `is_free` that the channels can vary at all. `axes` has the channel axis
    of each tensor the kernel reads and writes; None for scalars.
    """

    kernel: Kernel
    name: str
    independent: bool
    is_free: bool
    axes: Mapping[str, int | None]

    def counts(self, shape_of: Mapping[str, TensorSpec]) -> ChannelCounts:
        """(input, output) channels; without independent axes the input's do not count and are 0.

        The one count of such a layer is that of its widest input, or of all where it joins them.
        """
        read = [self.count(shape_of[name].shape, name) for name in self.kernel.inputs]
        if self.independent:
            result = self.kernel.outputs[0]
            return read[0], self.count(shape_of[result].shape, result)
        return 0, sum(read) if self.joins else max(read)

    @property
    def joins(self) -> bool:
        """Whether the layer is a concatenation."""
        return any(joins(node) for node in self.kernel.nodes)

    def count(self, shape: tuple[Any, ...], tensor: str) -> int:
        """The channels of one of the kernel's tensors under a shape."""
        axis = self.axes[tensor]
        return 1 if axis is None else int(shape[axis])


def layer_kind(kernel: Kernel, shapes: Shapes, constants: frozenset[str]) -> LayerKind:
    """What a kernel is once the shapes are known; NotTimedError where it cannot be timed."""
    kernel = _without_layouts_of_rows(kernel, shapes)
    specs = _known_specs(kernel, shapes)
    independent = _is_independent(kernel, constants)
    axes = {name: _channel_axis(kernel, len(spec.shape)) for name, spec in specs.items()}
    is_free = independent or all(  # it stays valid when all counts change in proportion
        operator_of(node).varies or is_depthwise(node, shapes) for node in kernel.nodes
    )
    steps = " ".join(_described(node, shapes, kernel.given) for node in kernel.nodes)
    read = [
        _shaped(specs[name], axes[name], layout)
        for name, layout in zip(kernel.inputs, kernel.layouts, strict=True)
    ]
    written = [_shaped(specs[name], axes[name], "") for name in kernel.outputs]
    readers = "/".join(kernel.read_as)
    name = f"{steps}: {', '.join(read)} -> {', '.join(written)} {readers}".strip()
    return LayerKind(kernel, name, independent, is_free, axes)


def _known_specs(kernel: Kernel, shapes: Shapes) -> dict[str, TensorSpec]:
    if any(node.subgraphs for node in kernel.nodes):
        raise NotTimedError("holds subgraphs")
    if not kernel.inputs:
        raise NotTimedError("reads no computed tensor")
    rows = [(operator_of(node), weight_layout(node)) for node in kernel.nodes]
    if any(row.domain and not row.varies and layout is None for row, layout in rows):
        raise NotTimedError(f"an operator of the domain {kernel.host.domain or 'of another'}")
    specs = {}
    for name in (*kernel.inputs, *kernel.outputs):
        spec = shapes.by_scope[""].get(name)
        if spec is None or static_shape(spec) is None:
            raise NotTimedError(f"the shape of '{name}' is unknown")
        specs[name] = _as_run(spec, kernel)
    handed_on = [*zip(kernel.inputs, kernel.layouts, strict=True)]
    handed_on += [(kernel.outputs[0], layout) for layout in kernel.read_as]
    for name, layout in handed_on:
        if layout == "blocked" and len(specs[name].shape) != _BLOCKED_RANK:
            raise NotTimedError(f"the layout of '{name}' is unknown")
    for name in kernel.inputs:
        if specs[name].dtype.name not in TIMED_TYPES:
            raise NotTimedError(
                f"'{name}' holds {specs[name].dtype}; layers of float32 and of 8 bits are timed"
            )
    return specs


def _without_layouts_of_rows(kernel: Kernel, shapes: Shapes) -> Kernel:
    """The kernel with plain layouts of what has a rank too low for any other."""

    def of(tensor: str, layout: Layout) -> Layout:
        shape = shapes.main(tensor)
        return "plain" if shape is not None and len(shape) < _LEAST_RANK else layout

    read_as = {of(kernel.outputs[0], layout) for layout in kernel.read_as}
    return replace(
        kernel,
        layouts=tuple(map(of, kernel.inputs, kernel.layouts)),
        read_as=tuple(sorted(read_as)),
    )


def _as_run(spec: TensorSpec, kernel: Kernel) -> TensorSpec:
    """The tensor as onnxruntime has it: codes of int8 may run as those of uint8."""
    return replace(spec, dtype=dtype_as_run(spec, kernel))


def dtype_as_run(spec: TensorSpec, kernel: Kernel) -> np.dtype[Any]:
    """The type of one of a kernel's tensors in the graph that runs."""
    runs_unsigned = spec.name in kernel.unsigned and spec.dtype == np.int8
    return np.dtype(np.uint8) if runs_unsigned else spec.dtype


def _is_independent(kernel: Kernel, constants: frozenset[str]) -> bool:
    host = kernel.host
    layout = weight_layout(host)
    if layout is None or host.attribute(layout.x_swapped_by, 0):
        return False
    return layout.groups(host.attributes) == 1 and host.input(layout.operand) in constants


def is_depthwise(node: Node, shapes: Shapes) -> bool:
    """Whether a convolution has one filter, or a fixed number of them, for each channel alone."""
    layout = weight_layout(node)
    if layout is None or operator_of(node).kind != "convolution":
        return False
    weights = shapes.shape(node, node.input(layout.operand))
    return weights is not None and weights[1] == 1 and layout.groups(node.attributes) > 1


def _channel_axis(kernel: Kernel, rank: int) -> int | None:
    if rank < 2:
        return rank - 1 if rank else None
    layout = weight_layout(kernel.host)
    if layout is not None and layout.channels < 0:
        return rank + layout.channels
    is_convolution = layout is not None and layout.grouped
    return 1 if is_convolution or rank in _CHANNELS_FIRST_RANKS else rank - 1


def _described(node: Node, shapes: Shapes, given: frozenset[str]) -> str:
    """`Conv[group=1 kernel_shape=3,3 ...]`; `given=1,2`: weights that a caller may replace."""
    if is_rounding(node):
        return node.op_type
    depthwise = is_depthwise(node, shapes)
    parts = [
        f"{name}={'*' if name == 'group' and depthwise else _value(value)}"
        for name, value in sorted(node.attributes.items())
        if name not in _UNTIMED_ATTRIBUTES and isinstance(value, int | float | str | list)
    ]
    places = [place for place, name in enumerate(node.inputs) if name in given]
    parts += [f"given={_value(places)}"] if places else []
    return f"{node.op_type}[{' '.join(parts)}]" if parts else node.op_type


def _value(value: object) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, list) else str(value)


def _shaped(spec: TensorSpec, axis: int | None, layout: str) -> str:
    """`1x*x32x32 uint8 channels-last`, a star in place of the channels, float32 unsaid."""
    sizes = ["*" if place == axis else str(size) for place, size in enumerate(spec.shape)]
    said = ["x".join(sizes) or "scalar", "" if spec.dtype == np.float32 else spec.dtype.name]
    return " ".join(filter(None, (*said, layout)))


# --- sizes ---------------------------------------------------------------------------------------


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
        """Of the layer's inputs, output and, roughly, weights, as wide as the first input."""
        kernel, specs = self.kind.kernel, self.shapes.by_scope[""]
        tensors = (*self.read.items(), (kernel.outputs[0], self.written))
        moved = sum(int(np.prod(shape)) * specs[n].dtype.itemsize for n, shape in tensors)
        layout, weights = weight_layout(kernel.host), 0
        if layout is not None and self.kind.independent:
            shape = self.shapes.shape(kernel.host, kernel.host.input(layout.operand)) or (0,)
            now, then = self.counts, self.kind.counts(specs)
            weights = int(np.prod(shape)) * now[0] * now[1] // (then[0] * then[1])
        return moved + weights * specs[kernel.inputs[0]].dtype.itemsize


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
    layout = weight_layout(node)
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
