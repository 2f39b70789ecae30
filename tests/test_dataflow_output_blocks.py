"""Blocks of the ofmap: cycles and accesses by hand, the search against loops, Vela's estimates."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eapc.dataflow import Accesses, Execution, MappingError, execute
from eapc.dataflow.output_blocks import BlockMapping
from eapc.hardware import HardwareModel, load_hardware
from eapc.workload import BitWidths, ConvWorkload, OperandDensities, StreamWorkload

PROJECT = Path(__file__).parents[1]
U55 = load_hardware("ethos-u55-128")
LARGE = load_hardware("ethos-u55-256")
DENSE = ConvWorkload(1, 1, 8, 16, 4, 4, 3, 3)


def variant(hardware: HardwareModel, section: str = "machine", **fields: Any) -> HardwareModel:
    """The machine with some fields of a section (or of the buffer, `buffer`) changed."""
    document = hardware.model_dump(by_alias=True)
    parent = document["memories"] if section in document["memories"] else document
    parent[section] |= fields
    return HardwareModel.model_validate(document)


def mapping_of(done: Execution) -> BlockMapping:
    assert isinstance(done.mapping, BlockMapping)
    return done.mapping


# --- by hand ---------------------------------------------------------------------------------


def test_a_dense_layer() -> None:
    """16 channels of 9 taps in 2 * 3 steps, 8 micro-blocks of 4 cycles, then 128 half cycles."""
    done = execute(DENSE, U55)
    assert mapping_of(done) == BlockMapping(4, 4, 8, blocks=1, steps=6, order="part-kernel")
    assert done.cycles == 6 * 32 + 64
    assert done.accesses["flash"] == Accesses(weights=1152)
    assert done.accesses["sram"] == Accesses(0, 16 * 36, 128)
    assert done.accesses["buffer"] == Accesses(0, 16 * 36 + DENSE.macs / 8, 2 * 128 * 6 * 4)
    assert done.active_pes == 128


def test_a_depthwise_layer_uses_one_lane_of_eight() -> None:
    """9 taps in 3 steps for 2 micro-blocks of channels; nothing is summed over channels."""
    done = execute(ConvWorkload(1, 16, 1, 1, 4, 4, 3, 3), U55)
    assert mapping_of(done) == BlockMapping(4, 4, 16, blocks=1, steps=3, order="depthwise")
    assert done.cycles == 2 * 3 * 32 + 16 * 16 / 2
    assert done.active_pes == 16
    assert done.accesses["sram"].ifmap == 16 * 36
    macs = 16 * 16 * 9
    assert done.accesses["buffer"] == Accesses(0, 16 * 36 + macs, 2 * 16 * 16 * 3 * 4)


def test_weights_of_one_position_come_at_the_decoders_rate() -> None:
    """64 channels in 2 steps for 2 micro-blocks of filters, 32 cycles each; 16 scales of 2.5."""
    done = execute(ConvWorkload(1, 1, 16, 64, 1, 1), U55)
    assert done.cycles == 2 * 2 * 32 + 16 * 2.5
    slow = variant(U55, weights_per_cycle=2)
    assert execute(ConvWorkload(1, 1, 16, 64, 1, 1), slow).cycles == 2 * 2 * 128 + 16 * 2.5


def test_strided_pointwise_layers_take_about_their_share() -> None:
    """One step of 32 channels; outputs leave in half a cycle, in blocks of 64 positions or 32.

    Blocks of the ifmap are read whole: twice 7 x 15 places for 4 x 8 positions, which leaves no
    banks for 8 x 8 of them.
    """
    dense = execute(ConvWorkload(1, 1, 32, 16, 16, 16), U55)
    assert mapping_of(dense).blocks == 4
    assert dense.cycles == 4 * 64 * 32 / 2 + 4 * 32 * 4
    assert dense.accesses["sram"] == Accesses(512 * (1 + 4), 16 * 256, 32 * 256)
    strided = execute(ConvWorkload(1, 1, 32, 16, 8, 8, 1, 1, 2, 2), U55)
    assert strided.cycles == 2 * 32 * 32 / 2 + 4 * 16 * 4
    assert strided.accesses["sram"] == Accesses(512 * (1 + 2), 16 * 14 * 15, 32 * 64)


def test_rows_of_a_product_lie_along_a_row() -> None:
    product = execute(ConvWorkload(8, 1, 16, 32, 1, 1), U55)
    row = execute(ConvWorkload(1, 1, 16, 32, 1, 8), U55)
    assert (product.cycles, product.accesses) == (row.cycles, row.accesses)
    assert mapping_of(product).columns == 8


def test_a_single_row_has_all_positions_of_a_micro_block() -> None:
    """Blocks of 64 columns are 16 micro-blocks of 1 x 4, not 32 of 2 x 2; 5 taps of 32 channels."""
    done = execute(
        ConvWorkload(1, 1, 8, 32, 1, 128, 1, 5), variant(LARGE, "sram", bits_per_cycle=None)
    )
    assert (mapping_of(done).columns, mapping_of(done).blocks) == (64, 2)
    assert done.cycles == 2 * 5 * 16 * 4 + 64 * 8 / 4


def test_groups_run_one_by_one() -> None:
    one = execute(DENSE, U55)
    done = execute(replace(DENSE, groups=3), U55)
    assert done.cycles == 3 * (one.cycles or 0)
    assert done.accesses["sram"].ifmap == 3 * one.accesses["sram"].ifmap
    assert mapping_of(done).blocks == 3


def test_large_filters_are_read_in_pieces() -> None:
    """9 taps of a row in two pieces: 8 places and 11 - 1 more for four columns, twice."""
    done = execute(ConvWorkload(1, 1, 8, 8, 1, 4, 1, 9), U55)
    assert done.accesses["sram"].ifmap == 2 * (3 + 8) * 8


def test_wide_operands_halve_the_products() -> None:
    """16 channels of one tap are a whole step; a kernel is taken two taps at a time."""
    wide = replace(DENSE, bits=BitWidths(8, 16, 8))
    assert mapping_of(execute(wide, U55)).steps == 9
    deep = ConvWorkload(1, 1, 8, 64, 4, 4, 3, 3, bits=BitWidths(8, 16, 8))
    assert mapping_of(execute(deep, U55)).steps == 4 * 9
    assert mapping_of(execute(replace(deep, bits=BitWidths()), U55)).steps == 2 * 9


def test_a_slow_flash_bounds_the_time() -> None:
    work = ConvWorkload(1, 1, 128, 640, 1, 1)
    assert execute(work, U55).cycles == 16 * 20 * 32 + 128 * 2.5
    assert execute(work, variant(U55, "flash", bits_per_cycle=8)).cycles == 640 * 128


def test_zeros_save_nothing() -> None:
    sparse = replace(DENSE, densities=OperandDensities(0.1, 0.1, 0.1))
    assert execute(sparse, U55).cycles == execute(DENSE, U55).cycles
    assert execute(sparse, U55).executed_macs == DENSE.macs


@pytest.mark.parametrize(
    ("load", "cycles"),
    [
        (StreamWorkload(1000, 2000, 0, 1000), 1500.0),  # operands meet
        (StreamWorkload(2304, 2304, 0, 256), 576.0),  # taps of a pool
        (StreamWorkload(1000, 1000, 0, 1000), 500.0),  # outputs
        (StreamWorkload(0, 800, 0, 800), 200.0),  # a copy, 8 bytes a cycle
        (StreamWorkload(1000, 0, 0, 0), 0.0),  # fused
        (StreamWorkload(2000, 1000, 0, 1000, requantises=True), 0.0),
    ],
)
def test_streams(load: StreamWorkload, cycles: float) -> None:
    done = execute(load, U55)
    assert done.cycles == cycles
    if load.requantises:
        assert not done.accesses


def test_no_room_is_a_mapping_error() -> None:
    small = variant(U55, "buffer", size_bytes=8192)
    with pytest.raises(MappingError, match=r"memories\.buffer: no room .* 3 x 3 filters"):
        execute(DENSE, small)


def test_memories_are_checked() -> None:
    with pytest.raises(ValueError, match=r"memories\.buffer\.bank_bytes: .* are given banks"):
        variant(U55, "buffer", bank_bytes=None)
    with pytest.raises(ValueError, match=r"memories\.sram has no size_bytes"):
        variant(U55, "sram", size_bytes=None)


# --- the search ------------------------------------------------------------------------------

small_layers = st.builds(
    ConvWorkload,
    batch=st.integers(1, 2),
    groups=st.just(1),
    filters_per_group=st.integers(1, 70),
    channels_per_group=st.integers(1, 70),
    ofmap_rows=st.integers(2, 9),
    ofmap_columns=st.integers(1, 9),
    filter_rows=st.integers(1, 3),
    filter_columns=st.integers(1, 3),
    stride_rows=st.integers(1, 3),
    stride_columns=st.integers(1, 3),
)


def walked(work: ConvWorkload, kib: int) -> tuple[float, float] | None:
    """Least words of SRAM that blocks differ in, then cycles, by going through all blocks."""
    taps, channels = work.filter_rows * work.filter_columns, work.channels_per_group
    deep = taps * math.ceil(channels / 32)
    part = math.ceil(taps / 4) * math.ceil(channels / 8)
    depth = 8 * min(math.ceil(channels / 8), 2 if part < deep else 4)
    found = []
    whole = math.ceil(work.filters_per_group / 8) * 8
    for e, f, m in itertools.product(range(1, 10), range(2, 12, 2), range(8, whole + 1, 8)):
        if e > work.ofmap_rows or f > work.ofmap_columns + 1 or (m % 16 and m < whole):
            continue
        rows = [range(at, min(at + e, work.ofmap_rows)) for at in range(0, work.ofmap_rows, e)]
        columns = [
            range(at, min(at + f, work.ofmap_columns)) for at in range(0, work.ofmap_columns, f)
        ]
        high = (e - 1) * work.stride_rows + work.filter_rows
        wide = (f - 1) * work.stride_columns + work.filter_columns
        banks = math.ceil(2 * math.ceil(high * wide * depth / 1024) / 4) * 4
        banks += math.ceil(2 * math.ceil(e * f * m * 4 / 1024) / 8) * 8
        if banks > kib:
            continue
        along = math.ceil(work.filters_per_group / m)
        read = work.batch * along * channels
        read *= sum((len(r) - 1) * work.stride_rows + work.filter_rows for r in rows)
        read *= sum((len(c) - 1) * work.stride_columns + work.filter_columns for c in columns)
        positions = work.batch * len(rows) * len(columns)
        again = work.weight_words * positions if positions > 1 else 0
        tall, broad = min(e, work.ofmap_rows), min(f, work.ofmap_columns)
        filters = min(m, work.filters_per_group)
        step = max(32, 4 * tall * math.ceil(broad / 2))
        busy = math.ceil(filters / 8) * min(part, deep) * step
        leaving = filters * max(tall * broad / 2, 2.5)
        cycles = positions * along * max(busy, leaving) + min(busy, leaving)
        found.append((read + again, cycles))
    return min(found, default=None)


@settings(max_examples=80, deadline=None)
@given(small_layers, st.integers(12, 24))
def test_the_block_is_the_best_of_all(work: ConvWorkload, kib: int) -> None:
    machine = variant(U55, "buffer", size_bytes=kib * 1024)
    free = {"energy_mac_units_per_word": 0.0}
    for memory in ("flash", "sram"):
        machine = variant(machine, memory, **free, bits_per_cycle=None)
    least = walked(work, kib)
    if least is None:
        with pytest.raises(MappingError):
            execute(work, machine)
        return
    done = execute(work, machine)
    sram = done.accesses["sram"]
    weights = sram.weights - work.weight_words if sram.weights else 0.0
    assert (sram.ifmap + weights, done.cycles) == pytest.approx(least)


@settings(max_examples=60, deadline=None)
@given(small_layers, st.integers(1, 2))
def test_more_work_never_takes_less_time(work: ConvWorkload, more: int) -> None:
    done = execute(work, U55)
    assert (done.cycles or 0) * 128 >= work.macs
    deeper = replace(work, channels_per_group=work.channels_per_group + 8 * more)
    assert mapping_of(execute(deeper, U55)).steps >= mapping_of(done).steps


# --- against Vela ----------------------------------------------------------------------------


def compared(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "benchmarks/vela_cycles.py"), *arguments]
    environment = {**os.environ, "EAPC_DATA": str(data)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_networks_take_the_cycles_that_the_compiler_estimates(
    shared_data: Path, tmp_path: Path
) -> None:
    if not (shared_data / "references/vela_cycles.csv").is_file():
        pytest.skip("no references/vela_cycles.csv under $EAPC_DATA")
    done = compared("--write", str(tmp_path / "page.md"), data=shared_data)
    assert done.returncode == 0, done.stdout + done.stderr
    committed = (PROJECT / "docs/ethos-u55.md").read_text(encoding="utf-8")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == committed, (
        "run: python benchmarks/vela_cycles.py --write docs/ethos-u55.md"
    )


def test_command_says_that_estimates_are_absent(tmp_path: Path) -> None:
    done = compared(data=tmp_path)
    assert done.returncode == 0
    assert "EAPC_DATA" in done.stdout
