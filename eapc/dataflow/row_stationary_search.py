"""The search for a row-stationary mapping: exact, by lower bounds and dense grids of candidates.

Counts depend on the mapping through nested ceilings, ceil(M / (p t)) = ceil(ceil(M / p) / t),
so of all values of a parameter that give one ceiling only the smallest can be best: the others
need more room for the same passes. For m only ceil(M / m) matters, so the largest multiple of
p t that fits is best.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eapc.dataflow.integers import Ints, smallest_divisors
from eapc.dataflow.row_stationary_bounds import Axes, Bounds, lower_bounds, within_reach
from eapc.dataflow.row_stationary_nest import (
    Nest,
    Pads,
    Prices,
    Tiles,
    access_words,
    cycles,
    filters_that_fit,
    pe_sets,
    total_cost,
)
from eapc.dataflow.row_stationary_rows import Rows, least_costs, least_cycles, tables_of
from eapc.hardware import HardwareModel
from eapc.hardware_machines import RowStationaryMachine

_SAME = 1e-12
"""Costs that differ by less, relative to their size, differ by rounding."""


_FEW = 8
"""Pairs (p, q) that are tried at once, without trying the likeliest of them first."""

Floats = NDArray[np.float64]


class Choice(NamedTuple):
    """A mapping and what it was chosen for: cost, then cycles, then buffer words."""

    cost: float
    cycles: float
    glb_words: float
    tiles: Tiles

    @property
    def rank(self) -> tuple[float, float, float]:
        """Smaller is better."""
        return self[:3]


class _Search:
    """What a search is about, and what it needs again and again for one strip height."""

    def __init__(self, nest: Nest, hardware: HardwareModel, prices: Prices, axes: Axes) -> None:
        self.nest, self.hardware, self.prices = nest, hardware, prices
        self.machine = hardware.machine_as(RowStationaryMachine)
        self.axes = axes
        self.p, self.at_p = np.unique(self.axes.p, return_inverse=True)
        self.q, self.at_q = np.unique(self.axes.q, return_inverse=True)
        self.sets = cache(lambda e: _sets(nest, self.machine, e))
        self.tables = cache(lambda e: tables_of(nest, hardware, self.p, self.q, e))

    def sizes(self, at: tuple[int, int]) -> tuple[int, int]:
        """Strip height and batch size at a place of the bounds."""
        return int(self.axes.e[at[0]]), int(self.axes.n[at[1]])


def best_mapping(
    nest: Nest, hardware: HardwareModel, prices: Prices, rival: Choice | None = None
) -> Choice | None:
    """The cheapest mapping of a nest; None if none fits the machine or is better than `rival`.

    Equal costs are decided by cycles, buffer words and the order of visits: by lower bound,
    then larger n, larger e, smaller p, q, t, r. Only candidates whose lower bound does not
    exceed the best cost found so far are counted out: by strip height and batch size, then by
    (p, q), then by (p, q) over all (r, t).
    """
    axes = _axes(nest, hardware)
    if rival is not None:
        axes = within_reach(nest, hardware, prices, axes, rival.cost * (1 + _SAME))
        if not len(axes.e):
            return None
    search = _Search(nest, hardware, prices, axes)
    bounds = lower_bounds(nest, hardware, prices, search.axes)
    best = rival
    for lowest, at in _visits(bounds):
        if best is not None and lowest > best.cost * (1 + _SAME):
            break
        costs, times = bounds.cost[at], bounds.cycles[at]
        rows = np.flatnonzero(_promising(costs, times, best))
        if best is None and len(rows):
            leader = rows[np.lexsort((times[rows], costs[rows]))[:1]]
            best = _best_of_grid(search, at, leader)
            rows = rows[_promising(costs[rows], times[rows], best) & (rows != leader)]
        rows = _sifted(search, at, rows, best)
        if len(rows):
            found = _best_of_grid(search, at, rows)
            if found is not None and (best is None or found.rank < best.rank):
                best = found
    return None if best is rival else best


def _sifted(search: _Search, at: tuple[int, int], rows: Ints, best: Choice | None) -> Ints:
    """Those of some (p, q) that may be better than `best`, and than the likeliest of them."""
    if not len(rows):
        return rows
    (e, n), nest, hardware = search.sizes(at), search.nest, search.hardware
    pairs = Rows(search.tables(e), n, search.at_p[rows], search.at_q[rows])
    costs = least_costs(nest, hardware, search.prices, pairs)
    times = np.zeros(len(rows))
    if best is not None and (np.abs(costs - best.cost) <= best.cost * _SAME).any():
        times = least_cycles(nest, hardware, pairs)
    kept = np.flatnonzero(_promising(costs, times, best))
    for tried in (1, _FEW):
        if len(kept) <= _FEW:
            break
        likely = kept[np.lexsort((times[kept], costs[kept]))[:tried]]
        found = _best_of_grid(search, at, rows[np.sort(likely)])
        kept = kept[_promising(costs[kept], times[kept], found)]
    return rows[kept]


def _visits(bounds: Bounds) -> list[tuple[float, tuple[int, int]]]:
    """Indices into strip heights and batch sizes with their lowest cost, the cheapest first."""
    lowest = bounds.cost.min(axis=2)
    times = bounds.cycles.min(axis=2)
    heights, sizes = np.indices(lowest.shape)
    order = np.lexsort((-heights.ravel(), -sizes.ravel(), times.ravel(), lowest.ravel()))
    places = zip(heights.ravel()[order].tolist(), sizes.ravel()[order].tolist(), strict=True)
    return list(zip(lowest.ravel()[order].tolist(), places, strict=True))


def _promising(costs: Floats, times: Floats, best: Choice | None) -> NDArray[np.bool_]:
    """Where lower bounds of cost and cycles leave it open whether something beats `best`."""
    if best is None:
        return np.isfinite(costs)
    slower = times > best.cycles * (1 + _SAME)
    tied = costs >= best.cost * (1 - _SAME)
    return np.asarray((costs <= best.cost * (1 + _SAME)) & ~(tied & slower))


def _axes(nest: Nest, hardware: HardwareModel) -> Axes:
    """Strip heights, batch sizes and the (p, q) that fit a PE's scratch pads."""
    machine = hardware.machine_as(RowStationaryMachine)
    tallest = machine.array_columns * (machine.array_rows // nest.filter_rows)
    columns, pads = nest.filter_columns, Pads.of(hardware, nest.widths)
    most_p = min(pads.psums, pads.filters // columns)
    most_q = min(pads.ifmaps, pads.filters) // columns
    p, q = np.meshgrid(
        smallest_divisors(nest.filters, most_p),
        smallest_divisors(nest.channels, most_q),
        indexing="ij",
    )
    fits = p * q * columns <= pads.filters
    heights = smallest_divisors(nest.ofmap_rows, tallest)
    if nest.dilation_rows > 1:  # rows touched are not linear in e: no height stands for another
        heights = np.arange(1, min(tallest, nest.ofmap_rows) + 1, dtype=np.int64)
    return Axes(heights, smallest_divisors(nest.batch, nest.batch), p[fits], q[fits])


def _sets(nest: Nest, machine: RowStationaryMachine, strip: int) -> tuple[Ints, Ints]:
    """The (r, t) whose sets of PEs fit the array."""
    sets = pe_sets(machine, nest.filter_rows, strip)
    t, r = np.meshgrid(
        smallest_divisors(nest.filters, sets),
        smallest_divisors(nest.channels, sets),
        indexing="ij",
    )
    fits = r * t <= sets
    return r[fits], t[fits]


def _best_of_grid(search: _Search, at: tuple[int, int], rows: Ints) -> Choice | None:
    """The best of some (p, q) against all (r, t) at one strip height and batch size."""
    nest, hardware, axes = search.nest, search.hardware, search.axes
    e, n = search.sizes(at)
    sets_r, sets_t = search.sets(e)
    p, q, r, t = np.broadcast_arrays(
        axes.p[rows][:, None], axes.q[rows][:, None], sets_r[None], sets_t[None]
    )
    fit = filters_that_fit(nest, hardware, n, e, q * r)
    m = np.where(fit >= nest.filters, nest.filters, fit // (p * t) * (p * t))
    if not (m > 0).any():
        return None
    tiles = _select(Tiles(n, e, m, p, q, r, t), m > 0)
    cost = total_cost(access_words(nest, tiles), search.prices)
    tiles = _select(tiles, cost == cost.min())
    time = cycles(nest, tiles, hardware)
    tiles = _select(tiles, time == time.min())
    glb = access_words(nest, tiles)["glb"]
    buffer = glb.ifmap + glb.ofmap
    tiles = _select(tiles, np.arange(len(buffer)) == buffer.argmin())
    return Choice(float(cost.min()), float(time.min()), float(buffer.min()), tiles)


def _select(tiles: Tiles, chosen: NDArray[np.bool_]) -> Tiles:
    return Tiles(tiles.n, tiles.e, *(axis[chosen] for axis in tiles[2:]))
