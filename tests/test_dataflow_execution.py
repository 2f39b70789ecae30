"""Operands narrower and wider than a word: what fits, what moves, and how long it takes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_dataflow_row_stationary_search import variant

from eapc.dataflow import (
    Execution,
    MappingError,
    RowStationaryMapping,
    SystolicMapping,
    execute,
)
from eapc.dataflow.execution import Widths, mac_bits
from eapc.dataflow.row_stationary_nest import Pads, Room, filters_that_fit, nests
from eapc.hardware import HardwareModel, load_hardware, shipped_hardware
from eapc.workload import BitWidths, ConvWorkload, OperandDensities, StreamWorkload

EYERISS = load_hardware("eyeriss")
TPU = load_hardware("tpu-v1")
CPU = load_hardware("mobile-cpu")


def at(bits: int, work: ConvWorkload) -> ConvWorkload:
    return replace(work, bits=BitWidths(bits, bits, bits))


def test_psums_keep_the_machines_width_or_the_ofmaps() -> None:
    assert Widths.of(BitWidths(4, 8, 8), 16, 16) == Widths(16, 4, 8, 8, psum=16)
    assert Widths.of(BitWidths(ofmap=32), 16, 24) == Widths(16, 16, 16, 32, psum=32)
    assert Widths(16, 4, 8, 8, 24).words("psum") == 1.5


def test_macs_of_own_widths_have_a_width_of_their_own() -> None:
    assert mac_bits(BitWidths(4, 16), 8) == 8
    assert mac_bits(BitWidths(), 8) is None


def test_scratch_pads_hold_one_operand_per_word() -> None:
    """224, 12 and 24 words: as many operands of 4 to 16 bits, half as many of 17 to 32."""
    full = Pads(224, 12, 24)
    assert Pads.of(EYERISS, Widths.of(BitWidths(16, 16, 16), 16, 16)) == full
    assert Pads.of(EYERISS, Widths.of(BitWidths(4, 8, 8), 16, 16)) == full
    assert Pads.of(EYERISS, Widths.of(BitWidths(17, 32, 32), 16, 16)) == Pads(112, 6, 12)


def test_pads_narrower_than_an_operand_are_a_mapping_error() -> None:
    small = variant(EYERISS, machine__psum_spad_words=1)
    work = ConvWorkload(1, 1, 4, 4, 4, 4)
    assert execute(at(16, work), small).cycles
    with pytest.raises(MappingError, match="scratch pad"):
        execute(at(32, work), small)


def banked(banks: int) -> HardwareModel:
    """Eyeriss with banks of 64 bytes."""
    glb = {"energy_mac_units_per_word": 6, "size_bytes": 64 * banks, "bank_bytes": 64}
    return variant(EYERISS, memories__glb=glb)


@pytest.mark.parametrize(("bits", "filters"), [(8, 6), (16, 4), (32, 0)])
def test_filters_beside_ifmaps_by_hand(bits: int, filters: int) -> None:
    """4 banks; 64 ifmap elements take 1, 2 or 4 of them; a filter's 16 psums 32 bytes or 64."""
    nest = next(nests(at(bits, ConvWorkload(1, 1, 8, 4, 1, 16)), EYERISS))
    nest = nest._replace(room=Room.of(banked(4), nest.widths))
    assert filters_that_fit(nest, 1, 1, np.array([4])) == [filters]


def test_a_layer_fits_the_buffer_at_8_bits_only() -> None:
    """12 rows of 12 columns for one ofmap word: 5 banks of 32 words, or 3 of 64; psums take 1."""
    work = ConvWorkload(1, 1, 1, 1, 1, 1, filter_rows=12, filter_columns=12)
    assert isinstance(execute(at(8, work), banked(4)).mapping, RowStationaryMapping)
    with pytest.raises(MappingError, match=r"memories\.glb"):
        execute(at(16, work), banked(4))
    assert execute(at(16, work), banked(6)).cycles


def test_a_layer_fits_a_systolic_buffer_at_half_the_bits_only() -> None:
    """64 x 10 ifmap and 64 x 8 ofmap words; weights stream past."""
    machine = variant(TPU, memories__buffer__size_bytes=64 * 10 + 64 * 8)
    work = ConvWorkload(1, 1, 8, 10, 8, 8)
    whole, halves = execute(at(8, work), machine), execute(at(16, work), machine)
    assert isinstance(whole.mapping, SystolicMapping)
    assert isinstance(halves.mapping, SystolicMapping)
    assert whole.mapping.tile.e_ofmap_rows == 8
    assert halves.mapping.tile.e_ofmap_rows <= 4
    assert halves.accesses["dram"].ifmap == 2 * whole.accesses["dram"].ifmap == 2 * 640
    assert halves.accesses["accumulators"] == whole.accesses["accumulators"]  # 32 bits


def test_accumulators_too_narrow_for_a_wide_ofmap_are_a_mapping_error() -> None:
    machine = variant(TPU, memories__accumulators__size_bytes=4 * 256)
    work = ConvWorkload(1, 1, 8, 8, 4, 4)
    assert execute(at(32, work), machine).cycles
    with pytest.raises(MappingError, match="accumulators"):
        execute(at(64, work), machine)


def test_caches_hold_tiles_by_their_bits() -> None:
    """128 x 512 weights: half of the 512 KiB of L2 in float32, an eighth at 8 bits."""
    work = ConvWorkload(1, 1, 512, 512, 16, 16)
    wide, narrow = execute(at(32, work), CPU), execute(at(8, work), CPU)
    assert isinstance(narrow.mapping, dict)
    tile = next(iter(narrow.mapping.values())).tile
    positions = tile.n_ifmaps * tile.e_ofmap_rows * tile.f_ofmap_columns
    held = 8 * tile.c_channels * (positions + tile.m_filters) + 32 * positions * tile.m_filters
    assert 4 * held > 8 * 524288 >= held  # at 32 bits the tile would not fit
    assert narrow.accesses["dram"].total < wide.accesses["dram"].total / 4


