"""Lower bounds on what the mappings of a row-stationary search can cost."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eapc.dataflow.integers import Floats, Ints, ceil_div, ceil_quotients
from eapc.dataflow.row_stationary_machine import RowStationaryMachine
from eapc.dataflow.row_stationary_nest import (
    Nest,
    Prices,
    Room,
    pe_sets,
)
from eapc.hardware import HardwareModel

Flags = NDArray[np.bool_]
Numbers = NDArray[Any]


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


def lower_bounds(nest: Nest, hardware: HardwareModel, prices: Prices, axes: Axes) -> Bounds:
    """Bounds for every strip height, batch size and (p, q), whatever m, r and t are."""
    least = _least(nest, hardware, axes)
    cost = _on_chip(nest, prices, axes, least)
    cost += _dram(nest, prices, axes, least)
    return Bounds(cost, _cycles(nest, hardware, axes, least))


def _least(nest: Nest, hardware: HardwareModel, axes: Axes) -> _Least:
    machine, loops = hardware.machine_as(RowStationaryMachine), nest.loops
    e, n = axes.e[:, None, None], axes.n[None, :, None]
    found = [pe_sets(machine, loops.filter_rows, strip) for strip in axes.e.tolist()]
    sets = np.array(found, dtype=np.int64)[:, None, None]
    strips, touched = ceil_div(loops.rows, e), loops.rows_touched(e)
    room = Room.of(hardware, nest.widths)
    of_channel = n * touched * loops.ifmap_columns
    filters = np.minimum(room.filters_beside(of_channel, n * e * loops.columns), loops.filters)
    channels = (room.banks - 1) * room.ifmaps_per_bank // of_channel
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


def _cycles(nest: Nest, hardware: HardwareModel, axes: Axes, least: _Least) -> Floats:
    """The longer of computing and of moving ifmaps, and the loading of filters in between."""
    machine, widths = hardware.machine_as(RowStationaryMachine), nest.widths
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
