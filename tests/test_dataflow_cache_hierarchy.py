"""Cache-hierarchy counts by hand, a level's tile against walked loops, and what always holds."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_simulation import shapes, walk

from eapc.dataflow import Accesses, CacheMachine, Execution, MappingError, execute
from eapc.dataflow.cache_hierarchy import vector_instructions
from eapc.dataflow.cache_tiling import CacheRoom, TileChoice, Traffic, best_tile
from eapc.dataflow.execution import PerOperand, Widths
from eapc.dataflow.tiling import Extents
from eapc.hardware import HardwareModel, load_hardware
from eapc.workload import ConvWorkload, OperandDensities, StreamWorkload

CPU = load_hardware("mobile-cpu")
MCU = load_hardware("microcontroller")
CONNECTED = ConvWorkload(1, 1, 100, 60, 1, 1)


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


def energy(execution: Execution, hardware: HardwareModel) -> float:
    instruction = hardware.instruction_energy_mac_units or 0.0
    arithmetic = execution.executed_macs + execution.instructions * instruction
    return arithmetic + sum(
        words.total * hardware.memories[level].energy_mac_units_per_word
        for level, words in execution.accesses.items()
    )


def choices_of(execution: Execution) -> dict[str, TileChoice]:
    assert isinstance(execution.mapping, dict)
    return execution.mapping


def test_a_fully_connected_layer_streams_its_weights() -> None:
    done = execute(CONNECTED, CPU)  # 124 of 128 register words: 100 psums, 24 weights and inputs
    assert done.accesses["dram"] == Accesses(6000, 60, 100)
    assert done.accesses["l2"] == Accesses(2 * 6000, 2 * 60, 2 * 100)
    assert done.accesses["l1"] == Accesses(2 * 6000, 2 * 60, 2 * 100)
    assert done.accesses["registers"] == Accesses(7 * 1000 + 5000, 6000 + 60, 12000 + 100)
    assert done.instructions == 6000 / 4
    assert done.cycles == pytest.approx(done.accesses["dram"].total * 32 / 51)


def test_registers_block_a_matrix_product() -> None:
    work = ConvWorkload(1, 1, 4, 8, 2, 2)
    machine = variant(CPU, memories__registers__size_bytes=4 * (4 + 2 + 2))  # 2 x 2 psums
    done = execute(work, machine)
    tile = choices_of(done)["registers"].tile
    assert (tile.m_filters, tile.f_ofmap_columns) == (2, 2)
    assert done.accesses["l1"].weights == 32 + 2 * 32  # filled once, read for 2 blocks of columns
    assert done.accesses["l1"].ifmap == 32 + 2 * 32
    assert done.accesses["l1"].ofmap == 16 + 16


def test_taps_are_expanded_in_registers_only() -> None:
    work = ConvWorkload(1, 1, 1, 1, 4, 4, 3, 3)
    done = execute(work, CPU)
    assert done.accesses["dram"].ifmap == 36
    assert done.accesses["l1"].ifmap == 36 + 9 * 16


def test_psums_left_in_a_level_are_written_and_read_back() -> None:
    extents = Extents(1, filters=2, channels=4, rows=1, columns=2)
    room = CacheRoom(40, Widths(8, 8, 8, 8, 32), holds_weights=False)  # one psum and one ifmap word
    traffic = Traffic(weights=8.0, ifmap=8.0, ofmap=4.0)
    choice = best_tile(extents, traffic, room, PerOperand(1000.0, 0.0, 1.0))
    assert choice is not None
    assert choice.steps == (2, 2, 4)
    assert choice.words.weights == 8  # positions step fastest, so psums are left 4 times
    assert choice.words.ofmap == 4 * (1 + 2 * 4 * 3)
    cheap = best_tile(extents, traffic, room, PerOperand(1.0, 1.0, 1000.0))
    assert cheap is not None
    assert cheap.words.ofmap == 4
    assert cheap.words.weights == 2 * 8


def test_microcontroller_weights_come_from_flash_and_small_maps_stay() -> None:
    work = ConvWorkload(1, 1, 16, 8, 10, 10, 3, 3)
    done = execute(work, MCU)
    assert done.accesses["dram"].total == 0
    assert done.accesses["sram"].weights == 0
    assert done.accesses["flash"].weights >= work.weight_words
    assert done.accesses["flash"].ifmap == done.accesses["flash"].ofmap == 0
    assert done.accesses["sram"].ofmap >= work.ofmap_words
    assert list(choices_of(done)) == ["registers"]


def test_maps_that_exceed_sram_come_from_outside() -> None:
    work = ConvWorkload(1, 1, 64, 3, 112, 112, 7, 7, 2, 2)
    done = execute(work, MCU)
    assert done.accesses["dram"].ofmap == work.ofmap_words
    assert list(choices_of(done)) == ["sram", "registers"]


def test_streams_follow_their_routes() -> None:
    small = execute(StreamWorkload(5, ifmap_words=100, weight_words=6, ofmap_words=50), MCU)
    assert small.accesses["flash"] == Accesses(weights=6)
    assert small.accesses["sram"] == Accesses(ifmap=100, ofmap=50)
    assert "dram" not in small.accesses
    large = execute(StreamWorkload(5, ifmap_words=600_000, ofmap_words=1), MCU)
    assert large.accesses["dram"] == Accesses(ifmap=600_000, ofmap=1)


@pytest.mark.parametrize(
    ("work", "filled"),
    [
        (ConvWorkload(1, 1, 64, 3, 7, 7), 1.0),
        (ConvWorkload(1, 64, 1, 1, 7, 7, 3, 3), 1.0),
        (ConvWorkload(1, 1, 3, 3, 1, 1), 0.75),
        (ConvWorkload(1, 1, 1, 1, 1, 1), 0.25),
    ],
)
def test_vectors_span_the_loop_that_fills_them(work: ConvWorkload, filled: float) -> None:
    machine = CPU.machine_as(CacheMachine)
    assert vector_instructions(work, machine) == pytest.approx(work.macs / 4 / filled)


def test_no_room_is_a_mapping_error() -> None:
    tall = ConvWorkload(1, 1, 1, 1, 1, 1, 200, 200)
    with pytest.raises(MappingError, match=r"memories\.l1: no room for one ofmap word"):
        execute(tall, CPU)


small_layers = st.builds(
    Extents,
    batch=st.integers(1, 2),
    filters=st.integers(1, 3),
    channels=st.integers(1, 3),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    filter_rows=st.integers(1, 2),
    filter_columns=st.integers(1, 2),
    stride_rows=st.integers(1, 2),
)


widths_of_a_byte = st.builds(
    Widths,
    word=st.just(8),
    weights=st.sampled_from([3, 4, 8]),
    ifmap=st.sampled_from([4, 8, 16]),
    ofmap=st.sampled_from([4, 8]),
    psum=st.sampled_from([8, 16]),
)


def walked_costs(extents: Extents, room: CacheRoom, prices: PerOperand[float]) -> list[float]:
    costs, widths = [], room.widths
    for shape in shapes(extents):
        size = shape[0] * shape[1] * shape[2]
        for m in range(1, extents.filters + 1):
            for c in range(1, extents.channels + 1):
                held = m * c * extents.taps * widths.weights if room.holds_weights else 0
                for order in map("".join, permutations("pmc")):
                    walked = walk(extents, shape, m, c, order)
                    ifmap = walked.tile_words * c * widths.ifmap
                    if ifmap + held + widths.psum * size * m > room.bits:
                        break
                    ofmap = extents.filters * extents.positions
                    left = widths.ofmap + 2 * widths.psum * (walked.psum_leaves - 1)
                    bits = (
                        walked.weights * widths.weights,
                        walked.ifmap * widths.ifmap,
                        ofmap * left,
                    )
                    costs.append(sum(a * b / 8 for a, b in zip(bits, prices, strict=True)))
    return costs


@settings(max_examples=40, deadline=None)
@given(
    small_layers,
    st.builds(CacheRoom, st.integers(16, 480), widths_of_a_byte, st.booleans()),
    st.builds(PerOperand, *(st.floats(0.5, 8.0) for _ in range(3))),
)
def test_search_finds_what_walking_all_loops_finds(
    extents: Extents, room: CacheRoom, prices: PerOperand[float]
) -> None:
    whole = walk(
        extents,
        (extents.batch, extents.rows, extents.columns),
        extents.filters,
        extents.channels,
        "pmc",
    )
    traffic = Traffic(
        whole.weights * room.widths.words("weights"),
        whole.ifmap * room.widths.words("ifmap"),
        extents.filters * extents.positions * room.widths.words("ofmap"),
    )
    costs = walked_costs(extents, room, prices)
    choice = best_tile(extents, traffic, room, prices)
    if choice is None:
        assert not costs
        return
    words = (choice.words.weights, choice.words.ifmap, choice.words.ofmap)
    found = sum(a * b for a, b in zip(words, prices, strict=True))
    assert found == pytest.approx(min(costs))


layers = st.builds(
    ConvWorkload,
    batch=st.integers(1, 3),
    groups=st.integers(1, 2),
    filters_per_group=st.integers(1, 40),
    channels_per_group=st.integers(1, 40),
    ofmap_rows=st.integers(1, 20),
    ofmap_columns=st.integers(1, 20),
    filter_rows=st.integers(1, 3),
    filter_columns=st.integers(1, 3),
    stride_rows=st.integers(1, 2),
)


@settings(max_examples=80, deadline=None)
@given(layers, st.integers(400, 9000))
def test_room_never_costs_and_every_word_moves(work: ConvWorkload, l2_bytes: int) -> None:
    small = variant(CPU, memories__l2__size_bytes=l2_bytes)
    large = variant(CPU, memories__l2__size_bytes=2 * l2_bytes)
    tight, roomy = execute(work, small).accesses, execute(work, large).accesses
    assert roomy["dram"].total <= tight["dram"].total
    for level in ("dram", "l2", "l1", "registers"):
        assert tight[level].weights >= work.weight_words
        assert tight[level].ofmap >= work.ofmap_words
    whole = Extents.of(work)
    shape = (whole.batch, whole.rows, whole.columns)
    used = walk(whole, shape, whole.filters, whole.channels, "pmc").ifmap
    assert tight["dram"].ifmap >= work.groups * used


def test_denser_layers_never_cost_less() -> None:
    code = {
        "code": "run-length",
        "run_bits": 5,
        "level_bits": 32,
        "pairs_per_block": 1,
        "block_bits": 37,
        "raw_fallback": True,
    }
    coded = variant(CPU, zeros__skip_mac="either", compression__weights=code)
    costs = [
        energy(
            execute(
                ConvWorkload(
                    1, 1, 64, 64, 9, 9, 3, 3, densities=OperandDensities(d / 10, 0.5, 1.0)
                ),
                coded,
            ),
            coded,
        )
        for d in range(11)
    ]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]