def test_a_bus_limited_layer_takes_half_the_cycles_at_half_the_bits() -> None:
    """1 x 1 filters on one position: every weight is used once, so the DRAM's port decides."""
    work = ConvWorkload(1, 1, 4096, 4096, 1, 1)
    full, half = execute(at(8, work), TPU), execute(at(4, work), TPU)
    assert full.cycles == (4096 * 4096 + 2 * 4096) * 8 / 388
    assert half.cycles == full.cycles / 2


def test_networks_pass_operands_by_their_bits() -> None:
    """A filter network of 16 bits: 4096 weights take as many cycles, then half, at serial loads."""
    machine = variant(EYERISS, machine__filter_network_bits=16, machine__ifmap_network_bits=1024)
    work = ConvWorkload(1, 1, 64, 64, 1, 1)
    cycles = {bits: execute(at(bits, work), machine).cycles or 0.0 for bits in (8, 16, 32)}
    assert 4096 < cycles[16] < 1.2 * 4096
    assert 2048 < cycles[8] < 1.4 * 2048
    assert 8192 < cycles[32] < 1.2 * 8192


def test_narrow_feature_maps_live_where_wide_ones_do_not_fit() -> None:
    """300 000 words each way exceed 512 KiB of SRAM in bytes, not in half of them."""
    controller = load_hardware("microcontroller")
    outside = controller.machine.route("ifmap")[0]
    stream = StreamWorkload(1, ifmap_words=300_000, ofmap_words=300_000)
    narrow = replace(stream, bits=BitWidths(ifmap=4, ofmap=4))
    assert execute(stream, controller).accesses[outside].total == 600_000
    assert outside not in execute(narrow, controller).accesses


def energy(execution: Execution, hardware: HardwareModel) -> float:
    """What memories cost."""
    return sum(
        words.total * hardware.memories[level].energy_mac_units_per_word
        for level, words in execution.accesses.items()
    )


def aim(execution: Execution, hardware: HardwareModel) -> float:
    """What the mapping was chosen for, as far as it is chosen exactly.

    `throughput` aims at DRAM words alone. Levels of a cache hierarchy are chosen one by one, so
    only what passes into the outermost of them is as cheap as can be.
    """
    route = hardware.machine.route("ifmap")
    if hardware.dataflow == "cache_hierarchy":
        return execution.accesses[route[0]].total
    if hardware.objective == "throughput":
        return execution.accesses["dram"].total
    return energy(execution, hardware)


layers = st.builds(
    ConvWorkload,
    batch=st.integers(1, 4),
    groups=st.sampled_from([1, 1, 2, 8]),
    filters_per_group=st.integers(1, 150),
    channels_per_group=st.integers(1, 150),
    ofmap_rows=st.integers(1, 40),
    ofmap_columns=st.integers(1, 40),
    filter_rows=st.integers(1, 5),
    filter_columns=st.integers(1, 5),
    stride_rows=st.integers(1, 2),
    stride_columns=st.integers(1, 2),
)


@pytest.mark.parametrize("machine", shipped_hardware())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(layers)
def test_narrower_operands_never_cost_more(machine: str, work: ConvWorkload) -> None:
    hardware = load_hardware(machine)
    costs = [aim(execute(at(bits, work), hardware), hardware) for bits in (4, 8, 16, 32)]
    assert all(a <= b * (1 + 1e-9) for a, b in pairwise(costs))


@pytest.mark.parametrize("machine", shipped_hardware())
def test_a_width_of_a_word_is_no_width_of_its_own(machine: str) -> None:
    hardware = load_hardware(machine)
    work = ConvWorkload(2, 1, 24, 16, 14, 14, 3, 3)
    plain, stated = execute(work, hardware), execute(at(hardware.word_bits, work), hardware)
    assert stated == replace(plain, mac_bits=float(hardware.word_bits))


PEAK = {
    "eyeriss": 168,
    "eyeriss-jssc2017": 168,
    "isca16-baseline": 256,
    "tpu-v1": 65536,
    "nvdla-like": 1024,
    "simba-like": 1024,
    "ethos-u55-128": 128,
    "ethos-u55-256": 256,
}
"""MACs a cycle of the machines that are arrays."""


@pytest.mark.parametrize("machine", PEAK)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(layers)
def test_no_array_is_used_beyond_its_peak(machine: str, work: ConvWorkload) -> None:
    done = execute(work, load_hardware(machine))
    assert done.cycles is not None
    assert done.executed_macs <= done.cycles * PEAK[machine] * (1 + 1e-9)


@pytest.mark.parametrize("machine", shipped_hardware())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(layers, st.floats(0, 1), st.floats(0, 1))
def test_larger_layers_never_cost_less_nor_zeros_more(
    machine: str, work: ConvWorkload, one: float, other: float
) -> None:
    hardware = load_hardware(machine)

    def cost(**changes: Any) -> float:
        return aim(execute(replace(work, **changes), hardware), hardware)

    whole = cost()
    if getattr(hardware.machine, "filling", None) is None:  # which goes before what it costs
        assert whole <= cost(batch=2 * work.batch) * (1 + 1e-9)
        assert whole <= cost(filters_per_group=2 * work.filters_per_group) * (1 + 1e-9)
        assert whole <= cost(channels_per_group=2 * work.channels_per_group) * (1 + 1e-9)
    sparse, dense = (OperandDensities(d, d, d) for d in sorted((one, other)))
    assert 0 <= cost(densities=sparse) <= cost(densities=dense) * (1 + 1e-9)
