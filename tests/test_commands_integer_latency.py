"""Channels chosen by kernels of the quantized network, and kept where that wins no time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from measured_builders import measured_layer, measured_machine
from test_commands_planning import DATA, TIMED
from test_profiling_integer_layers import fixed, integer_kinds
from test_profiling_latency import MODEL

from eapc import Recipe, Settings, TargetLatency, prune
from eapc.energy import GivenBits
from eapc.errors import PassError, UsageError
from eapc.goals import Pruned, Sparsity
from eapc.hardware import MeasuredMachine
from eapc.profiling import Laps, integer_use
from eapc.quantization import quantize
from eapc.runtime import Engine

INTEGERS = Recipe(structured=True, bits=GivenBits(8, 8))


def machine() -> MeasuredMachine:
    """Kernels of the quantized network: a millisecond for each block of 16 output channels."""
    twin = fixed(quantize(MODEL, DATA, engine=Engine(1)).model)
    layers = {}
    for kind in integer_kinds(twin):
        ins = (16, 32) if kind.independent else ()
        rows = [[1, 2]] * max(1, len(ins))
        layers[kind.name] = measured_layer(ins, (16, 32), rows, kind.name)
    return measured_machine(*layers.values())


SETTINGS = replace(TIMED, hardware=machine())


def timed_as(ratio: float) -> Callable[..., Laps]:
    """Stands in for running in turns: the second takes so much of the first's time."""

    def run_in_turns(runs: Sequence[object], repeats: int) -> Laps:
        assert len(runs) == 2
        return Laps(np.tile([1.0, ratio], (repeats, 1)))

    return run_in_turns


def pruned(monkeypatch: pytest.MonkeyPatch, ratio: float, recipe: Recipe = INTEGERS) -> Pruned:
    monkeypatch.setattr("eapc.commands.integer_latency.run_in_turns", timed_as(ratio))
    return prune(MODEL, SETTINGS, goal=TargetLatency(0.8), recipe=recipe)


def test_channels_go_by_the_kernels_of_the_quantized_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Codes of the input cost a millisecond, and so does what has 5 outputs; others one or two.

    Whole: .5 a run, 1 for the input's codes, 2 each for two convolutions, the pooling and the
    flattening, 1 for the product.
    """
    done = pruned(monkeypatch, 0.7)
    latency = done.latency
    assert latency is not None
    assert latency.bits == 8
    assert latency.before_ms == 0.5 + 1 + 4 * 2 + 1
    assert done.goal_met
    assert {(group.before, group.after) for group in done.groups} <= {(32, 16), (32, 32)}
    assert any(group.after == 16 for group in done.groups)
    assert latency.ratio <= 0.8
    (said,) = [note for note in done.compilation.record.notes if "in turns" in note]
    assert "takes 70.0% of the time, 70.0% to 70.0%" in said
    use = integer_use(done.model, 1)
    assert use.counts == (4, 4)
    assert "prune-channels{latency=0.7985, bits=8}" in done.pipeline


def test_all_channels_stay_where_fewer_win_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    done = pruned(monkeypatch, 1.05)
    assert not done.goal_met
    assert done.reason == (
        "with fewer channels the network at 8 bits takes 105.0% (105.0% to 105.0%) of its time "
        "here, not surely less, so all of them are kept"
    )
    assert all(group.before == group.after for group in done.groups)
    assert done.latency is not None
    assert done.latency.ratio == 1
    assert "prune-channels" not in done.pipeline
    assert done.pipeline.endswith("quantize, annotate-energy")
    assert done.after.macs == done.before.macs
    assert integer_use(done.model, 1).counts == (4, 4)


def test_the_same_share_of_channels_is_timed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eapc.commands.integer_latency.run_in_turns", timed_as(0.9))
    done = prune(MODEL, SETTINGS, goal=Sparsity(0.5), recipe=INTEGERS)
    assert done.latency is not None
    assert done.latency.ratio == (0.5 + 1 + 4 * 1 + 1) / 10.5
    assert any("in turns" in note for note in done.compilation.record.notes)


def test_a_profile_without_integer_kernels_is_refused() -> None:
    with pytest.raises(
        (UsageError, PassError),
        match=r"3 layers of .* at 8 bits are not in the profile here, such as 'Conv_0': make one "
        r"of this model, `eapc prune MODEL --calib DATA --bits 8 -o q.onnx`, then "
        r"`eapc profile q.onnx -o host8.yaml`",
    ):
        prune(MODEL, TIMED, goal=TargetLatency(0.8), recipe=INTEGERS)


def test_float_networks_are_not_priced_by_integer_kernels() -> None:
    with pytest.raises(
        (UsageError, PassError), match=r"3 layers of .* are not in the profile here"
    ):
        prune(MODEL, SETTINGS, goal=TargetLatency(0.8), recipe=Recipe(structured=True))


def test_bits_say_which_latencies_count() -> None:
    with pytest.raises(UsageError, match="bits say which latencies count: give latency"):
        INTEGERS.passes["prune-channels"](energy=0.5, bits=8)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="expected 8, got 4"):
        INTEGERS.passes["prune-channels"](latency=0.5, bits=4)  # type: ignore[call-arg]


def test_energies_take_no_latencies() -> None:
    recipe = Recipe(structured=True, bits=GivenBits(8, 8))
    done = prune(MODEL, Settings(calibration=DATA, threads=1), goal=Sparsity(0.5), recipe=recipe)
    assert done.latency is None
    assert done.pipeline.endswith("quantize, annotate-energy")
    assert "prune-channels{fraction=0.5}" in done.pipeline
