"""A prunable operator as a matrix: y = W x for every output position, per group.

One form per kind of operator, in one table. A form turns the operator's weights into W
(groups, m outputs, k inputs) and back, and takes the unrolled inputs x and outputs y of
chosen rows (a row is one output position of one sample) out of the activations.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from eapc.model import Array, Node, Shape, weights_fault
from eapc.operators import operator_of
from eapc.workload import same_padding, steps_of


class UnsupportedLayerError(Exception):
    """A node that eapc cannot prune; the message says why. Caught by the layer finder."""


@dataclass(frozen=True)
class LayerForm(ABC):
    """What the solver needs to know of an operator, of weights of that shape."""

    weight_shape: Shape
    groups: int

    @property
    def channel_axis(self) -> int:
        """The axis of y that runs over outputs, of all groups or of one."""
        return 1

    @property
    @abstractmethod
    def channel_shape(self) -> Shape:
        """The shape, aligned with y at the end, of a constant with one number per output.

        In C order the outputs of the first group come first.
        """

    @property
    def positions(self) -> int:
        """Kernel positions: k runs over them and, within each, over input channels."""
        return math.prod(self.weight_shape[2:])

    @abstractmethod
    def to_matrix(self, weight: Array) -> Array:
        """The weights as W (groups, m, k) float32, scaled as y needs them."""

    @abstractmethod
    def to_weight(self, matrix: Array) -> Array:
        """The inverse of `to_matrix`: the operator's weights in their own shape."""

    @abstractmethod
    def inputs(self, x: Array, y: Shape, rows: Array) -> Array:
        """Unrolled inputs (groups, len(rows), k) float32 at flat row indices of an output."""

    def row_count(self, y: Shape) -> int:
        """Rows in an output of shape `y`: all of its axes together but that of the channels."""
        return math.prod(y) // y[self.channel_axis]

    def outputs(self, y: Array, rows: Array) -> Array:
        """Outputs (groups, len(rows), m) float32 at the same rows."""
        found = np.moveaxis(y, self.channel_axis, -1).reshape(-1, y.shape[self.channel_axis])[rows]
        split = found.reshape(len(rows), self.groups, -1).swapaxes(0, 1)
        return np.ascontiguousarray(split, np.float32)


FormMaker = Callable[[Node, Shape], LayerForm]


@dataclass(frozen=True)
class _Windows:
    """Sliding windows over padded channels-last inputs of any spatial rank."""

    kernel: Shape
    strides: Shape
    dilations: Shape

    def at(self, padded: Array, y: Shape, rows: Array, groups: int) -> Array:
        """padded (n, *spatial, C), y (n, M, *positions) -> (groups, rows, prod(kernel) C/g)."""
        places, words = padded.shape[:-1], padded.shape[-1]
        sample, *position = np.unravel_index(rows, (y[0], *y[2:]))
        first = (p * s for p, s in zip(position, self.strides, strict=True))
        taps = (t * d for t, d in zip(np.indices(self.kernel), self.dilations, strict=True))
        start = np.ravel_multi_index((sample, *first), places)
        steps = np.ravel_multi_index((np.zeros(self.kernel, int), *taps), places)
        patches = padded.reshape(-1, words).take(start[:, None] + steps.ravel(), axis=0)
        channels = words // groups
        grouped = patches.reshape(len(rows), -1, groups, channels)
        moved = np.moveaxis(grouped, 2, 0).reshape(groups, len(rows), -1)
        return np.ascontiguousarray(moved, np.float32)


