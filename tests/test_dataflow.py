"""What holds of every dataflow: the registry, the cache, streams and empty layers."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import pytest

from eapc.dataflow import Accesses, CacheMachine, execute
from eapc.hardware import load_hardware, shipped_hardware
from eapc.workload import ConvWorkload, OperandDensities, StreamWorkload

EYERISS = load_hardware("eyeriss")
LAYER = ConvWorkload(3, 2, 192, 192, 13, 13, 3, 3)


def test_stream_passes_each_word_once() -> None:
    work = StreamWorkload(10, ifmap_words=100, weight_words=6, ofmap_words=50)
    done = execute(replace(work, densities=OperandDensities(1.0, 0.5, 0.5)), EYERISS)
    dram = done.accesses["dram"]
    assert dram.weights == pytest.approx(8)
    coded = 4 / 3 * 0.5 / (1 - 0.5**32)  # words per word of which half are zeros
    assert (dram.ifmap, dram.ofmap) == pytest.approx((100 * coded, 50 * coded))
    assert done.accesses["glb"] == Accesses(6, 100, 50)
    assert (done.operations, done.executed_macs, done.cycles) == (10, 0, None)


def test_a_view_moves_nothing() -> None:
    assert all(w.total == 0 for w in execute(StreamWorkload(), EYERISS).accesses.values())


def test_an_empty_layer_costs_nothing() -> None:
    done = execute(replace(LAYER, batch=0), EYERISS)
    assert all(words.total == 0 for words in done.accesses.values())
    assert done.executed_macs == 0
    assert done.mapping is None


def test_equal_workloads_are_solved_once() -> None:
    first = execute(LAYER, load_hardware("eyeriss"))
    assert execute(LAYER, load_hardware("eyeriss")) is first


TYPICAL = {
    "first": ConvWorkload(1, 1, 64, 3, 112, 112, 7, 7, 2, 2),
    "3x3": ConvWorkload(16, 1, 256, 256, 14, 14, 3, 3),
    "1x1": ConvWorkload(1, 1, 2048, 512, 7, 7),
    "strided 1x1": ConvWorkload(1, 1, 512, 256, 28, 28, 1, 1, 2, 2),
    "depthwise": ConvWorkload(1, 576, 1, 1, 14, 14, 3, 3),
    "grouped": ConvWorkload(4, 2, 128, 48, 27, 27, 5, 5),
    "connected": ConvWorkload(16, 1, 4096, 9216, 1, 1),
    "dilated": ConvWorkload(1, 1, 256, 2048, 65, 65, 3, 3, 1, 1, 36, 36),
    "tokens": ConvWorkload(1, 1, 3072, 768, 128, 1),
    "sequence": ConvWorkload(1, 1, 512, 1, 1, 79999, 1, 10, 1, 5),
    "one word": ConvWorkload(1, 1, 1, 1, 1, 1),
}


@pytest.mark.parametrize("machine", shipped_hardware())
@pytest.mark.parametrize("name", TYPICAL)
def test_every_machine_maps_every_kind_of_layer(name: str, machine: str) -> None:
    work, hardware = TYPICAL[name], load_hardware(machine)
    done = execute(work, hardware)
    assert set(done.accesses) == set(hardware.memories)
    assert done.executed_macs == work.macs
    assert done.mapping is not None
    assert done.cycles is not None
    assert done.cycles * done.active_pes > 0
    read = {operand: hardware.machine.route(operand)[0] for operand in ("weights", "ofmap")}
    assert done.accesses[read["weights"]].weights >= work.weight_words
    assert sum(words.ofmap for words in done.accesses.values()) >= work.ofmap_words


@pytest.mark.parametrize(
    "machine", [m for m in shipped_hardware() if load_hardware(m).dataflow != "row_stationary"]
)
def test_a_layer_maps_within_ten_milliseconds(machine: str) -> None:
    hardware, spent = load_hardware(machine), []
    for work in TYPICAL.values():
        began = time.process_time()
        execute(replace(work, densities=OperandDensities(0.9, 0.8, 0.7)), hardware)
        spent.append(time.process_time() - began)
    assert statistics.median(spent) < 0.010


def test_a_machine_is_no_other_dataflows() -> None:
    with pytest.raises(TypeError, match="eyeriss is a row_stationary machine, no CacheMachine"):
        EYERISS.machine_as(CacheMachine)
