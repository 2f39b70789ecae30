"""shrink-channels{near_dead=true}: what goes, that outputs stay, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from builders import Array, op, save
from channel_builders import net
from structured_builders import EYERISS, bytes_of
from test_channels import NETS
from typer.testing import CliRunner

from eapc.cli.app import make_app
from eapc.commands.compiler import Settings, analyze, prune, run
from eapc.data import Dataset, dataset
from eapc.goals import Sparsity, TargetEnergy
from eapc.model import Model
from eapc.pipeline import Compilation, Pipeline, Recipe, load_passes, near_dead_of
from eapc.runtime import Session

NEAR = "shrink-channels{near_dead=true}"


def two_layers(second: float = 1e-16, channels: int = 6) -> Model:
    """Conv, Relu, Conv; channel 2 is a constant 0.5 that the second reads by tiny weights.

    The first layer's weights for channel 2 are 1e-16, the second's for it are `second`.
    """
    rng = np.random.default_rng(0)
    first = rng.normal(0, 0.5, (channels, 3, 1, 1)).astype(np.float32)
    then = rng.normal(0, 0.5, (4, channels, 1, 1)).astype(np.float32)
    first[2], then[:, 2] = 1e-16, second
    tensors: dict[str, Array] = {
        "w1": first,
        "b1": np.full(channels, 0.5, np.float32),
        "w2": then,
        "b2": np.full(4, 0.25, np.float32),
    }
    nodes = [
        op("Conv", "x w1 b1", "c", "one"),
        op("Relu", "c", "r"),
        op("Conv", "r w2 b2", "y", "two"),
    ]
    return net(nodes, ("N", 3, 4, 4), tensors)


def images(model: Model, values: Array) -> Dataset:
    return dataset({"x": values.astype(np.float32)}, model.inputs, "test")


def done_on(model: Model, data: Dataset | None, pipeline: str = NEAR) -> Compilation:
    return Pipeline.parse(pipeline, load_passes()).run(Compilation(model, EYERISS, data))


def channels_of(done: Compilation) -> int:
    return len(done.model.constants["w1"])


# --- what goes --------------------------------------------------------------------------------


def test_a_near_dead_channel_goes_on_request_and_outputs_stay() -> None:
    model = two_layers()
    done = run(model, NEAR).compilation
    assert channels_of(done) == 5
    x = np.random.default_rng(1).normal(0, 1, (8, 3, 4, 4)).astype(np.float32)
    before, after = (
        Session(each.to_proto(embed=True), 1).run({"x": x})["y"] for each in (model, done.model)
    )
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)
    (note,) = done.record.notes
    assert note.startswith("near-dead channels taken out: 1; outputs ")
    assert " made-up inputs" in note


def test_what_is_left_is_the_original_to_the_bit(tmp_path: Path) -> None:
    model = two_layers()
    written = tmp_path / "smaller.onnx"
    run(model, NEAR, output=written)
    smaller = Model.load(written)
    kept = [0, 1, 3, 4, 5]
    assert np.array_equal(smaller.constants["w1"], model.constants["w1"][kept])
    assert np.array_equal(smaller.constants["w2"], model.constants["w2"][:, kept])


def test_without_the_option_it_stays_and_that_is_said() -> None:
    model = two_layers()
    done = run(model, "shrink-channels").compilation
    assert bytes_of(done.model) == bytes_of(model)
    assert done.record.notes == (
        "no channel is exactly zero; 1 channel is near-dead (below the last bit of the sums that "
        "they are added to): near_dead=true takes them out",
    )


def test_zeros_go_without_a_word_of_them() -> None:
    model = two_layers()
    quiet = model.constants["w1"].copy(), model.constants["b1"].copy()
    for array in quiet:
        array[4] = 0
    done = run(model.with_weights(dict(zip(("w1", "b1"), quiet, strict=True))), "shrink-channels")
    assert channels_of(done.compilation) == 5
    assert done.compilation.record.notes[0].startswith("1 channel is near-dead")


@pytest.mark.parametrize("pipeline", ["shrink-channels", NEAR])
def test_where_nothing_is_near_dead_the_model_stays(pipeline: str) -> None:
    model = two_layers(second=1e-4)
    done = run(model, pipeline).compilation
    assert bytes_of(done.model) == bytes_of(model)
    assert done.record.notes == ("no channel is exactly zero, and none is near-dead: all stay",)


@pytest.mark.parametrize("name", NETS)
def test_networks_of_large_weights_stay_as_they_are(name: str) -> None:
    model = NETS[name]()
    assert bytes_of(run(model, NEAR).compilation.model) == bytes_of(model)


# --- what inputs say --------------------------------------------------------------------------


def test_inputs_may_be_as_large_as_16_times_the_calibration_data() -> None:
    """Half a bit of 0.5 is 3e-8: below three terms of 1e-12 * 16 * 640, above three of 600."""
    model = two_layers()
    first = model.constants["w1"].copy()
    first[2] = 1e-12
    model = model.with_weights({"w1": first})
    for most, expected in ((600.0, 3), (640.0, 2), (1.0, 3)):
        x = np.zeros((2, 3, 4, 4))
        x[0, 0, 0, 0] = -most
        near = near_dead_of(Compilation(model, EYERISS, images(model, x)))
        assert near.layers[0].near_dead_weights == expected
    counted = {
        e.node: e.near_dead_weights for e in near_dead_of(Compilation(model, EYERISS)).layers
    }
    assert counted == {"one": 0, "two": 4}  # inputs of 2^16 make terms of 6.6e-8


def test_channels_stay_where_outputs_change_by_more_than_rounding() -> None:
    """Every fourth of 64 inputs is looked at; the third turns on a channel that the others do not.

    1e-12 * 1e15 - 0.5 = 999.5 reaches outputs that are about 1.
    """
    model = two_layers()
    new = {name: model.constants[name].copy() for name in ("w1", "b1", "w2")}
    new["w1"][:, 0], new["w1"][2], new["b1"][2], new["w2"][:, 2] = 0, 0, -0.5, 1
    new["w1"][2, 0] = 1e-12
    x = np.ones((64, 3, 4, 4))
    x[2, 0] = 1e15
    loud = model.with_weights(new)
    done = done_on(loud, images(loud, x))
    assert channels_of(done) == 6
    (note,) = done.record.notes
    assert note.startswith("near-dead channels that stay: 1; outputs change by at most ")
    assert channels_of(done_on(loud, images(loud, np.ones((64, 3, 4, 4))))) == 5


# --- what is said -----------------------------------------------------------------------------


def test_the_analysis_counts_weights_and_channels() -> None:
    found = analyze(two_layers()).near_dead
    assert (found.weights, found.channels) == (3 + 4, 1)
    layers = [(each.node, each.near_dead_weights, each.near_dead_channels) for each in found.layers]
    assert layers == [("one", 3, 1), ("two", 4, 0)]
    assert analyze(two_layers()).energy.nonzero_weights == 18 + 24


def test_analyze_prints_them_where_there_are_any(tmp_path: Path) -> None:
    near = save(two_layers().to_proto(), tmp_path / "near.onnx")
    far = save(two_layers(1e-4, 6).to_proto(), tmp_path / "far.onnx")
    invoke = CliRunner().invoke
    told = invoke(make_app(), ["analyze", str(near)], env={"COLUMNS": "200"}).output
    assert "7 weights (16.7%) and 1 channel below the last bit" in " ".join(told.split())
    found = json.loads(invoke(make_app(), ["analyze", str(near), "--json"]).stdout)["near_dead"]
    assert (found["weights"], found["channels"]) == (7, 1)
    assert found["layers"][0] == {
        "node": "one",
        "weights": 18,
        "near_dead_weights": 3,
        "near_dead_channels": 1,
    }
    silent = invoke(make_app(), ["analyze", str(far), "--json"]).stdout
    assert json.loads(silent)["near_dead"]["channels"] == 0


# --- pruning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", [Sparsity(0.2), TargetEnergy(0.95)])
def test_structured_pruning_takes_near_dead_channels_on_top(
    goal: Sparsity | TargetEnergy,
) -> None:
    pruned = prune(two_layers(), Settings(samples=16), goal=goal, recipe=Recipe(structured=True))
    assert pruned.goal_met
    assert len(pruned.model.constants["w1"]) <= 5
    rows = pruned.model.constants["w1"].reshape(-1, 3)
    assert np.abs(rows).max(axis=1).min() > 1e-6
    assert "shrink-channels{near_dead=True}" in pruned.pipeline


# --- a network of others ----------------------------------------------------------------------


def test_the_wake_words_network_shrinks_as_its_int8_twin_does(shared_data: Path) -> None:
    """Weight decay has left 176,902 of its weights at 1e-16 and below; the twin has zeros there."""
    path = shared_data / "models" / "mlperf_tiny_vww_float.onnx"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    done = run(path, f"{NEAR}, annotate-energy").compilation
    twin = run(path.with_name("mlperf_tiny_vww_int8.onnx"), "shrink-channels, annotate-energy")
    macs, of_twin = done.priced.macs, twin.compilation.priced.macs
    assert macs == pytest.approx(of_twin, rel=0.03)
    assert macs < 0.51 * analyze(path).energy.macs
