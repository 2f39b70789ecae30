"""What each (p, q) of a row-stationary search costs at least, at one strip height and batch size.

Under r t <= sets, a number t of sets for filters leaves at most sets / t for channels. Cost and
cycles are sums, products and maxima of terms of (p, t) and of terms of (q, r), so for every t the
terms of (q, r) may be taken at their least over r <= sets / t: no candidate is below that. For the
cost all that is lost is the rounding of m to whole multiples of p t.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eapc.dataflow.integers import Ints, ceil_div, ceil_divs, smallest_divisors
from eapc.dataflow.row_stationary_nest import Nest, Prices, filters_that_fit, pe_sets
from eapc.hardware import HardwareModel
from eapc.hardware_machines import RowStationaryMachine

Floats = NDArray[np.float64]
Numbers = NDArray[Any]


class Tables(NamedTuple):
    """What depends on the strip height e alone, over the distinct values of p and q.

    `t` are the candidates for t, `r` those for r, `most` the index of the largest r beside each
    t; `filter_passes` has shape (values of p, t), `channel_passes` (values of q, r).
    """

    e: int
    p: Ints
    q: Ints
    t: Ints
    r: Ints
    most: Ints
    filter_passes: Ints
    channel_passes: Ints


class Rows(NamedTuple):
    """Some pairs of p and q with n ifmaps: where their values stand in the tables."""

    tables: Tables
    n: int
    at_p: Ints
    at_q: Ints

    def joined(self, of_p: Numbers, of_q: Numbers) -> tuple[Numbers, Numbers]:
        """Terms (values of p, t) and the least terms (values of q, r) beside them, per pair."""
        least = np.minimum.accumulate(of_q, axis=1)[:, self.tables.most]
        return of_p[self.at_p], least[self.at_q]


def tables_of(nest: Nest, hardware: HardwareModel, p: Ints, q: Ints, e: int) -> Tables:
    """The tables of the values that p and q may have."""
    sets = pe_sets(hardware.machine_as(RowStationaryMachine), nest.filter_rows, e)
    t, r = smallest_divisors(nest.filters, sets), smallest_divisors(nest.channels, sets)
    most = np.searchsorted(r, sets // t, side="right") - 1
    p, q = p[:, None], q[:, None]
    filter_passes, channel_passes = ceil_divs(nest.filters, p * t), ceil_divs(nest.channels, q * r)
    return Tables(e, p, q, t, r, most, filter_passes, channel_passes)


def least_costs(nest: Nest, hardware: HardwareModel, prices: Prices, rows: Rows) -> Floats:
    """A lower bound of each pair's cost; infinite where nothing fits."""
    tables, of_psums = rows.tables, nest.psum_words
    fetched = nest.ifmap_words(tables.e)
    reloads = ceil_div(nest.batch, rows.n) * ceil_div(nest.ofmap_rows, tables.e)
    weights = nest.weight_words * reloads
    always = prices.dram_weights * weights + prices.network * (weights * tables.e)
    ifmap = prices.glb * fetched + prices.network * nest.spread_words * tables.t
    hops = prices.network * of_psums * (nest.filter_rows * tables.r + 1)
    fit = filters_that_fit(nest, hardware, rows.n, tables.e, tables.q * tables.r)
    fetches = ceil_divs(nest.filters, np.clip(fit, 1, nest.filters))
    psums = (2 * prices.glb * of_psums + hops) * tables.channel_passes
    of_q = np.where(fit > 0, prices.dram_ifmap * fetched * fetches + psums, np.inf)
    of_p, least = rows.joined(ifmap * tables.filter_passes, of_q)
    return np.asarray(always + prices.dram_ofmap * nest.ofmap_words + (of_p + least).min(axis=1))


def least_cycles(nest: Nest, hardware: HardwareModel, rows: Rows) -> Floats:
    """A lower bound of each pair's cycles."""
    machine, widths = hardware.machine_as(RowStationaryMachine), nest.widths
    tables = rows.tables
    filters, channels = tables.filter_passes * tables.p, tables.channel_passes * tables.q
    strip = nest.rows_touched(tables.e) * nest.ifmap_columns
    computing = nest.filter_columns * nest.ofmap_columns * _product(rows, filters, channels)
    ifmaps = _product(rows, tables.filter_passes, channels * tables.r) * strip
    psums = _product(rows, filters * tables.t, tables.channel_passes)
    taps = _product(rows, filters * tables.t, channels * tables.r) * nest.filter_columns
    slowest = rows.n * np.maximum(
        np.maximum(computing, ifmaps * (widths.ifmap / machine.ifmap_network_bits)),
        psums * (tables.e * nest.ofmap_columns * (widths.psum / machine.psum_network_bits)),
    )
    loading = taps * nest.filter_rows * (widths.weights / machine.filter_network_bits)
    serial = machine.filter_load == "serial"
    passes = slowest + loading if serial else np.maximum(slowest, loading)
    rounds = nest.groups * ceil_div(nest.batch, rows.n) * ceil_div(nest.ofmap_rows, tables.e)
    return np.asarray(rounds * passes.min(axis=1), dtype=np.float64)


def _product(rows: Rows, of_p: Ints, of_q: Ints) -> Numbers:
    """The least product of a term of (p, t) and one of (q, r), for each pair and t."""
    left, right = rows.joined(of_p, of_q)
    return np.asarray(left * right)
