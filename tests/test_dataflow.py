"""What holds of every dataflow: the registry, the cache, streams and empty layers."""

from __future__ import annotations

from dataclasses import replace

import pytest

import eapc.dataflow as dataflow
from eapc.dataflow import Accesses, execute
from eapc.hardware import load_hardware
from eapc.workload import ConvWorkload, Densities, StreamWorkload

EYERISS = load_hardware("eyeriss")
LAYER = ConvWorkload(3, 2, 192, 192, 13, 13, 3, 3)


def test_stream_passes_each_word_once() -> None:
    work = StreamWorkload(10, ifmap_words=100, weight_words=6, ofmap_words=50)
    done = execute(replace(work, densities=Densities(1.0, 0.5, 0.5)), EYERISS)
    dram = done.accesses["dram"]
    assert dram.weights == pytest.approx(8)
    assert (dram.ifmap, dram.ofmap) == (100, 100)
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


def test_a_dataflow_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        dataflow.register_dataflow("row_stationary", dataflow.DATAFLOWS["row_stationary"])
