"""Lower bounds on what the mappings of a row-stationary search can cost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eapc.dataflow.integers import Ints, ceil_div, ceil_divs
from eapc.dataflow.row_stationary_nest import (
    Nest,
    Prices,
    Room,
    pe_sets,
)
from eapc.hardware import HardwareModel
from eapc.hardware_machines import RowStationaryMachine

Floats = NDArray[np.float64]


class Axes(NamedTuple):
    """Candidates: strip heights e, batch sizes n, and pairs of p and q (arrays of one length)."""

    e: Ints
    n: Ints
    p: Ints
    q: Ints


class Bounds(NamedTuple):
    """Lower bounds, arrays (strip heights, batch sizes, pairs); infinite where nothing fits."""

    cost: Floats
    cycles: Floats


class _Least(NamedTuple):
    """The least of what a mapping must do; arrays that broadcast to those of Bounds.

    By strip height: `strips`, ifmap words fetched, ifmap rows touched by a strip, sets of PEs.
    Then reloads of the weights, filters that fit the buffer beside one channel, passes over
    filters and over channels if all sets of PEs serve them, and whether p and q fit.
    """

    strips: Ints
    ifmap: Floats
    touched: Ints
    sets: Ints
    reloads: Ints
    filters: Ints
    filter_passes: Ints
    channel_passes: Ints
    possible: NDArray[np.bool_]


def lower_bounds(nest: Nest, hardware: HardwareModel, prices: Prices, axes: Axes) -> Bounds:
    """Bounds for every strip height, batch size and (p, q), whatever m, r and t are."""
    least = _least(nest, hardware, axes)
    cost = _cost(nest, prices, axes, least)
    return Bounds(cost, np.broadcast_to(_cycles(nest, hardware, axes, least), cost.shape))


def _least(nest: Nest, hardware: HardwareModel, axes: Axes) -> _Least:
    heights = axes.e.tolist()
    machine = hardware.machine_as(RowStationaryMachine)
    by_strip = [
        [ceil_div(nest.ofmap_rows, e) for e in heights],
        [nest.rows_touched(e) for e in heights],
        [pe_sets(machine, nest.filter_rows, e) for e in heights],
    ]
    strips, touched, sets = np.array(by_strip, dtype=np.int64)[:, :, None, None]
    ifmap = np.array([nest.ifmap_words(e) for e in heights])[:, None, None]
    n, room = axes.n[None, :, None], Room.of(hardware, nest.widths)
    psums = n * axes.e[:, None, None] * nest.ofmap_columns
    filters = room.filters_beside(n * touched * nest.ifmap_columns, psums)
    filters = np.minimum(filters, nest.filters)
    channels = (room.banks - 1) * room.ifmaps_per_bank // (n * touched * nest.ifmap_columns)
    possible = (filters >= axes.p) & (channels >= axes.q)
    filters, channels = np.maximum(filters, 1), np.maximum(channels, 1)
    return _Least(
        strips,
        ifmap,
        touched,
        sets,
        ceil_divs(nest.batch, n) * strips,
        filters,
        ceil_divs(nest.filters, np.minimum(axes.p * sets, filters)),
        ceil_divs(nest.channels, np.minimum(axes.q * sets, channels)),
        possible,
    )


def within_reach(
    nest: Nest, hardware: HardwareModel, prices: Prices, axes: Axes, cost: float
) -> Axes:
    """The strip heights and batch sizes at which `cost` may be had, by bounds less tight.

    DRAM words of every height and batch size are added to what the cheapest (p, q) moves on chip
    with one ifmap in the buffer, which leaves it the most room.
    """
    one = np.ones(1, dtype=np.int64)
    alone, single = axes._replace(n=one), axes._replace(p=one, q=one)
    least = _least(nest, hardware, alone)
    on_chip = sum(_on_chip(nest, prices, alone, least))
    on_chip = np.where(least.possible, on_chip, np.inf).min(axis=2)
    least = _least(nest, hardware, single)
    dram = np.where(least.possible, _dram(nest, prices, single, least), np.inf)[:, :, 0]
    found = dram + on_chip <= cost
    return axes._replace(e=axes.e[found.any(axis=1)], n=axes.n[found.any(axis=0)])


def _cost(nest: Nest, prices: Prices, axes: Axes, least: _Least) -> Floats:
    """Each term of the cost at its least; infinite where nothing fits."""
    glb, network = _on_chip(nest, prices, axes, least)
    cost = _dram(nest, prices, axes, least) + glb + network
    return np.where(least.possible, cost, np.inf)


def _dram(nest: Nest, prices: Prices, axes: Axes, least: _Least) -> Floats:
    """The cost of DRAM words, and of weights on the network, whose number they settle."""
    per_weight = prices.dram_weights + prices.network * axes.e[:, None, None]
    return np.asarray(
        per_weight * nest.weight_words * least.reloads
        + prices.dram_ifmap * least.ifmap * ceil_divs(nest.filters, least.filters)
        + prices.dram_ofmap * nest.ofmap_words
    )


def _on_chip(nest: Nest, prices: Prices, axes: Axes, least: _Least) -> tuple[Floats, Floats]:
    """The cost of ifmap and psum words in the buffer, and on the network.

    Buffer traffic a / t + b / r under r t <= sets is at least 2 sqrt(a b / sets) too.
    """
    rows, columns = ceil_divs(nest.channels, axes.q), ceil_divs(nest.filters, axes.p)
    psums = nest.psum_words
    joint = nest.filters / axes.p * (nest.channels / axes.q) / least.sets
    glb = np.maximum(
        least.ifmap * least.filter_passes + 2 * psums * least.channel_passes,
        2 * np.sqrt(2.0 * least.ifmap * psums * joint),
    )
    hops = nest.filter_rows * rows + least.channel_passes
    network = nest.spread_words * columns + psums * hops
    return prices.glb * glb, prices.network * network


def _cycles(nest: Nest, hardware: HardwareModel, axes: Axes, least: _Least) -> Floats:
    """The longer of computing and of moving ifmaps, and the loading of filters in between."""
    machine, widths = hardware.machine_as(RowStationaryMachine), nest.widths
    rows, columns = ceil_divs(nest.channels, axes.q), ceil_divs(nest.filters, axes.p)
    taps = rows * axes.q * columns * axes.p * nest.filter_columns
    rounds = nest.groups * nest.batch * least.strips
    ifmap = nest.channels * least.touched * nest.ifmap_columns * least.filter_passes
    slowest = rounds * np.maximum(
        taps * nest.ofmap_columns / least.sets, ifmap * (widths.ifmap / machine.ifmap_network_bits)
    )
    if machine.filter_load == "overlapped":
        return np.asarray(slowest, dtype=np.float64)
    loads = (
        nest.groups
        * least.reloads
        * taps
        * nest.filter_rows
        * (widths.weights / machine.filter_network_bits)
    )
    return np.asarray(slowest + loads, dtype=np.float64)
