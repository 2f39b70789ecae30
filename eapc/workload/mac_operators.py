"""Workloads of the operators that multiply and accumulate: convolutions and matrix products."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product
from string import digits

import numpy as np

from eapc.model import Node, weights_fault
from eapc.workload.loop_nests import ConvWorkload, Workload, reach
from eapc.workload.rules import Operands, Part, Shape, UnmodelledError, Work, workload_rule


@dataclass(frozen=True)
class SpatialAxis:
    """One spatial axis of a convolution."""

    size: int
    output: int
    kernel: int
    stride: int
    dilation: int
    pad_begin: int

    @property
    def unpadded(self) -> float:
        """Fraction of its (output position, tap) pairs that read a real word."""
        offsets = np.arange(self.kernel) * self.dilation - self.pad_begin
        first = np.maximum(0, -(offsets // self.stride))
        last = np.minimum(self.output - 1, (self.size - 1 - offsets) // self.stride)
        real = int(np.maximum(0, last - first + 1).sum())
        return real / (self.output * self.kernel) if self.output * self.kernel else 1.0


_UNIT_AXIS = SpatialAxis(1, 1, 1, 1, 1, 0)


def steps_of(node: Node, rank: int) -> tuple[Shape, Shape]:
    """Strides and dilations of a convolution along its spatial axes."""
    ones = (1,) * rank
    return tuple(node.attribute("strides", ones)), tuple(node.attribute("dilations", ones))


def conv_axes(node: Node, sizes: Shape, outputs: Shape, kernel: Shape) -> list[SpatialAxis]:
    """The spatial axes of a Conv, with the padding that it declares or asks for."""

    def padding(axis: SpatialAxis) -> int:
        return max(reach(axis.output, axis.kernel, axis.stride, axis.dilation) - axis.size, 0)

    return _axes(node, sizes, outputs, kernel, padding)


def transposed_axes(node: Node, sizes: Shape, outputs: Shape, kernel: Shape) -> list[SpatialAxis]:
    """The spatial axes of a ConvTranspose: its padding cuts positions off the outputs."""

    def padding(axis: SpatialAxis) -> int:
        return reach(axis.size, axis.kernel, axis.stride, axis.dilation) - axis.output

    return _axes(node, sizes, outputs, kernel, padding)


def _axes(
    node: Node, sizes: Shape, outputs: Shape, kernel: Shape, padding: Callable[[SpatialAxis], int]
) -> list[SpatialAxis]:
    """With the padding that a node declares, or a half of all that an axis needs (`padding`)."""
    rank = len(kernel)
    begins = node.attribute("pads", [0] * (2 * rank))[:rank]
    steps, auto_pad = steps_of(node, rank), node.attribute("auto_pad", "NOTSET")
    axes = [SpatialAxis(*axis) for axis in zip(sizes, outputs, kernel, *steps, begins, strict=True)]
    if not auto_pad.startswith("SAME"):
        return axes
    totals = [padding(axis) for axis in axes]
    begins = [each // 2 if auto_pad == "SAME_UPPER" else each - each // 2 for each in totals]
    return [replace(axis, pad_begin=begin) for axis, begin in zip(axes, begins, strict=True)]


@workload_rule("Conv")
def conv(operands: Operands) -> Work:
    """x (N, C, *spatial), w (M, C/g, *kernel): macs = N M C/g prod(kernel) prod(output).

    One spatial axis becomes the columns of a single row; the depth axis of a 3-D convolution
    counts as more inferences (its outputs) and more channels (its kernel).
    """
    x, w = operands.input(0), operands.input(1)
    groups = _groups(operands, w[1] * operands.node.attribute("group", 1))
    y = operands.output()
    axes = conv_axes(operands.node, x[2:], y[2:], w[2:])
    if len(axes) > 3:
        raise UnmodelledError(f"{len(axes)} spatial axes")
    depth, rows, columns = [_UNIT_AXIS] * (3 - len(axes)) + axes
    workload = ConvWorkload(
        batch=x[0] * depth.output,
        groups=groups,
        filters_per_group=w[0] // groups,
        channels_per_group=w[1] * depth.kernel,
        ofmap_rows=rows.output,
        ofmap_columns=columns.output,
        filter_rows=rows.kernel,
        filter_columns=columns.kernel,
        stride_rows=rows.stride,
        stride_columns=columns.stride,
        dilation_rows=rows.dilation,
        dilation_columns=columns.dilation,
        unpadded_fraction=depth.unpadded * rows.unpadded * columns.unpadded,
    )
    return _mac_work(operands, (workload,))


def _groups(operands: Operands, channels: int) -> int:
    """The groups of a convolution whose weights are for so many `channels` of its input.

    UnmodelledError where attributes or input contradict its weights.
    """
    fault = weights_fault(operands.node, operands.input(1))
    own = operands.input(0)[1]
    if not fault and channels != own:
        fault = f"its input has {own} channels, its weights {channels}"
    if fault:
        raise UnmodelledError(fault)
    groups: int = operands.node.attribute("group", 1)
    return groups


def _mac_work(operands: Operands, workloads: tuple[Workload, ...], weights: int = 1) -> Work:
    inputs, output = operands.node.inputs, operands.node.outputs[0]
    return Work(
        tuple(Part(load, inputs[weights], inputs[1 - weights], output) for load in workloads)
    )


@workload_rule("ConvTranspose")
def conv_transpose(operands: Operands) -> Work:
    """x (N, C, *spatial), w (C, M/g, *kernel), split into its stride-1 convolutions.

    The outputs with equal position modulo the stride see the same taps: each such phase is a
    plain convolution over the ifmap, so no zero is ever multiplied (sub-pixel form, Shi et
    al., CVPR 2016); phases of equal size are filters of one convolution.
    macs = N C M/g * (sum over phases of taps * positions), multiplied over the axes.
    """
    x, w = operands.input(0), operands.input(1)
    groups = _groups(operands, w[0])
    y = operands.output()
    if len(w) not in (3, 4):
        raise UnmodelledError(f"{len(w) - 2} spatial axes")
    axes = transposed_axes(operands.node, x[2:], y[2:], w[2:])
    if any(axis.dilation != 1 and axis.stride != 1 for axis in axes):
        raise UnmodelledError("dilation together with stride")
    phases = [list(_phases(axis)) for axis in axes]
    if len(phases) == 1:
        phases.insert(0, [(1, 1)])
    workloads = tuple(
        ConvWorkload(
            batch=x[0],
            groups=groups,
            filters_per_group=w[1] * alike,
            channels_per_group=w[0] // groups,
            ofmap_rows=rows,
            ofmap_columns=columns,
            filter_rows=row_taps,
            filter_columns=column_taps,
        )
        for ((row_taps, rows), (column_taps, columns)), alike in Counter(product(*phases)).items()
    )
    return _mac_work(operands, workloads)


def _phases(axis: SpatialAxis) -> Iterable[tuple[int, int]]:
    """(taps, positions) of each residue class of one axis; classes without either drop out."""
    for phase in range(axis.stride):
        taps = math.ceil((axis.kernel - phase) / axis.stride)
        positions = len(range((phase - axis.pad_begin) % axis.stride, axis.output, axis.stride))
        if taps > 0 and positions > 0:
            yield taps, positions


@workload_rule("Gemm")
def gemm(operands: Operands) -> Work:
    """x (n, k) @ w (k, m): macs = n k m; the constant operand is the weights, else the second."""
    a, b = operands.input(0), operands.input(1)
    rows, inner = reversed(a) if operands.node.attribute("transA", 0) else a
    columns, depth = b if operands.node.attribute("transB", 0) else reversed(b)
    _require_equal(inner, depth)
    weights = _weights_place(operands)
    batch, outputs = (rows, columns) if weights else (columns, rows)
    return _mac_work(operands, (_fully_connected(batch, inner, outputs),), weights)


def _weights_place(operands: Operands) -> int:
    """Which of two operands is the weights: the constant one, else the second."""
    return 0 if operands.is_constant(0) and not operands.is_constant(1) else 1


def _fully_connected(batch: int, inputs: int, outputs: int) -> ConvWorkload:
    return ConvWorkload(batch, 1, outputs, inputs, 1, 1)


@workload_rule("MatMul")
def matmul(operands: Operands) -> Work:
    """A (*lead, m, k) @ B (*lead, k, n): macs = prod(lead) m k n.

    With a constant B of rank two the m rows are a column of 1x1 outputs. Of a stack of constant
    matrices each is a group, with two activations each leading index is. A constant A has a
    column of B for each input vector.
    """
    a, b = operands.input(0), operands.input(1)
    a = (1, *a) if len(a) == 1 else a
    b = (*b, 1) if len(b) == 1 else b
    _require_equal(a[-1], b[-2])
    lead = math.prod(np.broadcast_shapes(a[:-2], b[:-2]))
    weights = _weights_place(operands)
    own = _without_leading_ones((a, b)[weights])[:-2]
    groups = math.prod(own) if operands.is_constant(weights) or not own else lead
    if weights and not own and len(a) == 2:
        return _mac_work(operands, (_fully_connected(a[0], a[1], b[-1]),))
    filters, positions = (b[-1], a[-2]) if weights else (a[-2], b[-1])
    workload = ConvWorkload(lead // groups, groups, filters, a[-1], positions, 1)
    return _mac_work(operands, (workload,), weights)


def _require_equal(inner: int, depth: int) -> None:
    """Of a model that fixes its batch on the way shape inference may say what does not fit."""
    if inner != depth:
        raise UnmodelledError(f"inner sizes {inner} and {depth} of its operands differ")


def _without_leading_ones(shape: Shape) -> Shape:
    """A stack of one matrix is a matrix: it is shared, not one per leading index."""
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape


@workload_rule("FusedMatMul", domain="com.microsoft")
def fused_matmul(operands: Operands) -> Work:
    """MatMul of scaled operands, of which the last two axes may be swapped first."""
    for place, name in enumerate(("transA", "transB")):
        shape = operands.input(place)
        if operands.node.attribute(name, 0) and len(shape) > 1:
            operands = operands.with_shape(place, (*shape[:-2], shape[-1], shape[-2]))
    return matmul(operands)


@workload_rule("Einsum")
def einsum(operands: Operands) -> Work:
    """Two operands: macs = the product of all index sizes; other forms are not modelled.

    The constant operand is the weights, else the second.
    """
    labels, result = _indices(operands)
    weights = _weights_place(operands)
    right, left = labels[weights], labels[1 - weights]
    sizes: dict[str, int] = {}
    for index, letters in enumerate(labels):
        for letter, size in zip(letters, operands.input(index), strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    shared = set(left) & set(right) & set(result)

    def extent(labels: set[str]) -> int:
        return math.prod(sizes[label] for label in labels)

    workload = ConvWorkload(
        batch=1,
        groups=extent(shared),
        filters_per_group=extent(set(right) - set(left)),
        channels_per_group=extent((set(left) & set(right)) - shared),
        ofmap_rows=extent(set(left) - set(right)),
        ofmap_columns=1,
    )
    return _mac_work(operands, (workload,), weights)


def _indices(operands: Operands) -> tuple[list[str], str]:
    """The indices of both operands of an Einsum and of its result, by its equation.

    Axes of an ellipsis become digits, counted from the last as broadcasting has it; without an
    arrow the result has them and the letters that stand once, in alphabetical order.
    """
    equation = operands.node.attribute("equation", "").replace(" ", "")
    terms, arrow, result = equation.partition("->")
    labels = terms.split(",")
    if len(labels) != 2:
        raise UnmodelledError(f"Einsum of the form '{equation}'")
    letters = [label.replace("...", "") for label in labels]
    free = [max(0, len(operands.input(i)) - len(own)) for i, own in enumerate(letters)]
    if max(free) > len(digits):
        raise UnmodelledError(f"Einsum of {max(free)} axes without a letter")
    if not arrow:
        once = [letter for letter, count in Counter("".join(letters)).items() if count == 1]
        result = "..." + "".join(sorted(once))
    spare = [digits[:count][::-1] for count in free]
    labels = [label.replace("...", own) for label, own in zip(labels, spare, strict=True)]
    return labels, result.replace("...", max(spare, key=len))
