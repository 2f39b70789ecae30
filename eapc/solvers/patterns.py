"""Which entries of a weight may survive together.

A pattern is the projection onto the weights it allows: of values (groups, m, k) it keeps the
nearest ones, as a mask. The k inputs of a row run over kernel positions and, within each, over
channels (eapc/layers/forms.py), so a pattern that tells channels from positions is built for a
number of positions; products of matrices have one.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eapc.errors import UsageError

Values = NDArray[np.float32]
Mask = NDArray[np.bool_]
MaskBlock = tuple[NDArray[np.intp], "Pattern"]
"""Columns whose mask can be chosen without looking at others, and the pattern on them."""


@dataclass(frozen=True)
class Remark:
    """How a pattern suits a weight: not at all, or not in all channels; `text` says why."""

    text: str = ""
    applies: bool = True


_SUITS = Remark()


class Pattern(ABC):
    """What the methods need to know of a pattern; by default it suits any weight and number."""

    @property
    def fixed_density(self) -> float | None:
        """The share of non-zeros that the pattern fixes; None where it takes any."""
        return None

    def remark(self, m: int, k: int) -> Remark:  # noqa: ARG002 (others look at them)
        """What to know before a weight (groups, m, k) is given the pattern."""
        return _SUITS

    @abstractmethod
    def mask(self, values: Values, nonzeros: int) -> Mask:
        """The largest of the values (groups, m, k) that the pattern allows; first of equals."""

    @abstractmethod
    def attainable(self, shape: tuple[int, int, int], nonzeros: int) -> int:
        """The most entries of a (groups, m, k) mask that was asked for `nonzeros`."""

    def thinned(self, share: float) -> Pattern:  # noqa: ARG002 (others look at it)
        """The pattern whose masks, at this share of the non-zeros, grow into this one's."""
        return self

    @abstractmethod
    def mask_blocks(self, k: int, width: int) -> Iterator[MaskBlock]:
        """All k columns in parts of at most about `width`, each in its pattern's order."""


@dataclass(frozen=True)
class Unstructured(Pattern):
    """Any entries: one threshold over all rows and groups of the layer."""

    def mask(self, values: Values, nonzeros: int) -> Mask:
        """The `nonzeros` largest magnitudes."""
        return largest(np.abs(values), nonzeros)

    def attainable(self, shape: tuple[int, int, int], nonzeros: int) -> int:
        """As many as asked for."""
        return min(nonzeros, math.prod(shape))

    def mask_blocks(self, k: int, width: int) -> Iterator[MaskBlock]:
        """Runs of `width` columns."""
        for begin in range(0, k, width):
            yield np.arange(begin, min(begin + width, k)), self


