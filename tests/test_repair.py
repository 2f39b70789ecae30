"""Repair: outputs come back where inputs that were held out say so, and zeros stay."""

from __future__ import annotations

from functools import cache
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from builders import Array, loaded, normal, op
from pruning_builders import NETS, halved, residual
from rich.console import Console

from eapc import Settings, prune
from eapc.checkpoints import Checkpoints, Finished
from eapc.data import Dataset, dataset
from eapc.errors import DataError, ModelError, UsageError
from eapc.goals import Sparsity
from eapc.layers import layers_of
from eapc.model import Model
from eapc.pipeline import Pipeline, Recipe, load_passes
from eapc.progress import Step
from eapc.repair import Repaired, repair
from eapc.repair.gauss_newton import damped
from eapc.repair.outputs import EquationRows, Wanted
from eapc.report.documents import prune_document
from eapc.report.pruning import prune_table
from eapc.runtime import Engine, collect_outputs

ENGINE = Engine(threads=1)


@cache
def repaired(name: str = "residual", rounds: int = 3, seed: int = 0) -> Repaired:
    net = NETS[name]()
    return repair(halved(net), net.model, net.data, rounds, Engine(1, seed))


# --- the step, by hand ---------------------------------------------------------------------------


def test_a_step_by_hand() -> None:
    """J = (2), r = 4: s = 2 * 4 / (4 + 4 d), whatever system is solved."""
    assert damped(np.array([[2.0]]), np.array([4.0]), 0.25) == pytest.approx([1.6])
    wide = damped(np.array([[2.0], [2.0]]), np.array([4.0]), 0.5)
    assert wide == pytest.approx([0.8, 0.8])  # 4 s1 + 4 s2 + 2 s1 = 8


def test_what_has_no_effect_stays() -> None:
    """The second unknown's row is 0; the first is drawn to 0 by (9 + 4.5) / 2 = 6.75 d."""
    step = damped(np.array([[3.0], [0.0]]), np.array([3.0]), 1.0)
    assert step == pytest.approx([9 / (9 + 6.75), 0.0])
    assert not damped(np.zeros((2, 3)), np.ones(3), 0.1).any()


def linear(shift: float, scale: float = 1.0) -> Model:
    """Two outputs of a product with a bias; the first channel moved and scaled."""
    w = np.array([[1.0, 2.0], [0.0, -1.0]], np.float32)
    w[:, 0] *= scale
    b = np.array([0.5 + shift, -0.5], np.float32)
    return loaded([op("Gemm", "x w b", "y", "fc")], {"x": ["N", 2]}, ["y"], {"w": w, "b": b})


def linear_data(model: Model, count: int = 64) -> Dataset:
    return dataset({"x": normal((count, 2), 5, 1.0)}, model.inputs, "test")


def test_a_shifted_bias_and_a_scaled_channel_are_found_again() -> None:
    teacher = linear(0.0)
    found = repair(linear(0.7, 1.5), teacher, linear_data(teacher), 6, ENGINE)
    np.testing.assert_allclose(found.model.constants["b"], [0.5, -0.5], atol=1e-4)
    np.testing.assert_allclose(found.model.constants["w"], teacher.constants["w"], atol=1e-4)
    assert found.after < 1e-8 < found.before


def test_the_error_is_the_squared_error_over_the_variance() -> None:
    """A bias off by 0.7 in one of two outputs."""
    teacher = linear(0.0)
    data = linear_data(teacher)
    found = repair(linear(0.7), teacher, data, 1, ENGINE)
    _, held = data.split(1 / 8)
    y = collect_outputs(teacher, held)["y"]
    assert found.before == pytest.approx(0.7**2 / 2 / y.var(axis=0).mean(), rel=1e-4)
    assert (found.samples, found.held_out) == (56, 8)


def test_elements_add_up_to_the_error() -> None:
    teacher, student = linear(0.0), linear(0.7)
    data = linear_data(teacher)
    wanted = Wanted.of(teacher, ["y"], data, 1)
    rows = EquationRows.of(wanted, np.random.default_rng(0))
    off = rows.vector(collect_outputs(student, data), 64) - rows.vector(wanted.values, 64)
    assert np.square(off).sum() == pytest.approx(wanted.error(student, 1))
    assert rows.per_input == 2


# --- what always holds ---------------------------------------------------------------------------


def test_outputs_come_back() -> None:
    for name in ("residual", "dense"):
        assert repaired(name).after < 0.9 * repaired(name).before


@pytest.mark.parametrize("name", NETS)
def test_zeros_and_types_stay_in_every_network(name: str) -> None:
    found, pruned = repaired(name, 1), halved(NETS[name]())
    assert found.after <= found.before
    layers, zeros = {tied.weight for tied in layers_of(pruned).layers}, 0
    for key, array in found.model.weights.items():
        before = pruned.constants[key]
        assert array.dtype == before.dtype
        if key in layers:
            np.testing.assert_array_equal(array == 0, before == 0)
            zeros += int((before == 0).sum())
    assert zeros > 0 or not found.rounds


