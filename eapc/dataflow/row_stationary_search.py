"""The search for a row-stationary mapping: exact, by lower bounds and dense grids of candidates.

Counts depend on the mapping through nested ceilings, ceil(M / (p t)) = ceil(ceil(M / p) / t),
so of all values of a parameter that give one ceiling only the smallest can be best: the others
need more room for the same passes. For m only ceil(M / m) matters, so the largest multiple of
p t that fits is best.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eapc.dataflow.integers import Flags, Floats, Ints, ceil_div, ceil_quotients, smallest_divisors
from eapc.dataflow.row_stationary_nest import (
    Nest,
    Prices,
    Tiles,
    access_words,
    computing_cycles,
    cycles,
    filters_that_fit,
    pe_sets,
    total_cost,
)

Numbers = NDArray[Any]

_SAME = 1e-12
"""Costs that differ by less, relative to their size, differ by rounding."""


class Axes(NamedTuple):
    """Candidates: strip heights e, batch sizes n, and pairs of p and q.

    `p` and `q` are the distinct values of either; `at_p` and `at_q`, of one length, say which of
    them make a pair.
    """

    e: Ints
    n: Ints
    p: Ints
    q: Ints
    at_p: Ints
    at_q: Ints


class Bounds(NamedTuple):
    """Lower bounds, arrays (strip heights, batch sizes, pairs); infinite where nothing fits."""

    cost: Floats
    cycles: Floats


class MappingChoice(NamedTuple):
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
    nest: Nest, prices: Prices, rival: MappingChoice | None = None, limit: float = np.inf
) -> MappingChoice | None:
    """The cheapest mapping of a nest; None if none fits the machine or is better than `rival`.

    Mappings that compute for more than `limit` cycles (`computing_cycles`) are left out.
    Equal costs are decided by cycles, buffer words and the order of visits: by lower bound,
    then larger n, larger e, smaller p, q, t, r. Only candidates whose lower bound does not
    exceed the best cost found so far are counted out: by strip height and batch size, then by
    (p, q).
    """
    axes = _axes(nest)
    bounds = lower_bounds(nest, prices, axes, limit)
    best = rival
    for lowest, at in _visits(bounds):
        if best is not None and lowest > best.cost * (1 + _SAME):
            break
        if best is None:
            likeliest = np.lexsort((bounds.cycles[at], bounds.cost[at]))[:1]
            best = _best_of_grid(nest, prices, axes, at, likeliest, None, limit)
        pairs = np.flatnonzero(_promising(bounds.cost[at], bounds.cycles[at], best))
        found = _best_of_grid(nest, prices, axes, at, pairs, best, limit)
        if found is not None and (best is None or found.rank < best.rank):
            best = found
    return None if best is rival else best


def _visits(bounds: Bounds) -> list[tuple[float, tuple[int, int]]]:
    """Indices into strip heights and batch sizes with their lowest cost, the cheapest first."""
    lowest, times = bounds.cost.min(axis=2), bounds.cycles.min(axis=2)
    heights, sizes = (axis.ravel() for axis in np.indices(lowest.shape))
    order = np.lexsort((-heights, -sizes, times.ravel(), lowest.ravel()))
    places = zip(heights[order].tolist(), sizes[order].tolist(), strict=True)
    return list(zip(lowest.ravel()[order].tolist(), places, strict=True))


def _promising(costs: Floats, times: Floats, best: MappingChoice | None) -> Flags:
    """Where lower bounds of cost and cycles leave it open whether something beats `best`."""
    if best is None:
        return np.isfinite(costs)
    slower = times > best.cycles * (1 + _SAME)
    tied = costs >= best.cost * (1 - _SAME)
    return np.asarray((costs <= best.cost * (1 + _SAME)) & ~(tied & slower))


def _axes(nest: Nest) -> Axes:
    """Strip heights, batch sizes and the (p, q) that fit a PE's scratch pads."""
    machine, loops = nest.machine, nest.loops
    tallest = machine.array_columns * (machine.array_rows // loops.filter_rows)
    columns, pads = loops.filter_columns, nest.pads
    p = smallest_divisors(loops.filters, min(pads.psums, pads.filters // columns))
    q = smallest_divisors(loops.channels, min(pads.ifmaps, pads.filters) // columns)
    at_p, at_q = np.nonzero(p[:, None] * q * columns <= pads.filters)
    sizes = smallest_divisors(loops.batch, loops.batch)
    return Axes(loops.heights(tallest), sizes, p, q, at_p, at_q)


def sets_that_fit(nest: Nest, strip: int) -> tuple[Ints, Ints]:
    """The (r, t) whose sets of PEs fit the array."""
    sets = pe_sets(nest.machine, nest.loops.filter_rows, strip)
    t, r = np.meshgrid(
        smallest_divisors(nest.loops.filters, sets),
        smallest_divisors(nest.loops.channels, sets),
        indexing="ij",
    )
    fits = r * t <= sets
    return r[fits], t[fits]


def _enough_sets(nest: Nest, strip: int, n: int, limit: float) -> tuple[Ints, Ints]:
    """The (r, t) that fit the array and can compute in `limit` cycles if all sets have work."""
    r, t = sets_that_fit(nest, strip)
    if limit == np.inf:
        return r, t
    loops, rounds = nest.loops, ceil_div(nest.loops.batch, n) * ceil_div(nest.loops.rows, strip)
    row = loops.filters * loops.channels * loops.filter_columns * loops.columns
    enough = r * t * limit * (1 + _SAME) >= nest.layer.groups * rounds * n * row
    return r[enough], t[enough]


def _best_of_grid(
    nest: Nest,
    prices: Prices,
    axes: Axes,
    at: tuple[int, int],
    pairs: Ints,
    rival: MappingChoice | None,
    limit: float,
) -> MappingChoice | None:
    """The best of some (p, q) against all (r, t) at one strip height and batch size.

    None where nothing fits or everything costs more than `rival`.
    """
    e, n = int(axes.e[at[0]]), int(axes.n[at[1]])
    sets_r, sets_t = _enough_sets(nest, e, n, limit)
    p = np.repeat(axes.p[axes.at_p[pairs]], len(sets_r))
    q = np.repeat(axes.q[axes.at_q[pairs]], len(sets_r))
    r, t = np.tile(sets_r, len(pairs)), np.tile(sets_t, len(pairs))
    fit = filters_that_fit(nest, n, e, q * r).astype(np.int64)
    m = np.where(fit >= nest.loops.filters, nest.loops.filters, fit // (p * t) * (p * t))
    tiles = _select(Tiles(n, e, m, p, q, r, t), m > 0)
    if limit < np.inf:
        tiles = _select(tiles, computing_cycles(nest, tiles) <= limit * (1 + _SAME))
    if not len(tiles.m):
        return None
    cost = total_cost(access_words(nest, tiles), prices)
    if rival is not None and cost.min() > rival.cost:
        return None
    tiles = _select(tiles, cost == cost.min())
    time = cycles(nest, tiles)
    tiles = _select(tiles, time == time.min())
    glb = access_words(nest, tiles)["glb"]
    buffer = glb.ifmap + glb.ofmap
    tiles = _select(tiles, np.arange(len(buffer)) == buffer.argmin())
    return MappingChoice(float(cost.min()), float(time.min()), float(buffer.min()), tiles)


def _select(tiles: Tiles, chosen: Flags) -> Tiles:
    return Tiles(tiles.n, tiles.e, *(axis[chosen] for axis in tiles[2:]))


class _Least(NamedTuple):
    """The least of what a mapping must do; arrays (strip heights, batch sizes, 1 or values).

    By strip height: `strips`, ifmap words fetched, ifmap rows touched by a strip, sets of PEs.
    Then reloads of the weights and filters that fit the buffer beside one channel; by p passes
    over filters and by q passes over channels, if all sets of PEs serve them, and whether p and q
    fit.
    """

    strips: Ints
    ifmap: Floats
    touched: Ints
    sets: Ints
    reloads: Floats
    filters: Floats
    filter_passes: Floats
    channel_passes: Floats
    fits_p: Flags
    fits_q: Flags


def lower_bounds(nest: Nest, prices: Prices, axes: Axes, limit: float = np.inf) -> Bounds:
    """Bounds for every strip height, batch size and (p, q), whatever m, r and t are.

    The cost is infinite where computing takes more than `limit` cycles.
    """
    least = _least(nest, axes)
    cost = _on_chip(nest, prices, axes, least)
    cost += _dram(nest, prices, axes, least)
    if limit < np.inf:
        cost[_rounded_computing(nest, axes, least) > limit * (1 + _SAME)] = np.inf
    return Bounds(cost, _cycles(nest, axes, least))


def _least(nest: Nest, axes: Axes) -> _Least:
    machine, loops = nest.machine, nest.loops
    e, n = axes.e[:, None, None], axes.n[None, :, None]
    found = [pe_sets(machine, loops.filter_rows, strip) for strip in axes.e.tolist()]
    sets = np.array(found, dtype=np.int64)[:, None, None]
    strips, touched = ceil_div(loops.rows, e), loops.rows_touched(e)
    of_channel = n * touched * loops.ifmap_columns
    filters = np.minimum(nest.room.filters_beside(of_channel, n * e * loops.columns), loops.filters)
    channels = (nest.room.banks - 1) * nest.room.ifmaps_per_bank // of_channel
    return _Least(
        strips,
        np.asarray(nest.ifmap_words(e)),
        touched,
        sets,
        ceil_quotients(loops.batch, n) * strips,
        np.maximum(filters, 1),
        _passes(loops.filters, axes.p, sets, filters),
        _passes(loops.channels, axes.q, sets, channels),
        filters >= axes.p,
        channels >= axes.q,
    )


def _passes(total: int, parts: Ints, sets: Ints, most: Numbers) -> Floats:
    """Passes over `total` if every set takes a part, but all sets `most` at a time."""
    return ceil_quotients(total, np.minimum(parts * sets, np.maximum(most, 1)))


def _dram(nest: Nest, prices: Prices, axes: Axes, least: _Least) -> Floats:
    """The cost of DRAM words, and of weights on the network, whose number they settle."""
    per_weight = prices.dram_weights + prices.network * axes.e[:, None, None]
    return np.asarray(
        per_weight * nest.weight_words * least.reloads
        + prices.dram_ifmap * least.ifmap * ceil_quotients(nest.loops.filters, least.filters)
        + prices.dram_ofmap * nest.ofmap_words
    )


def _on_chip(nest: Nest, prices: Prices, axes: Axes, least: _Least) -> Floats:
    """The cost of ifmap and psum words in the buffer and on the network; infinite if none fit.

    Buffer traffic a / t + b / r under r t <= sets is at least 2 sqrt(a b / sets) too. Terms of p
    and terms of q are worked out for their distinct values and then joined to those of pairs.
    """
    psums, p, q = nest.psum_words, axes.p[axes.at_p], axes.q[axes.at_q]
    joint = nest.loops.filters / p * (nest.loops.channels / q) / least.sets
    of_p = np.where(least.fits_p, prices.glb * least.ifmap * least.filter_passes, np.inf)
    of_q = np.where(least.fits_q, prices.glb * 2 * psums * least.channel_passes, np.inf)
    cost = of_p.take(axes.at_p, axis=2)
    cost += of_q.take(axes.at_q, axis=2)
    np.maximum(cost, prices.glb * 2 * np.sqrt(2.0 * least.ifmap * psums * joint), out=cost)
    passes = ceil_quotients(nest.loops.channels, axes.q)
    hops = nest.loops.filter_rows * passes + least.channel_passes
    cost += (prices.network * psums * hops).take(axes.at_q, axis=2)
    cost += prices.network * nest.spread_words * ceil_quotients(nest.loops.filters, p)
    return cost


def _rounded_computing(nest: Nest, axes: Axes, least: _Least) -> Floats:
    """The cycles of computing if all sets of PEs have work in all passes but a last one."""
    p, q, n = axes.p[axes.at_p], axes.q[axes.at_q], axes.n[None, :, None]
    pairs = ceil_quotients(nest.loops.filters, p) * ceil_quotients(nest.loops.channels, q)
    rows = np.ceil(pairs / least.sets) * (p * q)
    per_row = nest.layer.groups * nest.loops.filter_columns * nest.loops.columns
    return np.asarray(rows * (per_row * n * least.reloads))


def _cycles(nest: Nest, axes: Axes, least: _Least) -> Floats:
    """The longer of computing and of moving ifmaps, and the loading of filters in between."""
    machine, widths = nest.machine, nest.widths
    p, q = axes.p[axes.at_p], axes.q[axes.at_q]
    rows, columns = ceil_quotients(nest.loops.channels, q), ceil_quotients(nest.loops.filters, p)
    taps = rows * q * columns * p * nest.loops.filter_columns
    rounds = nest.layer.groups * nest.loops.batch * least.strips
    ifmap = nest.loops.channels * least.touched * nest.loops.ifmap_columns * least.filter_passes
    moving = rounds * ifmap * (widths.ifmap / machine.ifmap_network_bits)
    cycles = moving.take(axes.at_p, axis=2)
    np.maximum(cycles, rounds * (taps * nest.loops.columns / least.sets), out=cycles)
    if machine.filter_load == "serial":
        per_reload = nest.layer.groups * taps * nest.loops.filter_rows
        cycles += least.reloads * (per_reload * (widths.weights / machine.filter_network_bits))
    return cycles
