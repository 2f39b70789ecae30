"""Readings are put together; layers of a tiny network are timed, whatever the times."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from builders import chain
from test_profiling_layer_kinds import kinds_of, shapes_of

from eapc.model import Model
from eapc.profiling import LayerTimer, NetworkTimer, Probe, ProbeMaker, Reading, sized
from eapc.profiling.layer_kinds import NotTimedError


def test_a_layer_takes_the_difference_over_the_copies() -> None:
    assert Reading(1.0, 9.0, 4, 0.5).layer_ms == 1.5
    assert Reading(2.0, 1.0, 4, 0.0).layer_ms == 0


def test_readings_join_by_the_least_of_each_probe() -> None:
    assert Reading(1, 9, 4, 0.5).least(Reading(2, 8, 4, 0.5)) == Reading(1, 8, 4, 0.5)
    assert Reading(1, 9, 4, 0.5).least(None) == Reading(1, 9, 4, 0.5)


def test_layers_are_timed() -> None:
    model = Model.from_proto(chain(["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]))
    timer = LayerTimer(ProbeMaker(model, {}), 1, 1, 1 << 12)
    shapes = shapes_of(model)
    specs = shapes.by_scope[""]
    sizings = [sized(kind, shapes, *kind.counts(specs)) for kind in kinds_of(model)]
    timer.calibrate(sizings)
    assert 0 < timer.overhead_ms() < math.inf
    for sizing in sizings:
        reading = timer.read(sizing, 1)
        assert 0 < reading.bare_ms < math.inf
        assert reading.copies == min(32, -(-(1 << 12) // sizing.bytes))


@pytest.mark.parametrize(
    ("footprint", "size", "copies"),
    [
        (1 << 20, 1 << 21, 1),  # the network is this layer
        (3 << 20, 1 << 20, 3),  # as many data as the network's
        (1 << 30, 1 << 20, 32),  # as many as caches hold
        (1 << 30, 1 << 22, 8),
        (1 << 30, 1 << 26, 8),  # some in any case
        (1 << 30, 1, 32),
    ],
)
def test_copies_are_as_many_as_data_ask_for(footprint: int, size: int, copies: int) -> None:
    timer = LayerTimer(ProbeMaker(Model.from_proto(chain(["Conv"])), {}), 1, 1, footprint)
    assert timer.copies_of(size) == copies


def test_a_probe_that_onnxruntime_refuses_is_told() -> None:
    model = Model.from_proto(chain(["Conv", "Relu"]))
    sizing = sized(kinds_of(model)[0], shapes_of(model), 3, 8)
    broken = replace(sizing, read=dict.fromkeys(sizing.read, (1, 7, 8, 8)))
    timer = LayerTimer(ProbeMaker(model, {}), 1, 1, 1)
    with pytest.raises(NotTimedError, match="onnxruntime"):
        timer.read(broken, 1)


def test_a_network_is_looked_at_again_and_the_least_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eapc.profiling.layer_timer._LOOK_SECONDS", 0.0)
    model = Model.from_proto(chain(["Conv", "Relu"], x=(1, 3, 8, 8)))
    feed = ProbeMaker(model, {}).empty().feed["x"]
    timer = NetworkTimer(Probe(model.to_proto(), {"x": feed.repeat(192).reshape(1, 3, 8, 8)}), 1)
    timer.look(2)
    first = timer.least_ms
    timer.look(2)
    assert first is not None
    assert timer.least_ms is not None
    assert 0 < timer.least_ms <= first


def test_without_a_network_nothing_is_timed() -> None:
    timer = NetworkTimer(None, 1)
    timer.look(5)
    assert timer.least_ms is None
