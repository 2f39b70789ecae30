"""Systolic counts by hand, the search against walked loops, and what must always hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_simulation import shapes, walk

from eapc.dataflow import Accesses, Execution, MappingError, SystolicMapping, execute
from eapc.dataflow.tiling import Extents
from eapc.hardware import HardwareModel, load_hardware
from eapc.workload import BitWidths, ConvWorkload, OperandDensities

TPU = load_hardware("tpu-v1")
NVDLA = load_hardware("nvdla-like")
SIMBA = load_hardware("simba-like")
LAYER = ConvWorkload(2, 1, 6, 5, 4, 4, 3, 3)


def variant(hardware: HardwareModel, **changes: Any) -> HardwareModel:
    """The machine with some fields changed; `__` stands for the dot of a path."""
    fields = hardware.model_dump(by_alias=True)
    for path, value in changes.items():
        *parents, last = path.split("__")
        section = fields
        for parent in parents:
            section = section[parent]
        section[last] = value
    return HardwareModel.model_validate(fields)


def array(hardware: HardwareModel, rows: int, columns: int, **changes: Any) -> HardwareModel:
    return variant(hardware, machine__array_rows=rows, machine__array_columns=columns, **changes)


def output_stationary(rows: int, columns: int, buffer_bytes: int = 1 << 20) -> HardwareModel:
    return array(
        NVDLA,
        rows,
        columns,
        machine__stationary="ofmap",
        memories__accumulators={"energy_mac_units_per_word": 1.0},
        memories__buffer__size_bytes=buffer_bytes,
    )


def energy(execution: Execution, hardware: HardwareModel) -> float:
    return execution.executed_macs * hardware.mac_energy_mac_units + sum(
        words.total * hardware.memories[level].energy_mac_units_per_word
        for level, words in execution.accesses.items()
    )


def mapping_of(execution: Execution) -> SystolicMapping:
    assert isinstance(execution.mapping, SystolicMapping)
    return execution.mapping


def test_weight_stationary_by_hand() -> None:
    machine = array(TPU, 16, 4, memories__accumulators__size_bytes=4 * 32 * 4)
    done = execute(LAYER, machine)  # 45 deep: 3 folds; 6 filters: 2 folds; 32 positions: 1 block
    macs, ofmap, weights = LAYER.macs, 2 * 6 * 16, 6 * 45
    assert done.accesses["dram"] == Accesses(weights, 2 * 5 * 36, ofmap)
    assert done.accesses["buffer"] == Accesses(0, 2 * 5 * 36 + 32 * 45 * 2, 2 * ofmap)
    assert done.accesses["accumulators"] == Accesses(0, 0, 2 * ofmap * 3 * 4)
    assert done.accesses["array"] == Accesses(macs + weights, macs, 4 * macs)
    assert done.cycles == 2 * 3 * max(32, 16) + 2 * 16 + 4 - 2
    assert done.active_pes == 16 * 4
    assert (mapping_of(done).depth_folds, mapping_of(done).filter_folds) == (3, 2)


def test_streamed_weights_are_read_for_every_block_of_positions() -> None:
    machine = array(TPU, 16, 4, memories__accumulators__size_bytes=4 * 4 * 10)  # 10 positions
    done = execute(LAYER, machine)
    assert mapping_of(done).weight_loads == 4
    assert done.accesses["dram"].weights == 4 * 6 * 45


def test_weights_of_one_fold_stay_for_all_positions() -> None:
    machine = array(TPU, 45, 6, memories__accumulators__size_bytes=4 * 6 * 10)
    assert execute(LAYER, machine).accesses["dram"].weights == 6 * 45


def test_buffered_weights_are_read_from_the_buffer_for_every_block() -> None:
    machine = array(NVDLA, 16, 4, memories__accumulators__size_bytes=4 * 4 * 10)
    done = execute(LAYER, machine)
    assert done.accesses["dram"].weights == 6 * 45
    assert done.accesses["buffer"] == Accesses(6 * 45 * 5, 2 * 5 * 36 + 32 * 45 * 2, 0)


def test_separate_weights_have_a_level_of_their_own() -> None:
    machine = array(SIMBA, 16, 4, memories__accumulators__size_bytes=3 * 4 * 10)
    done = execute(LAYER, machine)
    assert done.accesses["weight_buffer"] == Accesses(6 * 45 * 5, 0, 0)
    assert done.accesses["buffer"].weights == 0


def test_output_stationary_by_hand() -> None:
    done = execute(LAYER, output_stationary(8, 4))  # 32 positions: 4 blocks; 6 filters: 2 folds
    macs, ofmap, weights = LAYER.macs, 2 * 6 * 16, 6 * 45
    assert done.accesses["dram"] == Accesses(weights, 2 * 5 * 36, ofmap)
    assert done.accesses["buffer"] == Accesses(weights * 5, 2 * 5 * 36 + 32 * 45 * 2, 0)
    assert done.accesses["accumulators"] == Accesses(0, 0, 2 * macs * 4)
    assert done.accesses["array"] == Accesses(macs + 4 * weights, macs, 4 * ofmap)
    assert done.cycles == 2 * 4 * 45 + 2 * 8 + 4 - 2
    assert done.active_pes == 8 * 4


def test_serial_loading_fills_and_drains_every_fold() -> None:
    machine = array(
        TPU, 16, 4, machine__array_load="serial", memories__dram={"energy_mac_units_per_word": 1}
    )
    assert execute(LAYER, machine).cycles == 2 * 3 * (32 + 2 * 16 + 4 - 2)


def test_a_narrow_memory_bounds_the_time() -> None:
    machine = array(TPU, 16, 4, memories__dram__bits_per_cycle=1)
    done = execute(LAYER, machine)
    assert done.cycles == done.accesses["dram"].total * 8


def test_zeros_save_what_the_machine_says() -> None:
    sparse = replace(LAYER, densities=OperandDensities(0.5, 0.5, 1.0))
    assert execute(sparse, TPU).executed_macs == LAYER.macs
    done = execute(sparse, NVDLA)
    assert done.executed_macs == LAYER.macs / 4
    assert done.accesses["array"] == execute(LAYER, NVDLA).accesses["array"]
    gated = variant(NVDLA, zeros__skip_register_file=("weights", "ifmap", "ofmap"))
    assert execute(sparse, gated).accesses["array"].ifmap == LAYER.macs / 4


def test_strided_layers_take_their_share_of_the_time() -> None:
    """16 to 32 channels at 1x1: 2 folds of 16 columns on 16 rows, then 2 * 16 + 16 - 2 cycles."""
    dense = ConvWorkload(1, 1, 32, 16, 16, 16)
    assert execute(dense, NVDLA).cycles == 2 * 256 + 46
    for stride in (2, 3):
        strided = replace(dense, ofmap_rows=8, ofmap_columns=8, stride_rows=stride)
        strided = replace(strided, stride_columns=stride)
        done = execute(strided, NVDLA)
        assert done.cycles == 2 * 64 + 46
        assert done.accesses["dram"] == Accesses(16 * 32, 16 * 64, 32 * 64)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([TPU, NVDLA, SIMBA]),
    st.integers(1, 40),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 3),
    st.integers(1, 2),
)
def test_steps_between_words_never_slow_a_layer(
    hardware: HardwareModel,
    channels: int,
    ofmap: tuple[int, int],
    taps: tuple[int, int],
    strides: tuple[int, int],
    dilation: int,
    groups: int,
) -> None:
    """All reads of a layer of few words fit the buffer: time is that of its MACs at any stride."""
    dense = ConvWorkload(1, groups, 24, channels, *ofmap, *taps)
    spread = replace(dense, stride_rows=strides[0], stride_columns=strides[1])
    spread = replace(spread, dilation_rows=dilation, dilation_columns=dilation)
    if hardware is TPU:
        hardware = variant(TPU, memories__dram={"energy_mac_units_per_word": 542.0})
    quick, spreading = execute(dense, hardware), execute(spread, hardware)
    assert spreading.cycles == quick.cycles
    assert spreading.accesses["dram"].weights == quick.accesses["dram"].weights


def test_groups_run_one_by_one() -> None:
    """32 channels of 9 taps: 196 positions each through one column, then 2 * 9 + 1 - 2 cycles."""
    done = execute(ConvWorkload(1, 32, 1, 1, 14, 14, 3, 3), TPU)
    assert done.active_pes == 9
    assert done.cycles == 32 * 196 + 17


def test_groups_side_by_side_share_the_array() -> None:
    """9 taps on 32 rows: 3 channels at a time, 22 passes for 64, on 27 rows and 3 columns."""
    work = ConvWorkload(1, 64, 1, 1, 14, 14, 3, 3)
    beside = execute(work, SIMBA)
    assert beside.active_pes == 27
    assert beside.cycles == 22 * 196 + 2 * 27 + 3 - 2
    alone = execute(work, variant(SIMBA, machine__groups="one_by_one"))
    assert alone.cycles == 64 * 196 + 2 * 9 + 1 - 2
    assert alone.accesses == beside.accesses


def test_groups_without_room_side_by_side_run_one_by_one() -> None:
    deep = ConvWorkload(1, 4, 2, 8, 6, 6, 3, 3)  # 72 deep: a group takes more than 32 rows
    assert execute(deep, SIMBA).cycles == 4 * 3 * 36 + 2 * 32 + 2 - 2
    work = ConvWorkload(1, 64, 1, 1, 14, 14, 3, 3)
    small = variant(SIMBA, memories__buffer__size_bytes=256 + 196)  # one tile of ifmap and ofmap
    assert execute(work, small).active_pes == 9
    assert execute(work, small).accesses == execute(work, SIMBA).accesses


def test_groups_side_by_side_need_weights_that_stay() -> None:
    with pytest.raises(ValueError, match=r"machine\.groups: columns share the ifmap"):
        variant(output_stationary(8, 4), machine__groups="side_by_side")


def test_no_room_is_a_mapping_error() -> None:
    with pytest.raises(MappingError, match=r"memories\.buffer: no room .* 3 x 3 filters"):
        execute(LAYER, array(NVDLA, 16, 4, memories__buffer__size_bytes=20))


PRICES = {"dram": 542.0, "buffer": 8.0, "accumulators": 2.0, "array": 0.125}


def walked_costs(work: ConvWorkload, rows: int, columns: int, room: int, psums: int) -> list[float]:
    """Energy above the array of every tiling of a buffered weight-stationary machine."""
    layer, block = Extents.of(work), psums // columns
    least = min(layer.channels, -(-rows // layer.taps))
    folds = -(-layer.depth // rows)
    weights, ifmap = work.bits.weights or 8, work.bits.ifmap or 8
    costs = []
    for shape in shapes(layer):
        size = shape[0] * shape[1] * shape[2]
        for fold in range(1, -(-layer.filters // columns) + 1):
            m = min(fold * columns, layer.filters)
            for c, order in ((layer.channels, "pmc"), (layer.channels, "mpc"), (least, "pmc")):
                walked = walk(layer, shape, m, c, order)
                if walked.tile_words * c * ifmap + m * c * layer.taps * weights > 8 * room:
                    continue
                if c < layer.channels and size * -(-m // columns) > block:
                    continue
                tiles = -(-layer.batch // shape[0]) * -(-layer.rows // shape[1])
                loads = tiles * -(-layer.columns // shape[2]) * -(-size // block)
                if order == "mpc" and folds == 1 and m <= columns:
                    loads = 1
                entered = layer.filters * layer.depth * loads * weights / 8
                dram = walked.weights * weights / 8 + walked.ifmap * ifmap / 8
                buffered = dram + entered
                costs.append(
                    work.groups
                    * (PRICES["dram"] * dram + PRICES["buffer"] * buffered + 0.125 * entered)
                )
    return costs


small_layers = st.builds(
    ConvWorkload,
    batch=st.integers(1, 2),
    groups=st.integers(1, 2),
    filters_per_group=st.integers(1, 7),
    channels_per_group=st.integers(1, 5),
    ofmap_rows=st.integers(1, 4),
    ofmap_columns=st.integers(1, 4),
    filter_rows=st.integers(1, 3),
    filter_columns=st.integers(1, 2),
    stride_rows=st.integers(1, 2),
)


some_widths = st.builds(
    BitWidths, weights=st.sampled_from([None, 3, 4, 16]), ifmap=st.sampled_from([None, 4, 12])
)


@settings(max_examples=60, deadline=None)
@given(
    st.builds(replace, small_layers, bits=some_widths),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(10, 200),
    st.integers(1, 6),
)
def test_search_finds_what_walking_all_loops_finds(
    work: ConvWorkload, rows: int, columns: int, room: int, held: int
) -> None:
    machine = array(
        NVDLA,
        rows,
        columns,
        memories__buffer__size_bytes=room,
        memories__accumulators__size_bytes=4 * columns * held,
        **{f"memories__{level}__energy_mac_units_per_word": x for level, x in PRICES.items()},
    )
    costs = walked_costs(work, rows, columns, room, columns * held)
    if not costs:
        with pytest.raises(MappingError):
            execute(work, machine)
        return
    done = execute(work, machine)
    streamed = work.macs // work.filters_per_group * -(-work.filters_per_group // columns)
    weights, ifmap = (work.bits.weights or 8) / 8, (work.bits.ifmap or 8) / 8
    found = PRICES["dram"] * (done.accesses["dram"].total - work.ofmap_words)
    found += PRICES["buffer"] * (done.accesses["buffer"].total - streamed * ifmap)
    found += PRICES["array"] * (done.accesses["array"].weights - work.macs * weights)
    assert found == pytest.approx(min(costs))


@settings(max_examples=80, deadline=None)
@given(small_layers, st.sampled_from([TPU, NVDLA, SIMBA]), st.integers(300, 3000))
def test_room_never_costs_and_every_word_moves(
    work: ConvWorkload, hardware: HardwareModel, room: int
) -> None:
    small = array(hardware, 4, 4, memories__buffer__size_bytes=room, objective="throughput")
    large = variant(small, memories__buffer__size_bytes=2 * room)
    tight, roomy = execute(work, small), execute(work, large)
    assert roomy.accesses["dram"].total <= tight.accesses["dram"].total
    cheap, cheaper = (variant(machine, objective="energy") for machine in (small, large))
    assert energy(execute(work, cheaper), large) <= energy(execute(work, cheap), small) * (1 + 1e-9)
    used = Extents.of(work)
    whole = walk(used, (used.batch, used.rows, used.columns), used.filters, used.channels, "pmc")
    dram = tight.accesses["dram"]
    assert dram.weights >= work.weight_words
    assert dram.ifmap >= work.groups * whole.ifmap
    assert dram.ofmap == work.ofmap_words


def test_denser_layers_never_cost_less() -> None:
    coded = variant(
        NVDLA,
        compression__weights={
            "code": "run-length",
            "run_bits": 3,
            "level_bits": 8,
            "pairs_per_block": 5,
            "block_bits": 64,
            "raw_fallback": True,
        },
    )
    work = ConvWorkload(1, 1, 256, 256, 14, 14, 3, 3)
    costs = [
        energy(execute(replace(work, densities=OperandDensities(d / 10, 0.7, 1.0)), coded), coded)
        for d in range(11)
    ]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]