@dataclass(frozen=True)
class ConvForm(LayerForm):
    """w (M, C/g, *kernel); inputs run over (*kernel, C/g)."""

    windows: _Windows
    pads: tuple[tuple[int, int], ...] | None
    same_upper: bool

    @property
    def channel_shape(self) -> Shape:
        """(M, 1, ...)."""
        return (self.weight_shape[0], *(1 for _ in self.weight_shape[2:]))

    def to_matrix(self, weight: Array) -> Array:
        """Channels last, then one row per filter."""
        last = np.moveaxis(weight, 1, -1).astype(np.float32)
        return np.ascontiguousarray(
            last.reshape(self.groups, self.weight_shape[0] // self.groups, -1)
        )

    def to_weight(self, matrix: Array) -> Array:
        """Back to (M, C/g, *kernel)."""
        filters, channels, *kernel = self.weight_shape
        return np.ascontiguousarray(np.moveaxis(matrix.reshape(filters, *kernel, channels), -1, 1))

    def inputs(self, x: Array, y: Shape, rows: Array) -> Array:
        """Patches of the padded ifmap x (n, C, *spatial)."""
        widths = [(0, 0), *self._pads(x.shape, y), (0, 0)]
        padded = np.pad(np.moveaxis(x, 1, -1), widths)
        return self.windows.at(padded, y, rows, self.groups)

    def _pads(self, x: Shape, y: Shape) -> tuple[tuple[int, int], ...]:
        if self.pads is not None:
            return self.pads
        w = self.windows
        extents = zip(x[2:], y[2:], w.kernel, w.strides, w.dilations, strict=True)
        pairs = tuple(same_padding(*extent) for extent in extents)
        return pairs if self.same_upper else tuple((end, begin) for begin, end in pairs)


def conv_form(node: Node, weight_shape: Shape) -> ConvForm:
    """Conv of any spatial rank, grouped, dilated, with explicit or automatic padding."""
    kernel = weight_shape[2:]
    auto_pad = node.attribute("auto_pad", "NOTSET")
    none = (0,) * (2 * len(kernel))
    flat = none if auto_pad == "VALID" else tuple(node.attribute("pads", none))
    pairs = tuple(zip(flat[: len(kernel)], flat[len(kernel) :], strict=True))
    return ConvForm(
        weight_shape,
        node.attribute("group", 1),
        _Windows(kernel, *steps_of(node, len(kernel))),
        None if auto_pad.startswith("SAME") else pairs,
        auto_pad == "SAME_UPPER",
    )


@dataclass(frozen=True)
class ConvTransposeForm(LayerForm):
    """w (C, M/g, *kernel): a stride-1 convolution of flipped filters over the spread-out ifmap.

    The ifmap's words stand `strides` apart with zeros between; pad = extent - 1 - own pad.
    """

    strides: Shape
    dilations: Shape
    pads_begin: Shape

    @property
    def _kernel(self) -> Shape:
        return self.weight_shape[2:]

    @property
    def channel_shape(self) -> Shape:
        """(M, 1, ...)."""
        return (self.groups * self.weight_shape[1], *(1 for _ in self._kernel))

    def to_matrix(self, weight: Array) -> Array:
        """Flip the kernel, put filters first and channels last."""
        channels, filters, *kernel = self.weight_shape
        grouped = weight.reshape(self.groups, channels // self.groups, filters, *kernel)
        flipped = np.flip(grouped, axis=tuple(range(3, grouped.ndim)))
        last = np.moveaxis(np.moveaxis(flipped, 2, 1), 2, -1)
        return np.ascontiguousarray(last.reshape(self.groups, filters, -1), np.float32)

    def to_weight(self, matrix: Array) -> Array:
        """Back to (C, M/g, *kernel)."""
        channels, filters, *kernel = self.weight_shape
        last = matrix.reshape(self.groups, filters, *kernel, channels // self.groups)
        first = np.moveaxis(np.moveaxis(last, -1, 2), 1, 2)
        flipped = np.flip(first, axis=tuple(range(3, first.ndim)))
        return np.ascontiguousarray(flipped.reshape(self.weight_shape))

    def inputs(self, x: Array, y: Shape, rows: Array) -> Array:
        """Patches of the spread-out ifmap, cut or filled to what the outputs reach."""
        spread = np.zeros((y[0], *self._spread_shape(y), x.shape[1]), x.dtype)
        place: list[slice] = [slice(None)]
        take: list[slice] = [slice(None)]
        for axis, stride in enumerate(self.strides):
            begin = self._extent(axis) - 1 - self.pads_begin[axis]
            skip = max(0, -(begin // stride)) if begin < 0 else 0
            first = begin + skip * stride
            room = max(0, math.ceil((spread.shape[1 + axis] - first) / stride))
            count = min(x.shape[2 + axis] - skip, room)
            place.append(slice(first, first + (count - 1) * stride + 1, stride))
            take.append(slice(skip, skip + count))
        spread[tuple(place)] = np.moveaxis(x, 1, -1)[tuple(take)]
        ones = (1,) * len(self._kernel)
        return _Windows(self._kernel, ones, self.dilations).at(spread, y, rows, self.groups)

    def _extent(self, axis: int) -> int:
        return (self._kernel[axis] - 1) * self.dilations[axis] + 1

    def _spread_shape(self, y: Shape) -> Shape:
        return tuple(size + self._extent(axis) - 1 for axis, size in enumerate(y[2:]))


def conv_transpose_form(node: Node, weight_shape: Shape) -> ConvTransposeForm:
    """ConvTranspose with explicit padding."""
    kernel = weight_shape[2:]
    if node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise UnsupportedLayerError("automatic padding of ConvTranspose")
    if "output_shape" in node.attributes:
        raise UnsupportedLayerError("output_shape of ConvTranspose decides its padding")
    pads = tuple(node.attribute("pads", (0,) * (2 * len(kernel))))[: len(kernel)]
    steps = steps_of(node, len(kernel))
    return ConvTransposeForm(weight_shape, node.attribute("group", 1), *steps, pads)


@dataclass(frozen=True)
class DenseForm(LayerForm):
    """y (*lead, rows, m) = scale * x (*lead, rows, k) @ w (*own, k, m), axes in front broadcast.

    A group is an index of w's axes in front that are longer than 1. The other axes of y but the
    last are those of rows; a vector x is one row, which y lacks. w is (*own, m, k) where
    `filters_first`, x and y have their last two axes the other way round where turned.
    """

    filters_first: bool
    scale: float = 1.0
    input_turned: bool = False
    output_turned: bool = False

    @property
    def positions(self) -> int:
        """One: every input is a channel."""
        return 1

    @property
    def channel_axis(self) -> int:
        """The last axis of y, or the one before."""
        return -2 if self.output_turned else -1

    @property
    def channel_shape(self) -> Shape:
        """(*own, 1, m)."""
        *own, a, b = self.weight_shape
        m = a if self.filters_first else b
        return (*own, m, 1) if self.output_turned else (*own, 1, m)

    def to_matrix(self, weight: Array) -> Array:
        """(groups, m, k), scaled."""
        rows = weight if self.filters_first else weight.swapaxes(-1, -2)
        scaled = self.scale * rows.astype(np.float32)
        return np.ascontiguousarray(scaled.reshape(self.groups, *rows.shape[-2:]), np.float32)

    def to_weight(self, matrix: Array) -> Array:
        """Back to the stored orientation, unscaled."""
        unscaled = matrix / np.float32(self.scale)
        rows = unscaled.reshape(*self.weight_shape[:-2], *matrix.shape[1:])
        return np.ascontiguousarray(rows if self.filters_first else rows.swapaxes(-1, -2))

    def inputs(self, x: Array, y: Shape, rows: Array) -> Array:
        """x (*lead, rows, k), one for all groups where it has but one."""
        matrices = x[None] if x.ndim == 1 else x
        if self.input_turned and x.ndim > 1:
            matrices = matrices.swapaxes(-1, -2)
        places = self._rows_last(np.broadcast_to(np.False_, y)).shape[:-1]
        return self._taken(np.broadcast_to(matrices, (*places, matrices.shape[-1])), rows)

    def outputs(self, y: Array, rows: Array) -> Array:
        """y (*lead, rows, m)."""
        return self._taken(self._rows_last(y), rows)

    def row_count(self, y: Shape) -> int:
        """All elements of an output by those of a row in all groups."""
        return math.prod(y) // math.prod(self.channel_shape)

    def _rows_last(self, y: Array) -> Array:
        """y as (*lead, rows, m), of a vector x too."""
        if y.ndim < len(self.weight_shape):
            return y[..., None, :]
        return y.swapaxes(-1, -2) if self.output_turned else y

    def _taken(self, values: Array, rows: Array) -> Array:
        """Of values (*lead, rows, n) those of flat row indices, (groups, len(rows), n) float32."""
        front = values.ndim - len(self.weight_shape)
        groups = [front + axis for axis, size in enumerate(self.weight_shape[:-2]) if size > 1]
        others = [axis for axis in range(values.ndim - 1) if axis not in groups]
        moved = values.transpose(*groups, *others, values.ndim - 1)
        places: tuple[Any, ...] = np.unravel_index(rows, moved.shape[len(groups) : -1])
        found = moved[(..., *places, slice(None))]
        return np.ascontiguousarray(found.reshape(self.groups, len(rows), -1), np.float32)


def dense_form(node: Node, weight_shape: Shape) -> DenseForm:
    """A product with constant weights, a matrix or a stack of them; a bias is handled elsewhere."""
    layout = operator_of(node).weights
    if layout is None or len(weight_shape) < 2:
        raise UnsupportedLayerError(f"weights of rank {len(weight_shape)}, expected 2 or more")
    if layout.factor(node.attributes) == 0:
        raise UnsupportedLayerError(f"{layout.scale} is 0")
    outputs, inputs = layout.axes(node.attributes, len(weight_shape))
    return DenseForm(
        weight_shape,
        math.prod(weight_shape[:-2]),
        outputs < inputs,
        layout.factor(node.attributes),
        bool(node.attribute(layout.x_swapped_by, 0)),
    )


LAYER_FORMS: Mapping[str, FormMaker] = {
    "convolution": conv_form,
    "transposed convolution": conv_transpose_form,
    "product": dense_form,
}
"""Makers (of node and weight shape) by the kind of operators that have weights."""


def form_of(node: Node, weight_shape: Shape) -> LayerForm:
    """The form of a node with weights; raises UnsupportedLayerError where eapc knows none."""
    kind = operator_of(node).kind
    fault = weights_fault(node, weight_shape) if "convolution" in kind else ""
    if fault:
        raise UnsupportedLayerError(fault)
    return LAYER_FORMS[kind](node, weight_shape)
