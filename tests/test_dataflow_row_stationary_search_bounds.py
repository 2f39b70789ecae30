"""Lower bounds of the row-stationary search against every mapping that they cover."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_dataflow_row_stationary_search import (
    EYERISS,
    PRICES,
    small_layers,
    small_machines,
    variant,
)

from eapc.dataflow.integers import ceil_quotients, smallest_divisors
from eapc.dataflow.row_stationary_nest import (
    Nest,
    Prices,
    Tiles,
    access_words,
    cycles,
    filters_that_fit,
    nests,
    pe_sets,
    total_cost,
)
from eapc.dataflow.row_stationary_search import Axes, lower_bounds
from eapc.workload import ConvWorkload

SLACK = 1 + 1e-12
Floats = NDArray[np.float64]


def axes_of(nest: Nest) -> Axes:
    """Every height that the array has room for, every batch size, small p and q."""
    tallest = nest.machine.array_columns * (nest.machine.array_rows // nest.loops.filter_rows)
    p = np.arange(1, min(3, nest.loops.filters) + 1, dtype=np.int64)
    q = np.arange(1, min(3, nest.loops.channels) + 1, dtype=np.int64)
    at_p, at_q = (axis.ravel() for axis in np.indices((len(p), len(q))))
    heights = np.arange(1, min(nest.loops.rows, tallest) + 1, dtype=np.int64)
    return Axes(heights, np.arange(1, nest.loops.batch + 1, dtype=np.int64), p, q, at_p, at_q)


def least_of_all(nest: Nest, prices: Prices, axes: Axes) -> tuple[Floats, Floats]:
    """The least cost and cycles over every m, r and t that fit, without any formula for them."""
    shape = (len(axes.e), len(axes.n), len(axes.at_p))
    costs, times = np.full(shape, np.inf), np.full(shape, np.inf)
    for (i, e), (j, n), k in product(enumerate(axes.e), enumerate(axes.n), range(shape[2])):
        p, q = axes.p[axes.at_p[k]], axes.q[axes.at_q[k]]
        sets = range(1, pe_sets(nest.machine, nest.loops.filter_rows, int(e)) + 1)
        r, t = np.array([(r, t) for r, t in product(sets, sets) if r * t <= len(sets)]).T
        fit = filters_that_fit(nest, int(n), int(e), q * r)
        for m in range(1, nest.loops.filters + 1):
            kept = (fit >= m) & ((m % (p * t) == 0) | (m == nest.loops.filters))
            if kept.any():
                tiles = Tiles(int(n), int(e), np.array(m), p, q, r[kept], t[kept])
                cost = total_cost(access_words(nest, tiles), prices)
                costs[i, j, k] = min(costs[i, j, k], cost.min())
                times[i, j, k] = min(times[i, j, k], cycles(nest, tiles).min())
    return costs, times


@settings(max_examples=60, deadline=None)
@given(small_layers, small_machines, st.sampled_from(["energy", "throughput"]))
def test_no_mapping_is_below_its_bounds(
    work: ConvWorkload, changes: dict[str, Any], objective: str
) -> None:
    machine, prices = variant(EYERISS, **changes), PRICES[objective]
    nest = next(nests(work, machine))
    axes = axes_of(nest)
    costs, times = least_of_all(nest, prices, axes)
    bounds = lower_bounds(nest, prices, axes)
    assert (bounds.cost <= costs * SLACK).all()
    possible = np.isfinite(times)
    assert (bounds.cycles[possible] <= times[possible] * SLACK).all()


@pytest.mark.parametrize("total", [1, 7, 4096, 2**52 - 1, 2**52])
def test_quotients_are_rounded_up_exactly(total: int) -> None:
    parts = [1, 2, 3, 7, 4095, total]
    assert ceil_quotients(total, np.array(parts)).tolist() == [-(-total // part) for part in parts]


def test_smallest_divisors_start_at_one() -> None:
    assert smallest_divisors(7, 0).tolist() == [1]
