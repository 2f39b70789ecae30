"""Which words meet in an operator's MACs, so that those without a zero can be counted.

Every MAC of a matrix product pairs a word of either operand at the same index k of its sum, and
each word at k of the one meets each word at k of the other. So

    MACs with both operands non-zero = sum over k of  nnz_left(k) * nnz_right(k)

exactly, wherever the zeros are; nnz counts an operand's non-zero words at k. Products of stacks
of matrices sum over the stack too. For a convolution k is (channel, tap), and a word of the ifmap
is at k once for each output position whose tap reads it: along each axis that is a 0/1 matrix
(taps, ifmap positions), which stride, dilation and padding decide alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from eapc.model import Array, Node
from eapc.operators import operator_of
from eapc.workload.mac_operators import SpatialAxis, conv_axes, transposed_axes
from eapc.workload.rules import Shape


@dataclass(frozen=True)
class Reduction:
    """Non-zeros along one axis, of a single vector each word by itself.

    With `groups` the axis is the first, of which each group is summed by itself: the sums
    of all groups stand one behind the other along the next.
    """

    axis: int
    groups: int = 1

    def __call__(self, nonzero: Array) -> Array:
        """Flags (..., n, ...) to counts (..., ...), in the smallest integers that hold them."""
        flags, axis = nonzero.view(np.uint8), self.axis
        if flags.ndim == 1:
            return flags
        if self.groups > 1:
            flags, axis = flags.reshape(self.groups, -1, *flags.shape[1:]), 1
        counts = np.min_scalar_type(flags.shape[axis])
        found: Array = np.add.reduce(flags, axis=axis, dtype=counts)
        return found.reshape(-1, *found.shape[2:]) if self.groups > 1 else found

    def of_dense(self, shape: Shape) -> Array:
        """What flags of this shape, all set, would give."""
        if len(shape) == 1:
            return np.broadcast_to(1, shape)
        rest = list(shape)
        length = rest.pop(self.axis)
        rest[0] *= self.groups
        return np.broadcast_to(length // self.groups, rest)


@dataclass(frozen=True, eq=False)
class Taps:
    """What the taps of one spatial axis read.

    `reads` (taps, ifmap positions) is 1 where some output position has the tap read the ifmap
    position; `visits` counts the pairs of output position and tap, those on padding included.
    """

    reads: Array
    visits: int


@dataclass(frozen=True, eq=False)
class Counting:
    """How one operator's MACs are counted; `taps` are those of a convolution.

    `left` and `right` say how often the sums' indices occur in the operands' non-zeros.
    """

    left: Reduction
    right: Reduction
    taps: tuple[Taps, ...] = ()

    def fits(self, left: Shape) -> bool:
        """False for an ifmap of other spatial extents than those of `taps`."""
        return not self.taps or left[2:] == tuple(axis.reads.shape[1] for axis in self.taps)

    def unrolled(self, left: Array) -> Array:
        """Counts (C, *spatial) of a convolution's ifmap to counts (C, *kernel); else as they are.

        Float64: sums stay exact to 2^53.
        """
        counts = left.astype(np.float64)
        for axis in reversed(self.taps):
            counts = np.moveaxis(counts @ axis.reads.T, -1, 1)
        return counts

    def macs(self, left: Shape, right: Shape) -> float:
        """All MACs of operands of these shapes."""
        if self.taps:
            visits = math.prod(axis.visits for axis in self.taps)
            return float(left[0] * right[0] * right[1] * visits)
        return pairs(self.left.of_dense(left), self.right.of_dense(right))


def pairs(left: Array, right: Array) -> float:
    """Sum over k of counts that broadcast against each other."""
    return float(np.sum(np.multiply(left, right, dtype=np.float64)))


Maker = Callable[[Node, Shape, Shape, Shape], Counting | None]


def counting_of(
    node: Node, shape_of: Callable[[str], Shape | None]
) -> tuple[Counting, str, str] | None:
    """How a node's MACs are counted, with its left and right operand; None if not at all.

    `shape_of` gives the shapes of tensors; only spatial extents matter.
    """
    row = operator_of(node)
    if row.factors is None or not row.countable:
        return None
    left, right = (node.input(place) for place in row.factors)
    x, w, y = (shape_of(name) for name in (left, right, node.outputs[0]))
    if x is None or w is None or y is None:
        return None
    counting = COUNTINGS[row.kind](node, x, w, y)
    return None if counting is None else (counting, left, right)


def _convolution(node: Node, x: Shape, w: Shape, y: Shape) -> Counting:
    """x (N, C, *spatial), w (M, C/g, *kernel)."""
    taps = tuple(_taps(axis) for axis in conv_axes(node, x[2:], y[2:], w[2:]))
    return Counting(Reduction(0), Reduction(0, node.attribute("group", 1)), taps)


def _taps(axis: SpatialAxis) -> Taps:
    reads = np.zeros((axis.kernel, axis.size))
    outputs = np.arange(axis.output) * axis.stride
    for tap in range(axis.kernel):
        read = outputs + tap * axis.dilation - axis.pad_begin
        reads[tap, read[(read >= 0) & (read < axis.size)]] = 1
    return Taps(reads, axis.output * axis.kernel)


def _transposed(node: Node, x: Shape, w: Shape, y: Shape) -> Counting:
    """x (N, C, *spatial), w (C, M/g, *kernel)."""
    axes = transposed_axes(node, x[2:], y[2:], w[2:])
    return Counting(Reduction(0), Reduction(1), tuple(map(_transposed_taps, axes)))


def _transposed_taps(axis: SpatialAxis) -> Taps:
    """An ifmap word reaches output `word * stride + tap * dilation - begin`, if there is one.

    An output visits the taps that lie a whole number of strides before it.
    """
    taps = np.arange(axis.kernel)[:, None] * axis.dilation - axis.pad_begin
    reached = taps + np.arange(axis.size) * axis.stride
    visits = (np.arange(axis.output) - taps) % axis.stride == 0
    return Taps(((reached >= 0) & (reached < axis.output)).astype(np.float64), int(np.sum(visits)))


def _product(node: Node, *_: Shape) -> Counting | None:
    """A (*lead, m, k) @ B (*lead, k, n), the last two axes of either swapped first if so said."""
    if node.attribute("transBatchA", 0) or node.attribute("transBatchB", 0):
        return None
    left = -1 if node.attribute("transA", 0) else -2
    right = -2 if node.attribute("transB", 0) else -1
    return Counting(Reduction(left), Reduction(right))


COUNTINGS: Mapping[str, Maker] = {
    "convolution": _convolution,
    "transposed convolution": _transposed,
    "product": _product,
}
"""How the operators of a kind are counted whose factors the table of operators names. Others are
not: their operands are no tensors of the graph (recurrent cells, attention), or packed."""
