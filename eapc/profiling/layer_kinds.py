"""Which layers are the same but for their channel counts, and where those counts stand.

Two kernels are one layer if their operators, attributes, element type, shapes without the
channels and layouts are the same. Their latencies lie on one grid of channel counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from eapc.model import Node, Shapes, TensorSpec, static_shape
from eapc.operators import operator_of
from eapc.profiling.kernels import Kernel

_UNTIMED_ATTRIBUTES = frozenset(
    "epsilon momentum spatial is_test training_mode consumed_inputs".split()
)
_CHANNELS_FIRST_RANKS = (2, 4, 5)
_BLOCKED_RANK = 4

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
        return any(operator_of(node).joins for node in self.kernel.nodes)

    def count(self, shape: tuple[Any, ...], tensor: str) -> int:
        """The channels of one of the kernel's tensors under a shape."""
        axis = self.axes[tensor]
        return 1 if axis is None else int(shape[axis])


def layer_kind(kernel: Kernel, shapes: Shapes, constants: frozenset[str]) -> LayerKind:
    """What a kernel is once the shapes are known; NotTimedError where it cannot be timed."""
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
    rows = [operator_of(node) for node in kernel.nodes]
    if any(row.domain and not row.varies and row.weights is None for row in rows):
        raise NotTimedError(f"an operator of the domain {kernel.host.domain or 'of another'}")
    specs = {}
    for name in (*kernel.inputs, *kernel.outputs):
        spec = shapes.by_scope[""].get(name)
        if spec is None or static_shape(spec) is None:
            raise NotTimedError(f"the shape of '{name}' is unknown")
        specs[name] = spec
    handed_on = [*zip(kernel.inputs, kernel.layouts, strict=True)]
    handed_on += [(kernel.outputs[0], layout) for layout in kernel.read_as]
    for name, layout in handed_on:
        if layout == "blocked" and len(specs[name].shape) != _BLOCKED_RANK:
            raise NotTimedError(f"the layout of '{name}' is unknown")
    for name in kernel.inputs:
        if specs[name].dtype != np.float32:
            raise NotTimedError(f"'{name}' holds {specs[name].dtype}; float32 layers are timed")
    return specs


def _is_independent(kernel: Kernel, constants: frozenset[str]) -> bool:
    host = kernel.host
    layout = operator_of(host).weights
    if layout is None or host.attribute(layout.x_swapped_by, 0):
        return False
    return layout.groups(host.attributes) == 1 and host.input(layout.operand) in constants


def is_depthwise(node: Node, shapes: Shapes) -> bool:
    """Whether a convolution has one filter, or a fixed number of them, for each channel alone."""
    row = operator_of(node)
    if row.weights is None or row.kind != "convolution":
        return False
    weights = shapes.shape(node, node.input(row.weights.operand))
    return weights is not None and weights[1] == 1 and row.weights.groups(node.attributes) > 1


def _channel_axis(kernel: Kernel, rank: int) -> int | None:
    if rank < 2:
        return rank - 1 if rank else None
    host = operator_of(kernel.host)
    if host.weights is not None and host.weights.channels < 0:
        return rank + host.weights.channels
    is_convolution = host.weights is not None and host.weights.grouped
    return 1 if is_convolution or rank in _CHANNELS_FIRST_RANKS else rank - 1


def _described(node: Node, shapes: Shapes, given: frozenset[str]) -> str:
    """`Conv[group=1 kernel_shape=3,3 ...]`; `given=1,2`: weights that a caller may replace."""
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
    """`1x*x32x32 blocked`, a star in place of the channels."""
    sizes = ["*" if place == axis else str(size) for place, size in enumerate(spec.shape)]
    return f"{'x'.join(sizes) or 'scalar'} {layout}".strip()
