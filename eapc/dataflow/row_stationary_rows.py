"""What each (p, q) of a row-stationary search costs at least, at one strip height.

Under r t <= sets, a number t of sets for filters leaves at most sets / t for channels. Cost and
cycles are sums, products and maxima of terms of (p, t) and of terms of (q, r), so for every t the
terms of (q, r) may be taken at their least over r <= sets / t: no candidate is below that. For the
cost all that is lost is the rounding of m to whole multiples of p t.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eapc.dataflow.integers import Floats, Ints, ceil_div, ceil_quotients, smallest_divisors
from eapc.dataflow.row_stationary_machine import RowStationaryMachine
from eapc.dataflow.row_stationary_nest import Nest, Prices, filters_that_fit, pe_sets
from eapc.hardware import HardwareModel

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
    filter_passes: Floats
    channel_passes: Floats


class Rows(NamedTuple):
    """Some triples of n, p and q: batch sizes, and where values stand among them and in the tables.

    A search asks for all batch sizes at once, since most of its time goes into single calls.
    """

    tables: Tables
    n: Ints
    at_n: Ints
    at_p: Ints
    at_q: Ints

    def beside(self, of_q: Numbers) -> Numbers:
        """The least of some terms (..., r) that is to be had beside each t: (..., t)."""
        return np.asarray(np.minimum.accumulate(of_q, axis=-1)[..., self.tables.most])


def tables_of(nest: Nest, hardware: HardwareModel, p: Ints, q: Ints, e: int) -> Tables:
    """The tables of the values that p and q may have."""
    sets = pe_sets(hardware.machine_as(RowStationaryMachine), nest.filter_rows, e)
    t, r = smallest_divisors(nest.filters, sets), smallest_divisors(nest.channels, sets)
    most = np.searchsorted(r, sets // t, side="right") - 1
    p, q = p[:, None], q[:, None]
    filter_passes = ceil_quotients(nest.filters, p * t)
    return Tables(e, p, q, t, r, most, filter_passes, ceil_quotients(nest.channels, q * r))


def least_costs(nest: Nest, hardware: HardwareModel, prices: Prices, rows: Rows) -> Floats:
    """A lower bound of each row's cost; infinite where nothing fits."""
    tables, of_psums = rows.tables, nest.psum_words
    fetched = nest.ifmap_words(tables.e)
    reloads = ceil_quotients(nest.batch, rows.n) * ceil_div(nest.ofmap_rows, tables.e)
    weights = nest.weight_words * reloads
    always = prices.dram_weights * weights + prices.network * (weights * tables.e)
    ifmap = prices.glb * fetched + prices.network * nest.spread_words * tables.t
    hops = prices.network * of_psums * (nest.filter_rows * tables.r + 1)
    n = rows.n[:, None, None]
    fit = filters_that_fit(nest, hardware, n, tables.e, tables.q * tables.r)
    fetches = ceil_quotients(nest.filters, np.minimum(np.maximum(fit, 1), nest.filters))
    psums = (2 * prices.glb * of_psums + hops) * tables.channel_passes
    of_q = np.where(fit > 0, prices.dram_ifmap * fetched * fetches + psums, np.inf)
    of_p = (ifmap * tables.filter_passes).take(rows.at_p, axis=0)
    least = (of_p + rows.beside(of_q)[rows.at_n, rows.at_q]).min(axis=1)
    return np.asarray(always[rows.at_n] + prices.dram_ofmap * nest.ofmap_words + least)


def least_cycles(nest: Nest, hardware: HardwareModel, rows: Rows) -> Floats:
    """A lower bound of each row's cycles."""
    machine, widths = hardware.machine_as(RowStationaryMachine), nest.widths
    tables, n = rows.tables, rows.n[rows.at_n]
    filters, channels = tables.filter_passes * tables.p, tables.channel_passes * tables.q
    strip = nest.rows_touched(tables.e) * nest.ifmap_columns
    computing = nest.filter_columns * nest.ofmap_columns * _product(rows, filters, channels)
    ifmaps = _product(rows, tables.filter_passes, channels * tables.r) * strip
    psums = _product(rows, filters * tables.t, tables.channel_passes)
    taps = _product(rows, filters * tables.t, channels * tables.r) * nest.filter_columns
    slowest = n[:, None] * np.maximum(
        np.maximum(computing, ifmaps * (widths.ifmap / machine.ifmap_network_bits)),
        psums * (tables.e * nest.ofmap_columns * (widths.psum / machine.psum_network_bits)),
    )
    loading = taps * nest.filter_rows * (widths.weights / machine.filter_network_bits)
    serial = machine.filter_load == "serial"
    passes = slowest + loading if serial else np.maximum(slowest, loading)
    rounds = nest.groups * ceil_quotients(nest.batch, n) * ceil_div(nest.ofmap_rows, tables.e)
    return np.asarray(rounds * passes.min(axis=1), dtype=np.float64)


def _product(rows: Rows, of_p: Floats, of_q: Floats) -> Numbers:
    """The least product of a term of (p, t) and one of (q, r), for each row and t."""
    return np.asarray(of_p[rows.at_p] * rows.beside(of_q)[rows.at_q])
