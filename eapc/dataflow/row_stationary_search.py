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

from eapc.dataflow.integers import Ints, smallest_divisors
from eapc.dataflow.row_stationary_bounds import Axes, Bounds, lower_bounds
from eapc.dataflow.row_stationary_nest import (
    Nest,
    Prices,
    Tiles,
    access_words,
    cycles,
    filters_that_fit,
    pe_sets,
    total_cost,
)
from eapc.hardware import HardwareModel
from eapc.hardware_machines import RowStationaryMachine

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
    exceed the best cost found so far are counted out.
    """
    axes = _axes(nest, hardware.machine_as(RowStationaryMachine))
    bounds = lower_bounds(nest, hardware, prices, axes)
    best = rival
    for e, n in _visits(bounds):
        rows = _promising(bounds, e, n, best)
        if best is None and rows.any():
            leader = np.lexsort((bounds.cycles[e, n], bounds.cost[e, n]))[0]
            first = np.arange(len(rows)) == leader
            best = _best_of_grid(nest, hardware, prices, axes, (e, n), first)
            rows = _promising(bounds, e, n, best) & ~first
        if rows.any():
            found = _best_of_grid(nest, hardware, prices, axes, (e, n), rows)
            if found is not None and (best is None or found.rank < best.rank):
                best = found
    return None if best is rival else best


def _visits(bounds: Bounds) -> list[tuple[int, int]]:
    """Indices into strip heights and batch sizes, the cheapest bound first."""
    lowest = bounds.cost.min(axis=2)
    times = bounds.cycles.min(axis=2)
    heights, sizes = np.indices(lowest.shape)
    order = np.lexsort((-heights.ravel(), -sizes.ravel(), times.ravel(), lowest.ravel()))
    visits = zip(heights.ravel()[order].tolist(), sizes.ravel()[order].tolist(), strict=True)
    return list(visits)


def _promising(bounds: Bounds, e: int, n: int, best: Choice | None) -> NDArray[np.bool_]:
    """The (p, q) at which a strip height and batch size may still be better than `best`."""
    cost = bounds.cost[e, n]
    if best is None:
        return np.asarray(np.isfinite(cost))
    slower = bounds.cycles[e, n] > best.cycles * (1 + _SAME)
    tied = cost >= best.cost * (1 - _SAME)
    return np.asarray((cost <= best.cost * (1 + _SAME)) & ~(tied & slower))


def _axes(nest: Nest, machine: RowStationaryMachine) -> Axes:
    """Strip heights, batch sizes and the (p, q) that fit a PE's scratch pads."""
    tallest = machine.array_columns * (machine.array_rows // nest.filter_rows)
    columns = nest.filter_columns
    most_p = min(machine.psum_spad_words, machine.filter_spad_words // columns)
    most_q = min(machine.ifmap_spad_words, machine.filter_spad_words) // columns
    p, q = np.meshgrid(
        smallest_divisors(nest.filters, most_p),
        smallest_divisors(nest.channels, most_q),
        indexing="ij",
    )
    fits = p * q * columns <= machine.filter_spad_words
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


def _best_of_grid(
    nest: Nest,
    hardware: HardwareModel,
    prices: Prices,
    axes: Axes,
    at: tuple[int, int],
    rows: NDArray[np.bool_],
) -> Choice | None:
    """The best of some (p, q) against all (r, t) at one strip height and batch size."""
    e, n = int(axes.e[at[0]]), int(axes.n[at[1]])
    sets_r, sets_t = _sets(nest, hardware.machine_as(RowStationaryMachine), e)
    p, q, r, t = np.broadcast_arrays(
        axes.p[rows][:, None], axes.q[rows][:, None], sets_r[None], sets_t[None]
    )
    fit = filters_that_fit(nest, hardware, n, e, q * r)
    m = np.where(fit >= nest.filters, nest.filters, fit // (p * t) * (p * t))
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
