"""Tiles of a layer in one memory level: which there are, and how often operands are fetched.

A level that holds a tile of the ofmap (n ifmaps, e rows, f columns, m filters) for c channels
steps through tiles in three loops: p over positions, m over filters, c over channels. By the
rule of loop-nest analysis [1, 2], an operand stays while only loops that it does not depend on
step; a loop outside one that it does depend on fetches it anew in every step.

Positions are divided along one axis only: columns within single rows, rows within single
ifmaps, or whole ifmaps. Ifmap rows and columns that neighbouring tiles share are fetched by
both; those that a stride or a dilation skips are not fetched, neither within a tile nor between
tiles, so no division fetches less than the whole. Words of one position lie together (channels
innermost), and nothing is rounded to bursts or lines. A tile may fill its level: nothing is set
aside for double buffering, or lost to associativity.

[1] Yang, X., et al., "Interstellar: Using Halide's Scheduling Language to Analyze DNN
Accelerators", ASPLOS 2020.
[2] Parashar, A., et al., "Timeloop: A Systematic Approach to DNN Accelerator Evaluation",
ISPASS 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple

import numpy as np

from eapc.dataflow.execution import PerOperand
from eapc.dataflow.integers import Flags, IntOrInts, Ints, ceil_div, smallest_divisors
from eapc.workload import ConvWorkload, reach

_ALL_LENGTHS = 1 << 14
"""Lengths of tiles that are all tried where their number is in question."""


@dataclass(frozen=True)
class Extents:
    """The loops of one group of a layer, or of a tile of it."""

    batch: int
    filters: int
    channels: int
    rows: int
    columns: int
    filter_rows: int = 1
    filter_columns: int = 1
    stride_rows: int = 1
    stride_columns: int = 1
    dilation_rows: int = 1
    dilation_columns: int = 1

    @classmethod
    def of(cls, workload: ConvWorkload) -> Extents:
        """One group of the workload."""
        return cls(
            workload.batch,
            workload.filters_per_group,
            workload.channels_per_group,
            workload.ofmap_rows,
            workload.ofmap_columns,
            workload.filter_rows,
            workload.filter_columns,
            workload.stride_rows,
            workload.stride_columns,
            workload.dilation_rows,
            workload.dilation_columns,
        )

    @property
    def taps(self) -> int:
        """Words of a filter per channel."""
        return self.filter_rows * self.filter_columns

    @property
    def depth(self) -> int:
        """MACs per ofmap word: taps of all channels."""
        return self.channels * self.taps

    @property
    def positions(self) -> int:
        """Ofmap words per filter."""
        return self.batch * self.rows * self.columns

    def lowered(self) -> Extents:
        """The same MACs as a matrix product: depth as channels, positions as columns."""
        return Extents(1, self.filters, self.depth, 1, self.positions)

    def cut(self, batch: int, rows: int, columns: int, filters: int, channels: int) -> Extents:
        """The loops of a tile."""
        return replace(
            self, batch=batch, rows=rows, columns=columns, filters=filters, channels=channels
        )

    @property
    def ifmap_columns(self) -> int:
        """Ifmap columns that the ofmap's span, skipped ones included."""
        return reach(self.columns, self.filter_columns, self.stride_columns, self.dilation_columns)

    @property
    def ifmap_words(self) -> int:
        """Ifmap words per channel that some tap reads."""
        return self.batch * self.rows_touched(self.rows) * self.columns_touched(self.columns)

    def rows_touched(self, rows: IntOrInts) -> IntOrInts:
        """Ifmap rows that adjacent ofmap rows need; those that a stride skips don't count."""
        return touched(rows, self.filter_rows, self.stride_rows, self.dilation_rows)

    def columns_touched(self, columns: IntOrInts) -> IntOrInts:
        """Ifmap columns that adjacent ofmap columns need, likewise."""
        return touched(columns, self.filter_columns, self.stride_columns, self.dilation_columns)

    def rows_fetched(self, strip: IntOrInts) -> IntOrInts:
        """Ifmap rows touched over all strips of `strip` ofmap rows, overlap included."""
        others = ceil_div(self.rows, strip) - 1
        return others * self.rows_touched(strip) + self.rows_touched(self.rows - others * strip)

    def columns_fetched(self, part: IntOrInts) -> IntOrInts:
        """Ifmap columns touched over all parts of `part` ofmap columns, overlap included."""
        others = ceil_div(self.columns, part) - 1
        last = self.columns - others * part
        return others * self.columns_touched(part) + self.columns_touched(last)

    def heights(self, most: int) -> Ints:
        """Rows that a tile may have, at most so many."""
        return lengths(self.rows, most, self.dilation_rows)


