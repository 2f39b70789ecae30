"""How far mappings fill a row-stationary array, by hand and over layers of any kind."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_dataflow_row_stationary_search import EYERISS, small_layers, small_machines, variant

from eapc.dataflow import Execution, RowStationaryMachine, RowStationaryMapping, execute
from eapc.dataflow.integers import ceil_div
from eapc.dataflow.row_stationary_filling import fewest_computing_cycles, most_computing_cycles
from eapc.dataflow.row_stationary_nest import Nest, filters_that_fit, nests, pe_sets
from eapc.hardware import HardwareModel, load_hardware
from eapc.workload import ConvWorkload

CHIP = load_hardware("eyeriss-jssc2017")
ANY = variant(CHIP, name="chip without filling", machine__filling=None)
SHARE = 0.88


def square(
    filters: int,
    channels: int,
    size: int,
    kernel: int,
    stride: int = 1,
    batch: int = 1,
    groups: int = 1,
) -> ConvWorkload:
    extents = (batch, groups, filters, channels, size, size, kernel, kernel)
    return ConvWorkload(*extents, stride_rows=stride, stride_columns=stride)


def tiles(done: Execution) -> tuple[int, ...]:
    """n, e, m, p, q, r and t."""
    assert isinstance(done.mapping, RowStationaryMapping)
    return done.mapping.tiles


def computing(work: ConvWorkload, done: Execution) -> int:
    """Cycles of computing, from the mapping alone."""
    assert isinstance(done.mapping, RowStationaryMapping)
    loops = done.mapping.loops
    n, e, _, p, q, r, t = done.mapping.tiles
    ifmaps, strips = n * -(-loops.batch // n), -(-loops.rows // e)
    filters, channels = p * -(-loops.filters // (p * t)), q * -(-loops.channels // (q * r))
    row = loops.filter_columns * loops.columns
    return work.groups * ifmaps * strips * filters * channels * row


def at_work(work: ConvWorkload, done: Execution) -> float:
    """PEs that compute on average."""
    return work.macs / computing(work, done)


# What a PE is left with: strips times filters times channels. 12 x 14 PEs; M filters, C channels.
LEFT = {
    # 3 x 14 is one of four sets: 512 x 512 pairs over r t = 4
    "14 rows of 3 x 3": (square(512, 512, 14, 3), 512 * 512 // 4, 168.0),
    # 3 x 28 lies in two segments of 14 over six rows: two sets
    "28 rows of 3 x 3": (square(512, 256, 28, 3), 512 * 256 // 2, 168.0),
    # 3 x 56 are 168 PEs in four segments: one set
    "56 rows of 3 x 3": (square(256, 128, 56, 3), 256 * 128, 168.0),
    # 3 x 112 are more: 8 strips of 14, four sets
    "112 rows of 3 x 3": (square(128, 64, 112, 3), 8 * 128 * 64 // 4, 168.0),
    # 16 strips of 14; three channels at a time, or four filters
    "224 rows of 3 x 3": (square(64, 3, 224, 3), 16 * 64 // 4 * 3, 168.0),
    # AlexNet: 8 strips of 11 x 7, twice; the last strip lacks a row
    "55 rows of 11 x 11": (square(96, 3, 55, 11, 4), 8 * 48 * 3, 154 * 55 / 56),
    # 5 x 14 and 5 x 13, one above the other, whole though strips of 14 would leave two sets
    "27 rows of 5 x 5": (square(128, 48, 27, 5), 128 * 48, 135.0),
    # 3 x 13 four times
    "13 rows of 3 x 3": (square(192, 192, 13, 3), 192 * 192 // 4, 156.0),
    # 5 x 33 are 165 PEs, but three segments would take 15 rows: five strips of 7, four sets
    "33 rows of 5 x 5": (square(64, 64, 33, 5), 5 * 64 * 64 // 4, 140 * 33 / 35),
    # a filter of 7 rows is there once: 8 strips of 14
    "112 rows of 7 x 7": (square(64, 3, 112, 7, 2), 8 * 64 * 3, 98.0),
    # 1 x 28 in two segments, six sets: r t = 3 x 2 leave 22 channels of 32 filters
    "28 rows of 1 x 1": (square(64, 64, 28, 1), 22 * 32, 64 * 64 * 28 / (22 * 32)),
    # one filter and one channel a group: a set alone
    "depthwise, 14 rows": (square(1, 1, 14, 3, groups=64), 1, 42.0),
    # two strips of 56 rows in four segments
    "depthwise, 112 rows": (square(1, 1, 112, 3, groups=32), 2, 168.0),
    # 10 filters by 16 channels
    "one row of 1 x 1": (square(10, 64, 1, 1), 4, 160.0),
    # 3 x 8 whole, four sets, though strips of 2 would fill the array
    "8 rows of 3 x 3": (square(32, 32, 8, 3), 256, 96.0),
    # 12 / 3 x 14 / 2 = 28 sets of 3 x 2: r t = 4 x 6 leave 4 x 3 of 16 x 16
    "2 rows of 3 x 3": (square(16, 16, 2, 3), 12, 16 * 16 * 6 / 12),
}


@pytest.mark.parametrize("name", LEFT)
def test_fullest_arrays_by_hand(name: str) -> None:
    work, left, pes = LEFT[name]
    fewest = fewest_computing_cycles(next(nests(work, CHIP)), whole_sets=True)
    assert fewest == left * work.groups * work.filter_columns * work.ofmap_columns
    assert work.macs / fewest == pytest.approx(pes)


@pytest.mark.parametrize("name", LEFT)
def test_no_fewer_pes_are_active_than_without_filling(name: str) -> None:
    work = LEFT[name][0]
    before, after = execute(work, ANY), execute(work, CHIP)
    assert before.active_pes <= after.active_pes <= 168
    assert at_work(work, after) >= SHARE * LEFT[name][2]


@pytest.mark.parametrize(
    ("work", "left"),
    [
        (square(128, 48, 27, 5), 27 * 128 * 7 // 4),
        (square(32, 32, 8, 3), 4 * 5 * 8),
        (square(64, 64, 112, 1), 8 * 22 * 16),
    ],
)
def test_strips_may_be_searched_to_fill_the_array(work: ConvWorkload, left: int) -> None:
    """Single rows of 5 x 5 have 28 sets, r t = 7 x 4 of them for 48 channels and 128 filters.

    Strips of 2 rows of 3 x 3 have 28 as well, and r t = 4 x 7 leave 8 x 5 of 32 x 32; of 112
    rows of 1 x 1 strips of 14 have 12, and r t = 4 x 3 leave 16 x 22 of 64 x 64.
    """
    nest = next(nests(work, CHIP))
    row = work.filter_columns * work.ofmap_columns
    assert fewest_computing_cycles(nest, whole_sets=False) == left * row
    assert fewest_computing_cycles(nest, whole_sets=True) > left * row


def test_a_set_that_the_buffer_has_no_room_for_is_cut_into_strips() -> None:
    """14 rows of 512 psums are 4 banks, 16 of 514 ifmap words 5; for 7 rows it is 2 and 3."""
    work = ConvWorkload(1, 1, 1, 1, 14, 512, 3, 3)
    memories = {"energy_mac_units_per_word": 6, "size_bytes": 8 * 4096, "bank_bytes": 4096}
    small = variant(CHIP, memories__glb=memories)
    assert fewest_computing_cycles(next(nests(work, CHIP)), whole_sets=True) == 3 * 512
    assert fewest_computing_cycles(next(nests(work, small)), whole_sets=True) == 2 * 3 * 512


VGG16 = {
    (3, 64, 224): 156,
    (64, 64, 224): 156,
    (64, 128, 112): 168,
    (128, 128, 112): 168,
    (128, 256, 56): 168,
    (256, 256, 56): 168,
    (256, 512, 28): 168,
    (512, 512, 28): 168,
    (512, 512, 14): 168,
}
"""Channels, filters and rows of VGG-16's layers, and PEs that have to be active at least."""


