"""Row-stationary counts by hand, published tables, and the search against brute force."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eapc.dataflow import (
    Accesses,
    Execution,
    MappingError,
    RowStationaryMachine,
    RowStationaryMapping,
    execute,
)
from eapc.dataflow.row_stationary_nest import (
    nests,
    pe_sets,
)
from eapc.hardware import HardwareModel, load_hardware
from eapc.workload import ConvWorkload, OperandDensities

EYERISS = load_hardware("eyeriss")
CHIP = load_hardware("eyeriss-jssc2017")

# groups, filters and channels per group, ofmap rows and columns, filter rows and columns, stride
SHAPES = {
    "CONV1": (1, 96, 3, 55, 55, 11, 11, 4),
    "CONV2": (2, 128, 48, 27, 27, 5, 5, 1),
    "CONV3": (1, 384, 256, 13, 13, 3, 3, 1),
    "CONV4": (2, 192, 192, 13, 13, 3, 3, 1),
    "CONV5": (2, 128, 192, 13, 13, 3, 3, 1),
    "FC6": (1, 4096, 9216, 1, 1, 1, 1, 1),
    "FC7": (1, 4096, 4096, 1, 1, 1, 1, 1),
    "FC8": (1, 1000, 4096, 1, 1, 1, 1, 1),
}
# m, n, e, p, q, r, t as published; CONV3 as its measured buffer traffic implies
MAPPINGS = {
    "CONV1": (96, 1, 7, 16, 1, 1, 2),
    "CONV2": (64, 1, 27, 16, 2, 1, 1),
    "CONV3": (64, 4, 13, 16, 3, 2, 2),
    "CONV4": (64, 4, 13, 16, 3, 2, 2),
    "CONV5": (64, 4, 13, 16, 3, 2, 2),
}
RECALLED_CONV3 = (64, 4, 13, 16, 4, 1, 4)
# zeros of ifmap and of ofmap (read elsewhere), buffer MB, DRAM MB, active PEs, ms: batch 4, 200 MHz
TABLE = {
    "CONV1": (0.0001, 0.5102, 18.5, 5.0, 154, 16.5),
    "CONV2": (0.387, 0.8066, 77.6, 4.0, 135, 39.2),
    "CONV3": (0.725, 0.7244, 50.2, 3.0, 156, 21.8),
    "CONV4": (0.793, 0.7018, 37.4, 2.1, 156, 16.0),
    "CONV5": (0.776, 0.905, 24.9, 1.3, 156, 10.0),
}


def layer(name: str, batch: int, densities: OperandDensities | None = None) -> ConvWorkload:
    groups, filters, channels, e, f, r, s, stride = SHAPES[name]
    extents = (groups, filters, channels, e, f, r, s, stride, stride)
    return ConvWorkload(batch, *extents, densities=densities or OperandDensities())


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


def pinned(name: str, mapping: tuple[int, ...] | None = None) -> HardwareModel:
    _, filters, channels, rows, columns, filter_rows, filter_columns, _ = SHAPES[name]
    shape = {
        "filters_per_group": filters,
        "channels_per_group": channels,
        "ofmap_rows": rows,
        "ofmap_columns": columns,
        "filter_rows": filter_rows,
        "filter_columns": filter_columns,
    }
    tiles = dict(zip("mnepqrt", mapping or MAPPINGS[name], strict=True))
    return variant(CHIP, machine__mappings=({"layer": shape, **tiles},))


def tiles_of(execution: Execution) -> tuple[int, ...]:
    mapping = execution.mapping
    assert isinstance(mapping, RowStationaryMapping)
    n, e, m, *others = mapping.tiles
    return (m, n, e, *others)


def energy(execution: Execution, hardware: HardwareModel) -> float:
    levels = hardware.memories
    return execution.executed_macs + sum(
        words.total * levels[level].energy_mac_units_per_word
        for level, words in execution.accesses.items()
    )


def test_conv2_by_hand() -> None:
    densities = OperandDensities(weights=0.3, ifmap=0.5, ofmap=0.25)
    done = execute(layer("CONV2", 4, densities), pinned("CONV2"))
    ofmap = 4 * 256 * 27 * 27
    ifmap = 4 * 96 * 31 * 31
    weights = 256 * 48 * 25 * 4  # read for each of 4 batches of one ifmap
    macs = ofmap * 48 * 25
    dram = done.accesses["dram"]
    assert dram.weights == weights
    assert dram.ifmap == pytest.approx(2 * ifmap * (4 / 3) * 0.5, rel=1e-6)
    assert dram.ofmap == pytest.approx(ofmap * (4 / 3) * 0.25 / (1 - 0.75**32))
    assert done.accesses["glb"] == Accesses(0, ifmap * 8, 2 * ofmap * 24)
    assert done.accesses["network"] == Accesses(
        weights * 27, 4 * 96 * 5 * 27 * 31 * 8, ofmap * 24 * (5 + 1)
    )
    assert done.accesses["rf"] == Accesses(macs / 2, macs, macs)
    assert done.executed_macs == macs / 2
    assert done.cycles == 2 * 4 * 8 * 24 * (16 * 2 * 5 * 27 + 16 * 2 * 5 * 5 / 4)
    assert done.active_pes == 5 * 27


def test_conv1_reads_overlapping_strips() -> None:
    done = execute(layer("CONV1", 4), pinned("CONV1"))
    rows = 7 * (6 * 4 + 11) + (5 * 4 + 11)  # seven strips of 7 ofmap rows, one of 6
    assert done.accesses["dram"].ifmap == 4 * 3 * rows * 227
    assert done.accesses["dram"].weights == 96 * 3 * 121 * 8 * 4


def test_eyeriss_skips_on_either_zero_and_codes_all_operands() -> None:
    densities = OperandDensities(weights=0.5, ifmap=0.4, ofmap=0.1)
    work = replace(layer("CONV3", 1, densities), unpadded_fraction=0.9)
    done = execute(work, EYERISS)
    executed = work.macs * 0.9 * 0.5 * 0.4
    assert done.executed_macs == pytest.approx(executed)
    assert done.accesses["rf"].total == pytest.approx(4 * executed)
    dram = done.accesses["dram"]
    assert dram.ofmap == pytest.approx(384 * 169 * (4 / 3) * 0.1 / (1 - 0.9**32))
    ifmap, weights = 256 * 15 * 15 * (4 / 3) * 0.4, 384 * 256 * 9 * 2 / 3
    assert dram.ifmap % ifmap == pytest.approx(0, abs=1)
    assert dram.weights % weights == pytest.approx(0, abs=1)


def test_eyeriss_leaves_full_feature_maps_raw_and_codes_full_weights() -> None:
    """At one zero in ten the code takes 1.24 words for one, at none 1.33."""
    work = layer("CONV3", 1, OperandDensities(weights=1.0, ifmap=0.9, ofmap=0.9))
    done = execute(work, EYERISS)
    assert done.accesses["dram"].ofmap == 384 * 169
    assert done.accesses["dram"].ifmap % (256 * 15 * 15) == 0
    assert done.accesses["dram"].weights % (384 * 256 * 9 * 4 / 3) == pytest.approx(0, abs=1)


def test_a_machine_without_skipping_runs_every_mac() -> None:
    machine = variant(EYERISS, zeros__skip_mac="none")
    work = layer("CONV5", 1, OperandDensities(0.1, 0.1, 0.1))
    assert execute(work, machine).executed_macs == work.macs


@pytest.mark.parametrize("share", [None, 0.5, 0.88, 0.99])
@pytest.mark.parametrize("name", TABLE)
def test_chip_rule_finds_the_published_mapping(name: str, share: float | None) -> None:
    filling = {"least_utilisation": share, "strips": "needed"} if share else None
    chip = variant(CHIP, machine__filling=filling)
    assert tiles_of(execute(layer(name, 4), chip)) == MAPPINGS[name]
    assert execute(layer(name, 4), chip).active_pes == TABLE[name][4]


@pytest.mark.parametrize("name", TABLE)
def test_chip_traffic_and_time_are_the_measured_ones(name: str) -> None:
    zeros_in, zeros_out, buffer_mb, dram_mb, pes, milliseconds = TABLE[name]
    done = execute(layer(name, 4, OperandDensities(1.0, 1 - zeros_in, 1 - zeros_out)), pinned(name))
    assert done.accesses["glb"].total * 2e-6 == pytest.approx(buffer_mb, rel=0.02)
    assert done.accesses["dram"].total * 2e-6 == pytest.approx(dram_mb, rel=0.10)
    assert done.active_pes == pes
    assert done.cycles is not None
    assert done.cycles / 200e3 == pytest.approx(milliseconds, rel=0.15)


def test_recalled_mapping_of_conv3_fits_all_but_its_buffer_traffic() -> None:
    done = execute(
        layer("CONV3", 4, OperandDensities(1, 0.275, 0.2756)), pinned("CONV3", RECALLED_CONV3)
    )
    assert done.accesses["dram"].total * 2e-6 == pytest.approx(3.0, rel=0.10)
    assert done.active_pes == 156
    assert done.accesses["glb"].total * 2e-6 > 1.3 * 50.2


def test_poster_energies_of_alexnet() -> None:
    ifmaps = [1 - TABLE[name][0] for name in TABLE]
    convs = sum(layer(n, 1).macs * d for n, d in zip(TABLE, ifmaps, strict=True))
    connected = sum(layer(n, 1).macs for n in ("FC6", "FC7", "FC8"))
    ifmaps += 3 * [(3.71e8 - convs) / connected]
    compressed = [0.84, 0.38, 0.35, 0.37, 0.37, 0.09, 0.09, 0.25]

    def per_image(weights: list[float]) -> float:
        works = [
            layer(name, 16, OperandDensities(w, i, 1.0))
            for name, w, i in zip(SHAPES, weights, ifmaps, strict=True)
        ]
        return sum(energy(execute(work, EYERISS), EYERISS) for work in works) / 16

    dense, pruned = per_image(8 * [1.0]), per_image(compressed)
    assert dense == pytest.approx(3.97e9, rel=0.12)
    assert pruned == pytest.approx(1.85e9, rel=0.12)
    assert pruned / dense == pytest.approx(0.47, abs=0.06)


def test_isca_dram_energies_of_alexnet() -> None:
    baseline = load_hardware("isca16-baseline")
    published = [2.46, 2.27, 2.02, 1.57, 1.05, 7.78, 3.39, 0.84]
    for name, value in zip(SHAPES, published, strict=True):
        dram = execute(layer(name, 16), baseline).accesses["dram"].total * 200e-9
        assert dram == pytest.approx(value, rel=0.18 if name in ("CONV1", "CONV2") else 0.05)


def test_sets_of_pes_wrap_around_the_array() -> None:
    assert pe_sets(CHIP.machine_as(RowStationaryMachine), 11, 7) == 2
    assert pe_sets(CHIP.machine_as(RowStationaryMachine), 5, 27) == 1
    assert pe_sets(CHIP.machine_as(RowStationaryMachine), 3, 13) == 4
    assert pe_sets(CHIP.machine_as(RowStationaryMachine), 3, 57) == 0


ODD_LAYERS = {
    "fully connected": ConvWorkload(64, 1, 21841, 25088, 1, 1),
    "depthwise": ConvWorkload(16, 960, 1, 1, 7, 7, 3, 3),
    "tall filter": ConvWorkload(1, 1, 768, 3, 14, 14, 16, 16, 16, 16),
    "large depthwise": ConvWorkload(1, 384, 1, 1, 14, 14, 31, 31),
    "strided 1x1": ConvWorkload(8, 1, 512, 256, 28, 28, 1, 1, 2, 2),
    "tokens": ConvWorkload(1, 1, 50257, 768, 512, 1),
    "one row": ConvWorkload(1, 1, 512, 1, 1, 79999, 1, 10, 1, 5),
    "wide image": ConvWorkload(1, 1, 64, 3, 1080, 8192, 3, 3),
    "dilated": ConvWorkload(1, 1, 256, 2048, 65, 65, 3, 3, 1, 1, 36, 36),
    "one word": ConvWorkload(1, 1, 1, 1, 1, 1),
}


@pytest.mark.parametrize("hardware", [EYERISS, CHIP], ids=lambda h: h.name)
@pytest.mark.parametrize("name", ODD_LAYERS)
def test_odd_layers_map_quickly_and_move_each_word_at_least_once(
    name: str, hardware: HardwareModel
) -> None:
    work = ODD_LAYERS[name]
    began = time.process_time()
    done = execute(work, hardware)
    assert time.process_time() - began < 2.0
    dram = done.accesses["dram"]
    assert dram.weights >= work.weight_words
    assert dram.ofmap >= work.ofmap_words
    assert 0 < done.active_pes <= 168
    assert all(words.total >= 0 for words in done.accesses.values())


def test_tall_and_wide_filters_are_folded_into_channels() -> None:
    mapping = execute(ODD_LAYERS["large depthwise"], EYERISS).mapping
    assert isinstance(mapping, RowStationaryMapping)
    loops = mapping.loops
    assert (loops.channels, loops.filter_rows, loops.filter_columns) == (9, 11, 11)


def test_rows_that_a_stride_skips_are_not_fetched() -> None:
    nest = next(nests(ODD_LAYERS["strided 1x1"], CHIP))
    assert nest.loops.rows_touched(28) == 28
    assert nest.loops.rows_fetched(28) == 28


def test_rows_that_strided_and_dilated_taps_share_are_fetched_once() -> None:
    work = ConvWorkload(1, 1, 1, 1, 4, 4, 3, 1, stride_rows=2, dilation_rows=3)
    nest = next(nests(work, CHIP))
    assert nest.loops.rows_touched(3) == 9  # 0 3 6, 2 5 8, 4 7 10
    assert nest.loops.rows_touched(4) == 11  # and 6 9 12, of which 6 is there already


def test_columns_are_divided_where_a_row_does_not_fit() -> None:
    mapping = execute(ODD_LAYERS["wide image"], CHIP).mapping
    assert isinstance(mapping, RowStationaryMapping)
    assert mapping.loops.batch > 1
    assert len(list(nests(layer("CONV2", 4), CHIP))) == 1


def test_energy_per_mac_of_wide_images_does_not_jump() -> None:
    per_mac = []
    for columns in (900, 1800, 2040, 2050, 4100):
        work = ConvWorkload(1, 1, 64, 64, 200, columns, 3, 3)
        per_mac.append(energy(execute(work, EYERISS), EYERISS) / work.macs)
    assert max(per_mac) == pytest.approx(min(per_mac), rel=0.03)


def test_sparser_layers_never_cost_more() -> None:
    costs = [
        energy(execute(layer("CONV4", 2, OperandDensities(d, 0.5, 0.5)), EYERISS), EYERISS)
        for d in np.linspace(0, 1, 11).tolist()
    ]
    assert costs == sorted(costs)


RECORDED = [
    ("CONV1", "eyeriss", 459126100.6583059, 1533312.0),
    ("CONV1", "eyeriss-jssc2017", 1053109768.0180415, 1533312.0),
    ("CONV3", "eyeriss", 557860416.9142112, 3079296.0),
    ("CONV3", "eyeriss-jssc2017", 1419948851.2040393, 2138112.0),
    ("FC7", "eyeriss", 1421128031.0079544, 4576770.0),
    ("FC7", "eyeriss-jssc2017", 3521886071.4669213, 4408320.0),
]


@pytest.mark.parametrize(("name", "machine", "cost", "cycles"), RECORDED)
def test_figures_stay_to_the_last_bit(name: str, machine: str, cost: float, cycles: float) -> None:
    hardware = load_hardware(machine)
    done = execute(layer(name, 2, OperandDensities(0.3, 0.6, 0.5)), hardware)
    assert (energy(done, hardware), done.cycles) == (cost, cycles)


def test_no_room_is_a_mapping_error() -> None:
    tiny = {"energy_mac_units_per_word": 6, "size_bytes": 4, "bank_bytes": 2}
    with pytest.raises(MappingError, match=r"memories\.glb: no room"):
        execute(layer("CONV2", 1), variant(EYERISS, memories__glb=tiny))


def test_pinned_mapping_that_does_not_fit_is_a_mapping_error() -> None:
    machine = variant(pinned("CONV2"), machine__psum_spad_words=8)
    with pytest.raises(MappingError, match=r"machine\.mappings: .* 16 psum_spad_words of 8"):
        execute(layer("CONV2", 4), machine)


def test_pinned_mapping_leaves_other_layers_alone() -> None:
    machine = pinned("CONV2")
    assert execute(layer("CONV3", 4), machine) == execute(layer("CONV3", 4), CHIP)
    assert tiles_of(execute(layer("CONV2", 1), machine))[1] == 1
