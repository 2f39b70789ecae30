"""What stays on chip, worked out by hand on small machines, and what always holds."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from builders import Array, gemm_model, loaded, make_model, normal, op
from onnx import NodeProto

from eapc.dataflow import MappingError, execute
from eapc.energy import (
    DensityTable,
    EnergyReport,
    NodeWork,
    estimate,
    priced_at,
    work_list,
    work_list_with_bodies,
)
from eapc.energy.residency import Stay
from eapc.hardware import HardwareModel, load_hardware, with_less_room
from eapc.model import Model, infer_shapes, input_shapes
from eapc.workload import ConvWorkload, Kept, StreamWorkload

LEVELS = {"eyeriss": "glb", "tpu-v1": "buffer", "mobile-cpu": "l2"}
BANK = 4096
ONE: dict[str, Array] = {name: np.ones((1, 1, 1, 1), np.float32) for name in ("v", "w")}
"""1x1 filters over one channel."""


def machine(
    name: str = "eyeriss", size_bytes: int | None = None, keeping: bool = True
) -> HardwareModel:
    hardware, level = load_hardware(name), LEVELS[name]
    fields = hardware.model_dump(by_alias=True)
    fields["memories"][level]["size_bytes"] = size_bytes or hardware.memories[level].size_bytes
    fields["feature_maps_kept_in"] = level if keeping else None
    return HardwareModel.model_validate(fields)


@cache
def works_of(model: Model, batch: int | None = None) -> tuple[NodeWork, ...]:
    return work_list(model, infer_shapes(model, input_shapes(model, {}, batch)))


def price(
    model: Model,
    hardware: HardwareModel,
    densities: DensityTable | None = None,
    batch: int | None = None,
) -> EnergyReport:
    works = works_of(model, batch)
    return estimate(model, works, hardware, densities or DensityTable(), batch or 1)


def two_layers() -> Model:
    """x to a to y, of 2 x 2 words each."""
    nodes = [op("Conv", "x v", "a", name="first"), op("Conv", "a w", "y", name="second")]
    return loaded(nodes, {"x": ("N", 1, 2, 2)}, ["y"], ONE)


# --- by hand ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [
        # the buffer's own accesses stay
        ("eyeriss", {"dram": 4}, {"dram": 4}),
        # a is neither fetched from the buffer to leave it nor filled in again
        ("tpu-v1", {"dram": 4, "buffer": 4}, {"dram": 4, "buffer": 4}),
        ("mobile-cpu", {"dram": 4, "l2": 4}, {"dram": 4, "l2": 4}),
    ],
)
def test_words_fall_by_those_of_the_kept_feature_map(
    name: str, written: dict[str, float], read: dict[str, float]
) -> None:
    before = price(two_layers(), machine(name, keeping=False))
    after = price(two_layers(), machine(name))
    for level in before.hardware.memories:
        first, second = (
            (before.by_node[key].accesses[level], after.by_node[key].accesses[level])
            for key in ("first", "second")
        )
        assert first[1] == replace(first[0], ofmap=first[0].ofmap - written.get(level, 0))
        assert second[1] == replace(second[0], ifmap=second[0].ifmap - read.get(level, 0))
    words = {level: written.get(level, 0) + read.get(level, 0) for level in written}
    spared = sum(
        count * before.hardware.memories[level].energy_mac_units_per_word
        for level, count in words.items()
    )
    assert after.residency.spared == pytest.approx(spared)
    assert after.energy_mac_units == pytest.approx(before.energy_mac_units - spared)
    assert [node.stay.operands for node in after.nodes] == [("ofmap",), ("ifmap",)]


def test_a_kept_feature_map_spares_its_coded_words() -> None:
    """With half of its words zeros a map of four takes 4/3 x 4 / 2 words, out and in again."""
    half = DensityTable(activations=0.5)
    plain, kept = (price(two_layers(), machine(keeping=x), half) for x in (False, True))
    coded = 4 * (4 / 3) * 0.5 / (1 - 0.5**32)
    assert plain.by_node["first"].accesses["dram"].ofmap == pytest.approx(coded)
    assert kept.residency.spared == pytest.approx(200 * 2 * coded)


def test_a_residual_block() -> None:
    """a is written once and read twice, b once each; x comes from DRAM and y goes there."""
    nodes = [
        op("Conv", "x v", "a", name="first"),
        op("Conv", "a w", "b", name="second"),
        op("Add", "a b", "y", name="add"),
    ]
    model = loaded(nodes, {"x": (1, 1, 2, 2)}, ["y"], ONE)
    report = price(model, machine())
    assert report.residency.tensor_bytes == {"a": BANK, "b": BANK}
    dram = [node.accesses["dram"] for node in report.nodes]
    assert [(words.ifmap, words.ofmap) for words in dram] == [(4, 0), (0, 0), (0, 4)]
    assert report.residency.spared == pytest.approx(200 * (2 * 4 + 4 + 4 + 4))


def test_half_of_an_ifmap_may_stay() -> None:
    """In one of two banks b stays; a, in the other, would leave no room to compute it."""
    nodes = [
        op("Conv", "x v", "a", name="first"),
        op("Softmax", "x", "b", name="second", axis=1),
        op("Add", "a b", "y", name="add"),
    ]
    model = loaded(nodes, {"x": (1, 1, 2, 2)}, ["y"], ONE)
    report = price(model, machine(size_bytes=2 * BANK))
    assert report.residency.tensor_bytes == {"b": BANK}
    add = report.by_node["add"]
    assert (add.stay.parts, add.stay.operands) == ({0: Kept(ifmap=0.5)}, ("ifmap",))
    assert add.accesses["dram"].ifmap == 4


def test_feature_maps_take_whole_banks_of_their_own_widths() -> None:
    model = loaded(
        [op("Conv", "x v", "a", name="first"), op("Conv", "a w", "y", name="second")],
        {"x": ("N", 1, 40, 60)},
        ["y"],
        ONE,
    )
    assert price(model, machine()).residency.tensor_bytes == {"a": 2 * BANK}  # 4800 bytes
    assert price(model, machine(), batch=4).residency.tensor_bytes == {"a": 5 * BANK}
    assert price(model, machine("tpu-v1"), batch=4).residency.tensor_bytes == {"a": 9600}


def test_figures_with_kept_feature_maps_are_per_inference() -> None:
    one, four = (price(two_layers(), machine(), batch=n) for n in (1, 4))
    assert one.residency.spared == pytest.approx(200 * 8)
    assert four.residency.spared == pytest.approx(200 * 8)


# --- refused ---------------------------------------------------------------------------------


def test_a_feature_map_that_fills_the_level_is_not_kept() -> None:
    wide = loaded(
        [op("Conv", "x v", "a"), op("Conv", "a w", "y")], {"x": (1, 1, 64, 64)}, ["y"], ONE
    )
    full, roomier = (price(wide, machine(size_bytes=banks * BANK)) for banks in (2, 4))
    assert full.residency.tensor_bytes == {}
    assert roomier.residency.tensor_bytes == {"a": 2 * BANK}


@pytest.mark.parametrize(("banks", "kept"), [(6, {}), (7, {"p": BANK})])
def test_nothing_is_kept_that_makes_mapping_dearer_than_it_spares(
    banks: int, kept: dict[str, int]
) -> None:
    """Of six banks a convolution, of which p is no operand, wants all; of seven one is spare."""
    nodes = [
        op("GlobalAveragePool", "x", "p", name="pool"),
        op("Conv", "x w", "y", name="conv", pads=[1, 1, 1, 1]),
        op("Softmax", "p", "z", name="softmax", axis=1),
    ]
    model = loaded(nodes, {"x": (1, 64, 16, 16)}, ["y", "z"], {"w": normal((64, 64, 3, 3))})
    plain, smaller = (
        price(model, machine(size_bytes=size * BANK, keeping=False)) for size in (banks, banks - 1)
    )
    dearer = smaller.by_node["conv"].energy_mac_units - plain.by_node["conv"].energy_mac_units
    assert (dearer > 64 * 2 * 200) == (not kept)
    report = price(model, machine(size_bytes=banks * BANK))
    assert report.residency.tensor_bytes == kept
    assert report.energy_mac_units == pytest.approx(
        plain.energy_mac_units - (64 * 2 * 200 if kept else 0)
    )


def test_nothing_is_kept_where_a_node_could_not_be_mapped() -> None:
    """Two banks are the least that a convolution runs in: one of ifmap rows, one of psums."""
    with pytest.raises(MappingError):
        execute(ConvWorkload(1, 1, 1, 1, 2, 2), machine(size_bytes=BANK))
    assert price(two_layers(), machine(size_bytes=2 * BANK)).residency.tensor_bytes == {}
    assert price(two_layers(), machine(size_bytes=3 * BANK)).residency.tensor_bytes == {"a": BANK}


def test_nodes_that_run_nowhere_keep_nothing() -> None:
    report = price(two_layers(), machine(size_bytes=BANK))
    assert (len(report.unmodelled), report.residency.tensor_bytes) == (2, {})


def test_calls_of_functions_neither_keep_nor_read() -> None:
    from onnx import helper

    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    body = [op("Conv", "p q", "r")]
    function = helper.make_function("own", "Call", ["p", "q"], ["r"], body, opsets)
    nodes = [
        op("Conv", "x v", "a", name="first"),
        op("Call", "a w", "b", name="call", domain="own"),
        op("Conv", "b w", "c", name="third"),
        op("Conv", "c w", "y", name="fourth"),
    ]
    proto = make_model(nodes, {"x": (1, 1, 2, 2)}, ["y"], ONE)
    proto.functions.append(function)
    model = Model.from_proto(proto)
    works = work_list_with_bodies(model, infer_shapes(model, {"x": (1, 1, 2, 2)}))
    report = estimate(model, works, machine(), DensityTable())
    assert not report.unmodelled
    assert report.residency.tensor_bytes == {"c": BANK}


# --- what a stay does ------------------------------------------------------------------------


def test_a_machine_with_less_room_is_otherwise_the_same() -> None:
    hardware = machine()
    smaller = with_less_room(hardware, "glb", 3 * BANK)
    assert smaller.memories["glb"].banks == 22
    assert with_less_room(smaller, "glb", -3 * BANK) == hardware
    assert Stay().room(hardware) is hardware
    assert Stay(taken_bytes=3 * BANK).room(hardware) is smaller


def test_pruning_prices_layers_under_the_decision() -> None:
    nodes = [
        op("Conv", "x u", "a", name="first", pads=[1, 1, 1, 1]),
        op("Conv", "a w", "y", name="second", pads=[1, 1, 1, 1]),
    ]
    tensors = {name: normal((8, 8, 3, 3), seed) for seed, name in enumerate("uw")}
    model = loaded(nodes, {"x": (1, 8, 8, 8)}, ["y"], tensors)
    works, hardware = works_of(model), machine()
    report, sparse = price(model, hardware), price(model, hardware, DensityTable(weights=0.3))
    assert report.residency.tensor_bytes == sparse.residency.tensor_bytes == {"a": BANK}
    for item, dense, other in zip(works, report.nodes, sparse.nodes, strict=True):
        assert priced_at(item, hardware, report, 1.0) == dense.energy_mac_units
        assert priced_at(item, hardware, report, 0.3) == pytest.approx(other.energy_mac_units)


def test_no_code_applies_to_what_never_leaves() -> None:
    """The chip codes feature maps: half of the words are zeros, and none of them is moved."""
    chip = load_hardware("eyeriss-jssc2017").model_copy(update={"feature_maps_kept_in": "glb"})
    report = price(two_layers(), chip, DensityTable(activations=0.5))
    assert report.residency.tensor_bytes == {"a": BANK}
    assert report.by_node["first"].accesses["dram"].ofmap == 0
    assert report.by_node["second"].accesses["dram"].ifmap == 0
    assert report.by_node["second"].accesses["dram"].ofmap > 0


def test_psums_that_leave_a_cache_travel_though_the_finished_words_stay() -> None:
    """Psums of 4096 channels leave l1 before they are finished, and come back to it."""
    cpu = load_hardware("mobile-cpu").model_copy(update={"feature_maps_kept_in": "l1"})
    work = ConvWorkload(1, 1, 64, 4096, 64, 64)
    plain, kept = (execute(replace(work, kept=Kept(0, share)), cpu) for share in (0.0, 1.0))
    for level in ("dram", "l2"):
        assert plain.accesses[level].ofmap - kept.accesses[level].ofmap == pytest.approx(
            work.ofmap_words * (1 if level == "dram" else 2)
        )
    assert kept.accesses["l2"].ofmap > 0
    assert kept.accesses["registers"] == plain.accesses["registers"]


def test_streams_spare_the_levels_outside() -> None:
    cpu = load_hardware("mobile-cpu").model_copy(update={"feature_maps_kept_in": "l1"})
    work = StreamWorkload(8, ifmap_words=16, weight_words=2, ofmap_words=8, kept=Kept(0.75, 1.0))
    accesses = execute(work, cpu).accesses
    for level, words in {"dram": (2, 4, 0), "l2": (2, 4, 0), "l1": (2, 16, 8)}.items():
        found = accesses[level]
        assert (found.weights, found.ifmap, found.ofmap) == words


# --- always ----------------------------------------------------------------------------------


@cache
def any_network(seed: int) -> Model:
    """A graph of a dozen nodes that branch and join at random; some results leave it."""
    rng = random.Random(seed)
    channels = rng.choice((2, 8, 32))
    size = rng.choice((4, 12, 28))
    nodes: list[NodeProto] = []
    names = ["x"]
    for index in range(12):
        a, b = rng.choice(names[-3:]), rng.choice(names)
        nodes.append(
            rng.choice(
                [
                    op("Conv", f"{a} w", f"t{index}", pads=[1, 1, 1, 1]),
                    op("Conv", f"{a} v", f"t{index}"),
                    op("Relu", a, f"t{index}"),
                    op("Add", f"{a} {b}", f"t{index}"),
                    op("Softmax", a, f"t{index}", axis=1),
                    op("Identity", a, f"t{index}"),
                ]
            )
        )
        names.append(f"t{index}")
    tensors = {"w": normal((channels, channels, 3, 3)), "v": normal((channels, channels, 1, 1))}
    outputs = sorted({names[-1], rng.choice(names[1:])})
    return loaded(nodes, {"x": (1, channels, size, size)}, outputs, tensors)


@pytest.mark.parametrize("name", LEVELS)
def test_keeping_never_costs_energy(name: str) -> None:
    decided = 0
    for seed in range(40):
        model = any_network(seed)
        size = random.Random(seed).choice((3, 8, 25)) * BANK
        plain = price(model, machine(name, size, keeping=False))
        report = price(model, machine(name, size))
        decided += len(report.residency.tensor_bytes)
        assert report.energy_mac_units <= plain.energy_mac_units * (1 + 1e-12)
        assert report.residency.spared == pytest.approx(
            plain.energy_mac_units - report.energy_mac_units, rel=1e-6, abs=1e-3
        )
        assert [n.key for n in report.unmodelled] == [n.key for n in plain.unmodelled]
        assert all(node.stay.taken_bytes < size for node in report.nodes)
        assert not set(report.residency.tensor_bytes) & set(model.outputs)
    assert decided > 40


def test_equal_networks_are_decided_alike() -> None:
    first, second = (price(any_network(3), machine(size_bytes=8 * BANK)) for _ in range(2))
    assert list(first.residency.tensor_bytes) == list(second.residency.tensor_bytes)
    assert first.nodes == second.nodes


def test_without_the_option_nothing_is_kept(eyeriss: HardwareModel) -> None:
    report = price(Model.from_proto(gemm_model()), eyeriss)
    assert (report.residency.tensor_bytes, report.residency.spared) == ({}, 0)


def test_resnet20_on_an_eyeriss_that_keeps_feature_maps(shared_data: Path) -> None:
    """Of its 31 inner feature maps 28 stay; three quarters of the energy are left."""
    model = Model.load(shared_data / "models" / "cifar10_resnet20_folded.onnx")
    plain, report = (price(model, machine(keeping=keeping), batch=1) for keeping in (False, True))
    assert len(report.residency.tensor_bytes) == 28
    assert report.energy_mac_units / plain.energy_mac_units == pytest.approx(0.7456, abs=1e-3)