@pytest.mark.parametrize("count", [4, 6, 12, 40])
def test_the_error_on_inputs_held_out_never_rises(count: int) -> None:
    net = residual()
    data, student = net.data.first(count), halved(net)
    found = repair(student, net.model, data, 2, ENGINE)
    assert list(found.errors) == sorted(found.errors, reverse=True)
    _, held = data.split(1 / 8)
    target = collect_outputs(net.model, held)["y"].astype(np.float64)
    errors = [
        np.square(collect_outputs(model, held)["y"] - target).mean()
        for model in (student, found.model)
    ]
    assert errors[1] <= errors[0]
    assert errors[1] / errors[0] == pytest.approx(found.after / found.before, rel=1e-3)


def test_a_network_that_errs_nowhere_stays() -> None:
    net = residual()
    found = repair(net.model, net.model, net.data, 2, ENGINE)
    assert (found.rounds, found.before) == (0, 0.0)
    assert not found.model.weights


def test_the_same_seed_gives_the_same_bytes() -> None:
    net = residual()
    second = repair(halved(net), net.model, net.data, 3, ENGINE)
    assert second.errors == repaired().errors
    for name, array in repaired().model.weights.items():
        np.testing.assert_array_equal(array, second.model.weights[name])


# --- a run that is killed ------------------------------------------------------------------------


class KilledError(Exception):
    """Stands for what ends a process."""


def test_a_run_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    net, steps = residual(), list[Step]()

    def kill(step: Step) -> None:
        steps.append(step)
        if len([each for each in steps if each.done == 0]) == 3:  # the third round's first layer
            raise KilledError

    kept = Finished(Checkpoints(tmp_path / "out.partial", "run"), "scope")
    with pytest.raises(KilledError):
        repair(halved(net), net.model, net.data, 3, ENGINE, kept=kept, progress=kill)
    steps.clear()
    found = repair(halved(net), net.model, net.data, 3, ENGINE, kept=kept, progress=steps.append)
    assert len([step for step in steps if step.done == 0]) == 1
    assert found.errors == repaired().errors
    for name, array in repaired().model.weights.items():
        np.testing.assert_array_equal(array, found.model.weights[name])


# --- what cannot be repaired ---------------------------------------------------------------------


def test_outputs_that_are_no_numbers() -> None:
    nodes = [op("Gemm", "x w b", "s", "fc"), op("Greater", "s b", "y")]
    constants: dict[str, Array] = {"w": normal((2, 3)), "b": normal((3,))}
    model = loaded(nodes, {"x": ["N", 2]}, ["y"], constants)
    with pytest.raises(ModelError, match="no output is floating point"):
        repair(model, model, linear_data(model), 1, ENGINE)


def test_nothing_to_move() -> None:
    model = loaded([op("Relu", "x", "y")], {"x": ["N", 2]}, ["y"])
    with pytest.raises(ModelError, match="no output depends on a layer"):
        repair(model, model, linear_data(model), 1, ENGINE)


def test_too_few_inputs() -> None:
    net = residual()
    with pytest.raises(DataError, match="too few"):
        repair(halved(net), net.model, net.data.first(1), 1, ENGINE)


def test_outputs_that_are_not_finite() -> None:
    teacher = linear(0.0)
    broken = teacher.with_weights({"b": np.array([np.inf, 0], np.float32)})
    with pytest.raises(DataError, match="not finite"):
        repair(broken, teacher, linear_data(teacher), 1, ENGINE)
    with pytest.raises(DataError, match="the original's outputs are not finite"):
        repair(teacher, broken, linear_data(teacher), 1, ENGINE)


# --- in pipelines --------------------------------------------------------------------------------


def test_a_recipe_repairs_before_it_trains() -> None:
    steps = str(Recipe(repair=2, finetune=True).pipeline({"energy": 0.5}))
    assert steps.endswith("annotate-energy, repair-outputs{rounds=2}, fine-tune, annotate-energy")
    alone = Recipe(repair=1)
    assert str(alone.pipeline({"energy": 0.5})).endswith(", repair-outputs, annotate-energy")
    assert alone.untrained() == Recipe()
    text = "repair-outputs{rounds=3}"
    assert str(Pipeline.parse(text, alone.passes)) == text


def test_rounds_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="--repair -1"):
        Recipe(repair=-1)
    with pytest.raises(UsageError, match="rounds: expected 1 or more, got 0"):
        Pipeline.parse("repair-outputs{rounds=0}", load_passes())


def test_prune_reports_what_repair_came_to(tmp_path: Path) -> None:
    net = residual()
    out = tmp_path / "out.onnx"
    settings = Settings(calibration=net.data, threads=1)
    found = prune(
        net.model, settings, goal=Sparsity(0.6), recipe=Recipe(repair=2), output=out, resume=True
    )
    told = found.compilation.record.repaired
    assert told is not None
    assert told.after < told.before
    stream = StringIO()
    Console(file=stream, width=100).print(prune_table(found, 100))
    errors = f"error {told.before:.3g} before, {told.after:.3g} after"
    assert f"{errors} on {told.held_out} inputs held out" in " ".join(stream.getvalue().split())
    document = prune_document(found)["repair"]
    assert (document["error_before"], document["error_after"]) == (told.before, told.after)
    assert "repair-outputs{rounds=2}" in found.pipeline
    assert not (tmp_path / "out.onnx.partial").exists()
