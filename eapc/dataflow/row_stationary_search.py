"""The search for a row-stationary mapping: exact, by lower bounds and dense grids of candidates.

Counts depend on the mapping through nested ceilings, ceil(M / (p t)) = ceil(ceil(M / p) / t),
so of all values of a parameter that give one ceiling only the smallest can be best: the others
need more room for the same passes. For m only ceil(M / m) matters, so the largest multiple of
p t that fits is best.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eapc.dataflow.integers import Floats, Ints, smallest_divisors
from eapc.dataflow.row_stationary_bounds import Axes, Bounds, lower_bounds
from eapc.dataflow.row_stationary_machine import RowStationaryMachine
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
from eapc.hardware import HardwareModel

_SAME = 1e-12
"""Costs that differ by less, relative to their size, differ by rounding."""


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


def best_mapping(
    nest: Nest, hardware: HardwareModel, prices: Prices, rival: Choice | None = None
) -> Choice | None:
    """The cheapest mapping of a nest; None if none fits the machine or is better than `rival`.

    Equal costs are decided by cycles, buffer words and the order of visits: by lower bound,
    then larger n, larger e, smaller p, q, t, r. Only candidates whose lower bound does not
    exceed the best cost found so far are counted out: by strip height and batch size, then by
    (p, q).
    """
    axes = _axes(nest, hardware)
    bounds = lower_bounds(nest, hardware, prices, axes)
    best = rival
    for lowest, at in _visits(bounds):
        if best is not None and lowest > best.cost * (1 + _SAME):
            break
        if best is None:
            best = _best_of_grid(nest, hardware, prices, axes, at, _likeliest(bounds, at))
        pairs = np.flatnonzero(_promising(bounds.cost[at], bounds.cycles[at], best))
        found = _best_of_grid(nest, hardware, prices, axes, at, pairs)
        if found is not None and (best is None or found.rank < best.rank):
            best = found
    return None if best is rival else best


def _likeliest(bounds: Bounds, at: tuple[int, int]) -> Ints:
    """The likeliest (p, q) of a place: that of the lowest bound of cost, then of cycles."""
    likely: Ints = np.lexsort((bounds.cycles[at], bounds.cost[at]))[:1]
    return likely


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
    machine, loops = hardware.machine_as(RowStationaryMachine), nest.loops
    tallest = machine.array_columns * (machine.array_rows // loops.filter_rows)
    columns, pads = loops.filter_columns, Pads.of(hardware, nest.widths)
    p = smallest_divisors(loops.filters, min(pads.psums, pads.filters // columns))
    q = smallest_divisors(loops.channels, min(pads.ifmaps, pads.filters) // columns)
    at_p, at_q = np.nonzero(p[:, None] * q * columns <= pads.filters)
    sizes = smallest_divisors(loops.batch, loops.batch)
    return Axes(loops.heights(tallest), sizes, p, q, at_p, at_q)


def _sets(nest: Nest, machine: RowStationaryMachine, strip: int) -> tuple[Ints, Ints]:
    """The (r, t) whose sets of PEs fit the array."""
    sets = pe_sets(machine, nest.loops.filter_rows, strip)
    t, r = np.meshgrid(
        smallest_divisors(nest.loops.filters, sets),
        smallest_divisors(nest.loops.channels, sets),
        indexing="ij",
    )
    fits = r * t <= sets
    return r[fits], t[fits]


def _best_of_grid(
    nest: Nest,
    hardware: HardwareModel,
    prices: Prices,
    axes: Axes,
    at: tuple[int, int],
    pairs: Ints,
) -> Choice | None:
    """The best of some (p, q) against all (r, t) at one strip height and batch size."""
    e, n = int(axes.e[at[0]]), int(axes.n[at[1]])
    sets_r, sets_t = _sets(nest, hardware.machine_as(RowStationaryMachine), e)
    p = np.repeat(axes.p[axes.at_p[pairs]], len(sets_r))
    q = np.repeat(axes.q[axes.at_q[pairs]], len(sets_r))
    r, t = np.tile(sets_r, len(pairs)), np.tile(sets_t, len(pairs))
    fit = filters_that_fit(nest, hardware, n, e, q * r).astype(np.int64)
    m = np.where(fit >= nest.loops.filters, nest.loops.filters, fit // (p * t) * (p * t))
    if not (m > 0).any():
        return None
    tiles = _select(Tiles(n, e, m, p, q, r, t), m > 0)
    cost = total_cost(access_words(nest, tiles), prices)
    tiles = _select(tiles, cost == cost.min())
    time = cycles(nest, tiles, hardware)
    tiles = _select(tiles, time == time.min())
    glb = access_words(nest, tiles)["glb"]
    buffer = glb.ifmap + glb.ofmap
    tiles = _select(tiles, np.arange(len(buffer)) == buffer.argmin())
    return Choice(float(cost.min()), float(time.min()), float(buffer.min()), tiles)


def _select(tiles: Tiles, chosen: NDArray[np.bool_]) -> Tiles:
    return Tiles(tiles.n, tiles.e, *(axis[chosen] for axis in tiles[2:]))
