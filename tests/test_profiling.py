"""Grids grow by levels, within a time; what a killed run has finished is used."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import chain, loaded, op
from test_profiling_layer_kinds import shapes_of

from eapc.checkpoints import Checkpoints, Finished
from eapc.model import Model
from eapc.profiling import LayerTimer, NetworkTimer, Profiler, Reading, layer_timer
from eapc.profiling.layer_kinds import NotTimedError, Sizing
from eapc.profiling.profiler import Profile
from eapc.progress import Step, silent

OPS = ["Conv", "Relu", "Conv", "Relu", "Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
NETWORK = Model.from_proto(chain(OPS, width=32))


class Timed:
    """Stands in for timing: a millisecond for each block of 16 output channels begun."""

    def __init__(self) -> None:
        self.read: list[tuple[int, int]] = []

    def __call__(self, _: LayerTimer, sizing: Sizing, repeats: int) -> Reading:
        assert repeats >= 1
        self.read.append(sizing.counts)
        return Reading(0.0, float(-(-sizing.counts[1] // 16)), 1, 0.0)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Timed:
    stand_in = Timed()
    monkeypatch.setattr(LayerTimer, "read", lambda *given: stand_in(*given))
    monkeypatch.setattr(LayerTimer, "calibrate", lambda *_: None)
    monkeypatch.setattr(LayerTimer, "overhead_ms", lambda _: 0.25)
    return stand_in


def profile(model: Model = NETWORK, seconds: float = 60.0, **changes: object) -> Profile:
    given = {"finished": Finished(), "progress": silent, "network": NetworkTimer(None, 1)}
    profiler = Profiler(
        model=model,
        shapes=shapes_of(model),
        threads=1,
        repeats=1,
        seconds=seconds,
        **(given | changes),  # type: ignore[arg-type]
    )
    return profiler.run()


@pytest.mark.usefixtures("timed")
def test_a_network_is_the_sum_of_its_layers() -> None:
    found = profile()
    # three convolutions of 2 blocks, one layer with the input's channels and two of 32; pool and
    # flatten of 32 channels; a classifier of 5
    assert found.sum_ms == 0.25 + 3 * 2 + 2 + 2 + 1
    assert found.whole_ms is None
    assert found.missing == ()
    assert found.steps["out"] == 16


@pytest.mark.usefixtures("timed")
def test_free_axes_are_refined_and_the_models_own_ends_are_not() -> None:
    layers = {layer.layer: layer for layer in profile().layers}
    assert all(layer.out_channels[-1] in (5, 32) for layer in layers.values())
    convolutions = [layer for name, layer in layers.items() if name.startswith("Conv")]
    assert all(layer.out_channels == tuple(range(4, 33, 4)) for layer in convolutions)
    (gemm,) = (layer for name, layer in layers.items() if name.startswith("Gemm"))
    assert gemm.out_channels == (5,)
    assert len(gemm.in_channels) == 8


def test_without_time_only_the_models_own_counts_are_measured(timed: Timed) -> None:
    found = profile(seconds=0.0)
    assert all(set(layer.out_channels) <= {5, 32} for layer in found.layers)
    more = len(timed.read)
    profile(seconds=60.0)
    assert len(timed.read) - more > more


@pytest.mark.usefixtures("timed")
def test_progress_is_told_by_layer_and_ends() -> None:
    steps: list[Step] = []
    profile(progress=steps.append)
    assert {step.layer for step in steps} > {"Conv_0", "Gemm_8"}
    assert steps[-1].done == steps[-1].total


class StopError(Exception):
    """Raised to end a run in its middle."""


def test_a_killed_run_goes_on(
    timed: Timed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = profile()
    complete, left = len(timed.read), [40]

    def counted(*given: object) -> Reading:
        if not left[0]:
            raise StopError
        left[0] -= 1
        return timed(*given)  # type: ignore[arg-type]

    finished = Finished(Checkpoints(tmp_path / "parts", "run"))
    with monkeypatch.context() as stopping:
        stopping.setattr(LayerTimer, "read", counted)
        with pytest.raises(StopError):
            profile(finished=finished)
    before = len(timed.read)
    again = profile(finished=finished)
    assert 0 < len(timed.read) - before < complete
    assert (again.layers, again.scans, again.sum_ms) == (whole.layers, whole.scans, whole.sum_ms)


def test_a_layer_that_cannot_be_timed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Reading:
        raise NotTimedError("no")

    monkeypatch.setattr(LayerTimer, "read", refuse)
    monkeypatch.setattr(LayerTimer, "calibrate", lambda *_: None)
    model = loaded([op("Relu", "x", "y", name="r")], {"x": (1, 4)}, ["y"])
    found = profile(model)
    assert found.layers == ()
    assert found.missing == (("r", "no"),)


def test_a_layer_that_cannot_be_resized_keeps_its_own_counts(
    timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def own_only(timer: LayerTimer, sizing: Sizing, repeats: int) -> Reading:
        if sizing.counts not in ((3, 32), (32, 32), (0, 32), (32, 5)):
            raise NotTimedError("no")
        return timed(timer, sizing, repeats)

    monkeypatch.setattr(LayerTimer, "read", own_only)
    found = profile()
    assert found.missing == ()
    assert {layer.out_channels for layer in found.layers} == {(32,), (5,)}


def test_a_tiny_network_is_really_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_timer, "_LEAST_SECONDS", 0.0)
    found = profile(Model.from_proto(chain(["Conv", "Relu"], x=(1, 3, 4, 4))), seconds=0.0)
    assert len(found.layers) == 1
    assert found.sum_ms > 0
