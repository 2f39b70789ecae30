"""The work of a node as loop nests that a dataflow can map onto a machine.

A `ConvWorkload` is any multiply-accumulate nest that can be written as a convolution (a
fully connected layer is one with 1x1 filters and a 1x1 ofmap); a `StreamWorkload` touches
every operand word once. Both are pure values: equal workloads cost the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class MacFractions:
    """Counted fractions, 0 to 1, of a node's MACs, those of padding included.

    `both` have two operands that are not zero, `ifmap` an ifmap operand that is not zero.
    """

    both: float
    ifmap: float


@dataclass(frozen=True)
class LiveShares:
    """Shares, 0 to 1, of a layer's filters that are not dead, and of its weights between live ones.

    A filter is dead if it is zeros, or if nobody reads its channel.
    """

    filters: float = 1.0
    weights: float = 1.0


@dataclass(frozen=True)
class OperandDensities:
    """Fractions of non-zero words, 0 to 1, of a node's three operands.

    `macs` says in which MACs these meet; None where that has not been counted: the zeros of
    the operands are then taken to fall independently, of each other and of the positions. `live`
    is known for machines that leave out what is dead.
    """

    weights: float = 1.0
    ifmap: float = 1.0
    ofmap: float = 1.0
    macs: MacFractions | None = None
    live: LiveShares = field(default=LiveShares())

    def with_weights_at_most(self, density: float) -> OperandDensities:
        """The same with sparser weights; MACs with both operands go down in proportion."""
        if density >= self.weights:
            return self
        macs = self.macs
        if macs is not None:
            macs = replace(macs, both=macs.both * density / self.weights)
        return replace(self, weights=density, macs=macs)


@dataclass(frozen=True)
class BitWidths:
    """Bits of a word of a node's three operands; None is the machine's own word."""

    weights: int | None = None
    ifmap: int | None = None
    ofmap: int | None = None


@dataclass(frozen=True)
class Kept:
    """Shares, 0 to 1, of a node's feature maps that never leave the chip."""

    ifmap: float = 0.0
    ofmap: float = 0.0

    @property
    def passing(self) -> tuple[float, float, float]:
        """Shares of weights, ifmap and ofmap that pass the levels outside."""
        return 1.0, 1.0 - self.ifmap, 1.0 - self.ofmap


@dataclass(frozen=True)
class ConvWorkload:
    """A convolution's loop nest; sizes in elements, per batch of `batch` inferences.

    Follows the naming of Chen et al. (Eyeriss): N `batch`, M filters and C channels split
    into `groups`, R x S filters, E x F ofmap, strides U, an ifmap of H x W words including
    its padding.
    """

    batch: int
    groups: int
    filters_per_group: int
    channels_per_group: int
    ofmap_rows: int
    ofmap_columns: int
    filter_rows: int = 1
    filter_columns: int = 1
    stride_rows: int = 1
    stride_columns: int = 1
    dilation_rows: int = 1
    dilation_columns: int = 1
    densities: OperandDensities = field(default=OperandDensities())
    bits: BitWidths = field(default=BitWidths())
    kept: Kept = field(default=Kept())
    unpadded_fraction: float = 1.0
    """Fraction of the MACs whose ifmap operand is a real word rather than padding."""

    @property
    def macs(self) -> int:
        """N * M * (C / groups) * R * S * E * F; padding positions count."""
        return self.ofmap_words * self.channels_per_group * self.filter_rows * self.filter_columns

    @property
    def nonskipped_macs(self) -> float:
        """MACs with both operands non-zero: counted, else as if zeros fell independently."""
        counted = self.densities.macs
        if counted is not None:
            return self.macs * counted.both
        return self.macs_on_ifmap * self.densities.weights

    @property
    def macs_on_ifmap(self) -> float:
        """MACs whose ifmap operand is neither zero nor padding: counted, else likewise."""
        counted = self.densities.macs
        if counted is not None:
            return self.macs * counted.ifmap
        return self.macs * self.unpadded_fraction * self.densities.ifmap

    @property
    def weight_words(self) -> int:
        """M * (C / groups) * R * S."""
        filters = self.groups * self.filters_per_group
        return filters * self.channels_per_group * self.filter_rows * self.filter_columns

    @property
    def ofmap_words(self) -> int:
        """N * M * E * F."""
        filters = self.groups * self.filters_per_group
        return self.batch * filters * self.ofmap_rows * self.ofmap_columns

    @property
    def ifmap_rows(self) -> int:
        """Padded ifmap rows that the ofmap reaches."""
        return reach(self.ofmap_rows, self.filter_rows, self.stride_rows, self.dilation_rows)

    @property
    def ifmap_columns(self) -> int:
        """Padded ifmap columns that the ofmap reaches."""
        filters, stride = self.filter_columns, self.stride_columns
        return reach(self.ofmap_columns, filters, stride, self.dilation_columns)

    @property
    def ifmap_words(self) -> int:
        """N * C * H * W, padding included."""
        channels = self.groups * self.channels_per_group
        return self.batch * channels * self.ifmap_rows * self.ifmap_columns


@dataclass(frozen=True)
class StreamWorkload:
    """Operations that read and write every operand word once (element-wise, pooling, copies).

    `operations` are additions, comparisons or the like; a view (Reshape) has none and moves
    no words. One that `requantises` only takes real numbers to integers or back; of others
    `requantising` operations do that.
    """

    operations: int = 0
    ifmap_words: int = 0
    weight_words: int = 0
    ofmap_words: int = 0
    densities: OperandDensities = field(default=OperandDensities())
    bits: BitWidths = field(default=BitWidths())
    kept: Kept = field(default=Kept())
    requantises: bool = False
    requantising: int = 0

    @property
    def computing(self) -> int:
        """The operations that the operator itself does, which it would do on real numbers too."""
        return self.operations - self.requantising

    @property
    def macs(self) -> int:
        """None: only multiply-accumulate nests count as MACs."""
        return 0


Workload = ConvWorkload | StreamWorkload


def reach(output: int, kernel: int, stride: int, dilation: int) -> int:
    """Padded ifmap words along one axis that outputs read: (E - 1) U + (R - 1) D + 1."""
    return (output - 1) * stride + (kernel - 1) * dilation + 1


def same_padding(
    size: int, output: int, kernel: int, stride: int, dilation: int
) -> tuple[int, int]:
    """Padding of one axis under auto_pad SAME_UPPER: (begin, end), the odd word at the end."""
    total = max(reach(output, kernel, stride, dilation) - size, 0)
    return total // 2, total - total // 2