def touched(outputs: IntOrInts, taps: int, stride: int, dilation: int) -> IntOrInts:
    """Places along one ifmap axis that adjacent outputs read.

    Outputs o and taps k read o * stride + k * dilation. Over the steps' greatest common divisor
    g, (o, k) reads the place of (o - dilation / g, k + stride / g): all pairs count but those
    which have such a partner.
    """
    if dilation == 1:
        return (outputs - 1) * min(stride, taps) + taps
    step = math.gcd(stride, dilation)
    stride, dilation = stride // step, dilation // step
    shared = (outputs > dilation) * (outputs - dilation) * max(taps - stride, 0)
    return outputs * taps - shared


def lengths(total: int, most: int, dilation: int) -> Ints:
    """Outputs of a tile along one axis, at most so many: the fewest for each number of tiles.

    Of dilated axes all lengths: the places that they touch are not linear in their length, so a
    longer tile may fetch fewer of them. Beyond `_ALL_LENGTHS` they are too many, and what may be
    saved is less than a part in as many.
    """
    longest = max(1, min(total, most))
    if dilation == 1 or longest > _ALL_LENGTHS:
        return smallest_divisors(total, most)
    return np.arange(1, longest + 1, dtype=np.int64)


class Positions(NamedTuple):
    """Candidate tiles of positions (arrays of one length), with the ifmap words they cost.

    `tile_words` are those of one tile and channel, `fetched_words` those of all tiles of the
    extents and one channel, overlap included; `tiles` of them cover the extents.
    """

    n: Ints
    e: Ints
    f: Ints
    size: Ints
    tiles: Ints
    tile_words: Ints
    fetched_words: Ints

    def select(self, chosen: Flags | Ints) -> Positions:
        """Some of the candidates."""
        return Positions(*(axis[chosen] for axis in self))


def position_tiles(extents: Extents, most: int) -> Positions:
    """Tiles of at most `most` positions, each the smallest for its number of tiles."""
    rows, columns = extents.rows, extents.columns
    f = lengths(columns, most, extents.dilation_columns)
    e = extents.heights(most // columns)
    n = smallest_divisors(extents.batch, most // (rows * columns))
    sizes = np.concatenate(
        [
            np.stack([np.ones_like(f), np.ones_like(f), f]),
            np.stack([np.ones_like(e), e, np.full_like(e, columns)]),
            np.stack([n, np.full_like(n, rows), np.full_like(n, columns)]),
        ],
        axis=1,
    )
    found = positions_at(extents, *sizes)
    return found.select(found.size <= max(most, 1))


def positions_at(extents: Extents, n: Ints, e: Ints, f: Ints) -> Positions:
    """Tiles of n ifmaps, e rows and f columns."""
    strips, parts = ceil_div(extents.rows, e), ceil_div(extents.columns, f)
    return Positions(
        n,
        e,
        f,
        size=n * e * f,
        tiles=ceil_div(extents.batch, n) * strips * parts,
        tile_words=n * extents.rows_touched(e) * extents.columns_touched(f),
        fetched_words=extents.batch * extents.rows_fetched(e) * extents.columns_fetched(f),
    )


class Steps(NamedTuple, Generic[IntOrInts]):
    """Tiles along each loop: over positions, filters and channels; arrays broadcast."""

    p: IntOrInts
    m: IntOrInts
    c: IntOrInts


def fetches(steps: Steps[Ints], order: str) -> PerOperand[Ints]:
    """How often words enter the level under an order of the loops, the slowest first [1, 2].

    The order is one such as "pmc". For the ofmap, how often psums are left: one that is left k
    times is written k times and read k - 1 times.
    """
    return PerOperand(
        weights=_times("p", "mc", steps, order),
        ifmap=_times("m", "pc", steps, order),
        ofmap=_times("c", "pm", steps, order),
    )


def _times(free: str, bound: str, steps: Steps[Ints], order: str) -> Ints:
    """Steps of the loop that an operand does not depend on, if one that it does is inside."""
    inside = [loop for loop in order[order.index(free) + 1 :] if loop in bound]
    moving = np.zeros((), dtype=np.bool_)
    for loop in inside:
        moving = moving | (getattr(steps, loop) > 1)
    return np.where(moving, getattr(steps, free), 1)