@dataclass(frozen=True)
class NOfM(Pattern):
    """At most n of m consecutive input channels, at one output and kernel position.

    Fixes the number of non-zeros, whatever number is asked for. Channels that are left over
    after the last whole m stay dense.
    """

    n: int
    m: int
    positions: int = 1

    @property
    def fixed_density(self) -> float:
        """n of every m."""
        return self.n / self.m

    def remark(self, m: int, k: int) -> Remark:  # noqa: ARG002 (others look at it)
        """Channels that are left over after the last whole m."""
        channels = k // self.positions
        left = channels % self.m
        if left == channels:
            return Remark(f"{channels} input channels, fewer than {self.m}", applies=False)
        return Remark(f"{left} of {channels} input channels stay dense") if left else _SUITS

    def mask(self, values: Values, nonzeros: int) -> Mask:  # noqa: ARG002 (others look at it)
        """The n largest magnitudes of each m."""
        spread = _by_position(values, self.positions)
        channels = spread.shape[-1]
        whole = channels - channels % self.m
        mask = np.ones(spread.shape, bool)
        runs = spread[..., :whole].reshape(-1, self.m)
        mask[..., :whole] = self._largest_of_runs(np.abs(runs)).reshape(mask[..., :whole].shape)
        return mask.reshape(values.shape)

    def _largest_of_runs(self, magnitudes: Values) -> Mask:
        """Of each row (runs, m): counting who is larger beats sorting for the usual m."""
        columns = np.ascontiguousarray(magnitudes.T)
        larger = np.zeros(columns.shape, np.int32)
        for first in range(self.m):
            for second in range(first + 1, self.m):
                beaten = columns[second] > columns[first]  # the first of equals stays ahead
                larger[first] += beaten
                larger[second] += ~beaten
        return np.asarray((larger < self.n).T)

    def attainable(self, shape: tuple[int, int, int], nonzeros: int) -> int:  # noqa: ARG002
        """n of every m, and the channels left over."""
        groups, rows, k = shape
        runs, left = divmod(k // self.positions, self.m)
        return groups * rows * self.positions * (runs * self.n + left)

    def thinned(self, share: float) -> Pattern:
        """Fewer of each m."""
        return replace(self, n=int(share * self.n))

    def mask_blocks(self, k: int, width: int) -> Iterator[MaskBlock]:  # noqa: ARG002 (others look at it)
        """The m columns of one choice each, as SparseGPT has it."""
        channels = k // self.positions
        for first in range(0, k, channels):
            for begin in range(first, first + channels, self.m):
                end = min(begin + self.m, first + channels)
                yield np.arange(begin, end), replace(self, positions=1)


@dataclass(frozen=True)
class BlockTiles(Pattern):
    """Tiles of rows x depth kernel positions x channels of the weight, kept or cut whole.

    Those of the largest mean square survive. Where tiles at an edge are smaller, a mask can
    have a few entries less than was asked for.
    """

    rows: int
    depth: int
    channels: int
    positions: int

    def remark(self, m: int, k: int) -> Remark:
        """A weight with less than a tile could only be kept or cut as a whole."""
        channels = k // self.positions
        if m >= self.rows and channels >= self.channels:
            return _SUITS
        size = f"{self.rows} x {self.channels}"
        return Remark(f"{m} x {channels} channels, less than a block of {size}", applies=False)

    def mask(self, values: Values, nonzeros: int) -> Mask:
        """As many tiles as fit."""
        power = np.square(_by_position(values, self.positions), dtype=np.float64)
        lengths = self._lengths(*values.shape[1:])
        for axis, pieces in lengths.items():
            power = np.add.reduceat(power, np.cumsum(pieces) - pieces, axis=axis)
        rows, depths, channels = lengths.values()
        sizes = rows[:, None, None] * depths[:, None] * channels
        mask = largest_cells(power / sizes, np.broadcast_to(sizes, power.shape), nonzeros)
        for axis, pieces in lengths.items():
            mask = np.repeat(mask, pieces, axis=axis)
        return mask.reshape(values.shape)

    def _lengths(self, rows: int, k: int) -> dict[int, NDArray[np.intp]]:
        """Of the tiles along the axes of (groups, rows, positions, channels)."""
        return {
            1: _pieces(rows, self.rows),
            2: _pieces(self.positions, self.depth),
            3: _pieces(k // self.positions, self.channels),
        }

    def attainable(self, shape: tuple[int, int, int], nonzeros: int) -> int:
        """Whole tiles; the number asked for, as a bound, where tiles differ in size."""
        asked, lengths = min(nonzeros, math.prod(shape)), self._lengths(*shape[1:]).values()
        if any(len(set(pieces)) > 1 for pieces in lengths):
            return asked
        size = math.prod(int(pieces[0]) for pieces in lengths)
        return asked // size * size

    def mask_blocks(self, k: int, width: int) -> Iterator[MaskBlock]:
        """Runs of whole tiles."""
        columns = np.arange(k).reshape(self.positions, -1)
        step = max(width // (self.depth * self.channels), 1) * self.channels
        for position in range(0, self.positions, self.depth):
            for begin in range(0, columns.shape[1], step):
                part = columns[position : position + self.depth, begin : begin + step]
                yield part.ravel(), replace(self, positions=len(part))


def _by_position(values: Values, positions: int) -> Values:
    """(groups, m, k) as (groups, m, positions, channels)."""
    groups, rows, k = values.shape
    return values.reshape(groups, rows, positions, k // positions)


def _pieces(length: int, size: int) -> NDArray[np.intp]:
    """A length cut into pieces of `size`; the last may be shorter."""
    return np.diff(np.append(np.arange(0, length, size), length))


# --- the largest of many scores, exactly so many and always the same ones ----------------------


def largest(scores: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """A mask of the `count` largest scores; among equals, the first."""
    excess = scores.size - count
    if excess <= 0 or count <= 0:
        return np.full(scores.shape, excess <= 0)
    flat = scores.ravel()
    threshold = np.partition(flat, excess)[excess]
    mask: NDArray[np.bool_] = flat >= threshold
    surplus = int(np.count_nonzero(mask)) - count
    if surplus:
        mask[np.flatnonzero(flat == threshold)[-surplus:]] = False
    return mask.reshape(scores.shape)


def largest_cells(
    scores: NDArray[np.float64], sizes: NDArray[np.intp], total: int
) -> NDArray[np.bool_]:
    """A mask of the cells of the largest scores whose sizes add up to at most `total`.

    Among equals the first; the first cell that does not fit ends the choice.
    """
    smallest = int(sizes.min())
    if smallest == sizes.max():
        return largest(scores, total // smallest)
    order = np.argsort(-scores, axis=None, kind="stable")
    mask = np.zeros(scores.size, bool)
    mask[order[np.cumsum(sizes.ravel()[order]) <= total]] = True
    return mask.reshape(scores.shape)


# --- by name ---------------------------------------------------------------------------------

UNSTRUCTURED = Unstructured()

_Maker = Callable[..., Pattern]
"""(kernel positions, the numbers of the spelling) -> the pattern."""


def _n_of_m(positions: int, n: int, m: int) -> Pattern:
    if not 1 <= n < m:
        raise UsageError(f"pattern '{n}:{m}': expected N:M with 1 <= N < M, such as 2:4")
    return NOfM(n, m, positions)


def _block(positions: int, rows: int, columns: int) -> Pattern:
    if not (rows and columns):
        raise UsageError(f"pattern 'block:{rows}x{columns}': expected sides of 1 or more")
    return BlockTiles(rows, 1, columns, positions)


PATTERNS: Mapping[str, tuple[str, _Maker]] = MappingProxyType(
    {
        "unstructured": (r"unstructured", lambda _: UNSTRUCTURED),
        "N:M": (r"(\d+):(\d+)", _n_of_m),
        "block:RxC": (r"block:(\d+)x(\d+)", _block),
        "kernel": (r"kernel", lambda positions: BlockTiles(1, positions, 1, positions)),
    }
)
"""How a pattern is spelled: the expression that reads it, and its maker.

Blocks are R outputs x C input channels at one kernel position; `kernel` is all positions of
one output and input channel.
"""


def parse_pattern(text: str, positions: int = 1) -> Pattern:
    """The pattern spelled `text`, for a layer with so many kernel positions per channel.

    Raises UsageError if the spelling is unknown or its numbers make no sense.
    """
    for expression, maker in PATTERNS.values():
        if found := re.fullmatch(expression, text):
            return maker(positions, *map(int, found.groups()))
    raise UsageError(f"unknown pattern {text!r}; choose from {', '.join(PATTERNS)}")