@pytest.mark.parametrize("shape", VGG16, ids=str)
def test_layers_of_vgg16_fill_the_chip(shape: tuple[int, int, int]) -> None:
    channels, filters, rows = shape
    work = square(filters, channels, rows, 3, batch=3)
    done = execute(work, CHIP)
    assert VGG16[shape] <= done.active_pes <= 168
    assert at_work(work, done) >= SHARE * 168


def test_fewest_dram_words_alone_leave_half_of_the_chip_idle() -> None:
    """256 filters on 56 rows: strips of 10 let m = 87 psums stay, and 3 x 10 PEs fit three times.

    Ifmaps are then read in three turns over filters; strips of 14 let 52 stay and take five.
    """
    work = square(256, 128, 56, 3, batch=3)
    before, after = execute(work, ANY), execute(work, CHIP)
    assert tiles(before)[:3] == (1, 10, 87)
    assert before.active_pes == 90
    assert tiles(after)[:3] == (1, 14, 52)
    assert after.active_pes == 168
    ifmap = 3 * 128 * 58
    assert before.accesses["dram"].ifmap == 3 * ifmap * (58 + 2 * 5)
    assert after.accesses["dram"].ifmap == 5 * ifmap * (58 + 2 * 3)


sizes = st.sampled_from([1, 2, 4, 7, 8, 13, 14, 15, 27, 28, 33, 55, 56, 57, 112, 224])
widths = st.sampled_from([1, 3, 10, 16, 24, 64, 96, 128, 512])
kernels = st.sampled_from([1, 3, 5, 7, 11, 13])
odd_layers = st.one_of(
    st.builds(square, widths, widths, sizes, kernels, st.sampled_from([1, 2, 4]))
    | st.builds(square, widths, widths, sizes, kernels, batch=st.integers(2, 4))
    | st.builds(square, st.just(1), st.just(1), sizes, kernels, groups=st.just(64))
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(odd_layers)
def test_filling_never_leaves_more_idle_and_changes_nothing_else(work: ConvWorkload) -> None:
    before, after = execute(work, ANY), execute(work, CHIP)
    nest = next(nests(work, CHIP))
    limit = most_computing_cycles(nest)
    assert limit == fewest_computing_cycles(nest, True) / SHARE
    assert at_work(work, after) >= at_work(work, before) * (1 - 1e-12)
    if computing(work, before) <= limit:
        assert after == before
    else:
        assert computing(work, after) <= limit * (1 + 1e-12)
        assert after.accesses["dram"].total >= before.accesses["dram"].total


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(odd_layers)
def test_what_fills_the_array_fits_the_machine(work: ConvWorkload) -> None:
    done = execute(work, CHIP)
    assert isinstance(done.mapping, RowStationaryMapping)
    loops, machine = done.mapping.loops, CHIP.machine_as(RowStationaryMachine)
    n, e, m, p, q, r, t = done.mapping.tiles
    rows, columns = loops.filter_rows, loops.filter_columns
    assert p * q * columns <= machine.filter_spad_words == 224
    assert q * columns <= machine.ifmap_spad_words == 12
    assert p <= machine.psum_spad_words == 24
    segments, across = -(-e // 14), max(14 // e, 1)
    assert -(-r * t // across) * segments * rows <= 12
    assert done.active_pes == rows * e * r * t <= 168
    ifmap = n * q * r * loops.rows_touched(e) * loops.ifmap_columns
    psums = n * m * e * loops.columns
    assert -(-ifmap // 2048) + -(-psums // 2048) <= 25
    assert m == loops.filters or m % (p * t) == 0


def fewest_of_all(nest: Nest) -> float:
    """Cycles of computing, over every mapping that fits, without any formula for the fewest."""
    loops, pads, width, fewest = nest.loops, nest.pads, nest.loops.filter_columns, math.inf
    for e in range(1, loops.rows + 1):
        sets = range(1, pe_sets(nest.machine, loops.filter_rows, e) + 1)
        widths_q = range(1, pads.ifmaps // width + 1)
        for r, t, q, p in product(sets, sets, widths_q, range(1, pads.psums + 1)):
            fit = filters_that_fit(nest, 1, e, np.array(q * r))
            enough = fit >= min(p * t, loops.filters)
            if r * t <= len(sets) and p * q * width <= pads.filters and enough:
                passes = ceil_div(loops.filters, p * t) * ceil_div(loops.channels, q * r)
                fewest = min(fewest, ceil_div(loops.rows, e) * passes * p * q)
    return fewest * nest.layer.groups * loops.batch * width * loops.columns


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(small_layers, small_machines)
def test_fewest_cycles_of_computing_are_those_of_brute_force(
    work: ConvWorkload, changes: dict[str, Any]
) -> None:
    nest = next(nests(work, variant(EYERISS, **changes)))
    assert fewest_computing_cycles(nest, whole_sets=False) == fewest_of_all(nest)


def filled(**filling: Any) -> HardwareModel:
    return variant(CHIP, machine__filling={"least_utilisation": 0.88, "strips": "needed"} | filling)


def test_a_smaller_share_asks_less_and_none_asks_nothing() -> None:
    """CONV1-1 of VGG-16: 3 x 3 PEs sixteen times are 144, which 0.85 of 168 allow."""
    work = square(64, 3, 224, 3, batch=3)
    assert execute(work, filled(least_utilisation=0.85)).active_pes == 144
    assert execute(work, filled(least_utilisation=0.01)) == execute(work, ANY)
    assert most_computing_cycles(next(nests(work, ANY))) == math.inf


def test_searched_strips_ask_more_of_a_small_map() -> None:
    """3 x 8 four times are 96; with strips of 4 rows 3 x 4 twelve times 144."""
    work = square(32, 32, 8, 3)
    assert execute(work, filled()).active_pes == 96
    assert execute(work, filled(strips="searched")).active_pes == 144


@pytest.mark.parametrize("share", [0, -0.5, 1.01, "0.9"])
def test_a_share_is_above_0_and_at_most_1(share: object) -> None:
    with pytest.raises(ValueError, match="expected a number above 0, at most 1"):
        filled(least_utilisation=share)


def test_strips_are_needed_or_searched() -> None:
    with pytest.raises(ValueError, match=r"filling\.strips"):
        filled(strips="best")
