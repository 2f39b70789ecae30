"""What the options of pruning promise of the models that come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import Array
from evaluation_builders import relative_output_error
from pruning_builders import NETS, Net, branches, residual

from eapc.calibration import LayerFit
from eapc.errors import PassError, UsageError
from eapc.goals import Densities, Sparsity, TargetEnergy, Trials
from eapc.hardware import load_hardware
from eapc.layers import find_layers
from eapc.pipeline import Compilation, Conditions, Pipeline, Recipe, load_passes
from eapc.registry import METHODS
from eapc.runtime import Engine, collect_outputs

EYERISS = load_hardware("eyeriss")


def start(net: Net) -> Compilation:
    return Compilation(net.model, EYERISS, net.data, Conditions(engine=Engine(1)))


def compiled(net: Net, prune: str, reconstruct: str = "") -> Compilation:
    text = f"prune-weights{{{prune}}}, reconstruct-outputs{{{reconstruct}}}"
    return Pipeline.parse(text, load_passes()).run(start(net))


def weight(compilation: Compilation, name: str) -> Array:
    value = compilation.model.constants.value(name)
    assert value is not None
    return value


def error_of(done: Compilation) -> float:
    assert done.calibration is not None
    outputs = (collect_outputs(m, done.calibration, 1) for m in (done.model.original, done.model))
    return relative_output_error(*outputs)


# --- methods ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["residual", "tied", "dense", "branches"])
def test_every_method_leaves_its_number_of_weights(name: str, method: str) -> None:
    done = compiled(NETS[name](), "sparsity=0.6", f"method={method}")
    for tied in find_layers(done.model).layers:
        value = weight(done, tied.weight)
        assert 0 < np.count_nonzero(value) <= round(0.4 * value.size)


def test_methods_that_fit_lose_less() -> None:
    errors = {m: error_of(compiled(residual(), "sparsity=0.7", f"method={m}")) for m in METHODS}
    fitted = [errors[name] for name, method in METHODS.items() if method.fits]
    assert max(fitted) < min(errors["wanda"], errors["magnitude"])
    assert min(fitted) == errors["admm"]


@pytest.mark.parametrize("method", ["wanda", "magnitude"])
def test_published_scores_leave_survivors_and_biases_alone(method: str) -> None:
    net = residual()
    done = compiled(net, "sparsity=0.6", f"method={method}")
    weights = {tied.weight for tied in find_layers(net.model).layers}
    assert set(done.model.weights) == weights
    for name in weights:
        before, after = net.model.constants.value(name), weight(done, name)
        assert before is not None
        np.testing.assert_allclose(after[after != 0], before[after != 0], rtol=1e-5)


def test_only_admm_refits_behind_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def noting(self: LayerFit, matrix: Array) -> tuple[LayerFit, Array]:
        calls.append(matrix)
        return self, matrix

    monkeypatch.setattr(LayerFit, "behind_activation", noting)
    for method in METHODS:
        compiled(residual(), "sparsity=0.5", f"method={method}")
        assert bool(calls) == METHODS[method].refits_behind_activations
        calls.clear()


def test_thorough_takes_large_layers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eapc.passes.reconstruct_outputs._THOROUGH_PRODUCT", 0)
    quick = compiled(residual(), "sparsity=0.7")
    thorough = compiled(residual(), "sparsity=0.7", "thorough=true")
    monkeypatch.undo()
    always = compiled(residual(), "sparsity=0.7")
    assert weight(thorough, "w1").tobytes() == weight(always, "w1").tobytes()
    assert weight(quick, "w1").tobytes() != weight(always, "w1").tobytes()


# --- patterns --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_two_of_four_input_channels(method: str) -> None:
    net = branches()
    done = compiled(net, "pattern=2:4", f"pattern=2:4, method={method}")
    assert set(done.record.layers) == {"w2", "w4", "fw"}
    runs = {
        "w2": weight(done, "w2").reshape(8, 1, 4, 9),
        "w4": weight(done, "w4").reshape(2, 4, 8, 4),
        "fw": weight(done, "fw").reshape(5, 2, 4),
    }
    channel_axis = {"w2": 2, "w4": 1, "fw": 2}
    for name, values in runs.items():
        assert (np.count_nonzero(values, axis=channel_axis[name]) <= 2).all()
        assert np.count_nonzero(values) == values.size // 2
    for name in ("w0", "w1", "w3"):
        assert name not in done.model.weights


@pytest.mark.parametrize("goal", ["sparsity=0.5", "energy=0.9"])
def test_kernels_are_kept_or_cut_whole(goal: str) -> None:
    done = compiled(residual(), f"{goal}, pattern=kernel", "pattern=kernel")
    for name in ("w0", "w1", "w2"):
        kept = np.count_nonzero(weight(done, name).reshape(-1, 9), axis=1)
        assert set(kept.tolist()) <= {0, 9}
    assert any(record.sparsity > 0 for record in done.record.layers.values())


def test_blocks_are_kept_or_cut_whole() -> None:
    done = compiled(residual(), "sparsity=0.5, pattern=block:4x2", "pattern=block:4x2")
    values = weight(done, "w1").reshape(2, 4, 4, 2, 9)
    assert set(np.count_nonzero(values, axis=(1, 3)).ravel().tolist()) == {0, 8}


@pytest.mark.parametrize(
    "options",
    [
        "sparsity=0.4, pattern=2:4",
        "energy=0.5, pattern=2:4",
        "pattern=kernel",
        "order=energy",
        "sparsity=0.4, late=0.01",
    ],
)
def test_goals_that_do_not_go_together(options: str) -> None:
    with pytest.raises(UsageError, match="prune-weights"):
        Pipeline.parse(f"prune-weights{{{options}}}", load_passes())


# --- which layers ----------------------------------------------------------------------------


@pytest.mark.parametrize("goal", ["sparsity=0.6", "energy=0.95"])
def test_excluded_layers_stay_bit_for_bit(goal: str) -> None:
    net = residual()
    done = compiled(net, f"{goal}, exclude=conv1|Gemm")
    assert set(done.record.layers) == {"w0", "w2"}
    assert {skip.name for skip in done.record.skipped} == {"conv1", "fc"}
    changed = set(done.model.weights)
    assert not changed & {"w1", "fw", "fb", "pb"}
    assert done.record.layers["w2"].relative_output_error is not None


def test_parts_of_a_network_are_pruned_in_turn() -> None:
    text = (
        "prune-weights{sparsity=0.75, include=conv2}, prune-weights{sparsity=0.5, exclude=conv2}, "
        "reconstruct-outputs"
    )
    done = Pipeline.parse(text, load_passes()).run(start(residual()))
    assert list(done.record.layers) == ["w0", "w1", "w2", "fw"]
    assert [record.sparsity for record in done.record.layers.values()] == pytest.approx(
        [0.5, 0.5, 0.75, 0.5], abs=0.01
    )
    assert done.record.skipped == ()


def test_nothing_left_to_prune_is_said() -> None:
    with pytest.raises(PassError, match="nothing to prune: excluded"):
        compiled(residual(), "sparsity=0.5, exclude=*")


def test_densities_by_layer(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text("conv1: 0.25\nstem: 0.5\n")
    outcome = Densities(path).pursue(Trials(start(residual()), Recipe()))
    first, *steps = outcome.pipeline.split(", ")
    assert first == "hold-out-inputs{fraction=0.125}"
    assert steps[:2] == ["annotate-energy", f"prune-weights{{densities={path}}}"]
    sparsity = {name: each.sparsity for name, each in outcome.compilation.record.layers.items()}
    assert sparsity == {"w0": 0.5, "w1": 0.75, "w2": 0.0, "fw": 0.0}


@pytest.mark.parametrize("name", ["a,b.yaml", "{a}.yaml", "a  b.yaml"])
def test_a_file_that_no_pipeline_can_name(name: str) -> None:
    with pytest.raises(UsageError, match="--densities: a pipeline cannot name"):
        Densities(Path(name))


# --- orders ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["shared", "energy", "uniform"])
def test_every_order_meets_the_measured_energy(order: str) -> None:
    outcome = TargetEnergy(0.9).pursue(Trials(start(residual()), Recipe(order=order)))
    assert outcome.goal_met
    assert outcome.compilation.energy is not None
    assert outcome.after.energy_mac_units <= 0.9 * outcome.before.energy_mac_units
    densities = {round(each.sparsity, 1) for each in outcome.compilation.record.layers.values()}
    assert (len(densities) == 1) == (order == "uniform")


def test_a_recipe_holds_for_every_goal() -> None:
    outcome = Sparsity(0.5).pursue(
        Trials(start(residual()), Recipe(exclude=("fc",), method="wanda"))
    )
    assert "fw" not in outcome.model.weights
    assert "method=wanda" in outcome.pipeline
