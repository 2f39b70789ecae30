"""What explicit goals keep out of the fit, and what is told by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from goal_builders import RECIPE, labelled, start, trials, varied
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_builders import Net, fixed_batch, residual

from eapc.commands.compiler import prune
from eapc.commands.planning import plan
from eapc.commands.preparation import Settings
from eapc.data import Dataset
from eapc.evaluation import RELATIVE_ERROR, TOP1_AGREEMENT
from eapc.goals import (
    DEFAULT_GOAL,
    Goal,
    MaxDrop,
    MinAgreement,
    Sparsity,
    TargetEnergy,
    TargetLatency,
    Trials,
    measured,
)
from eapc.pipeline import Compilation, Recipe
from eapc.runtime import collect_outputs

HALF = Sparsity(0.5)
EXPLICIT = [HALF, TargetEnergy(0.8), TargetLatency(0.8)]


def few(net: Net, count: int) -> Trials:
    begun = start(net)
    assert begun.calibration is not None
    return Trials(replace(begun, calibration=begun.calibration.take(slice(0, count))), RECIPE)


def rows(data: Dataset) -> set[bytes]:
    return {row.tobytes() for row in data.arrays["x"]}


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 40), batch=st.integers(1, 12), is_fixed=st.booleans())
def test_what_is_fitted_and_what_tells_are_all_inputs_and_apart(
    count: int, batch: int, is_fixed: bool
) -> None:
    begun = start(residual())
    assert begun.calibration is not None
    data = begun.calibration.take(slice(0, count))
    data = replace(data, fixed_batch=batch if is_fixed else None)
    found = Trials(replace(begun, calibration=data), RECIPE).of(HALF)
    least = batch if is_fixed else 1
    assert found.is_fitting_all == (count < 2 * least)
    if found.is_fitting_all:
        assert found.calibration is data
        return
    apart = found.held_out
    assert apart is not None
    assert len(found.calibration) + len(apart) == count
    assert not rows(found.calibration) & rows(apart)
    assert min(found.calibration.usable, apart.usable) >= least


@pytest.mark.parametrize("goal", EXPLICIT)
def test_an_eighth_tells_where_no_labels_do(goal: Goal) -> None:
    """Of 40 inputs every eighth, five of them."""
    data, alone = residual().data, residual().data.take(slice(0, 1))
    assert goal.kept_out(data, has_labels=False) == 0.125
    assert goal.kept_out(data, has_labels=True) is None
    assert goal.kept_out(alone, has_labels=False) is None
    assert goal.kept_out(None, has_labels=False) == 0.125
    apart = trials(residual()).of(goal)
    assert len(apart.calibration) == 35


def test_searches_keep_what_decides_whatever_the_inputs() -> None:
    alone = residual().data.take(slice(0, 1))
    for has_labels in (False, True):
        assert DEFAULT_GOAL.kept_out(alone, has_labels) == 0.2
        assert MaxDrop(0.1).kept_out(residual().data, has_labels) is None


def test_what_is_left_is_told_by_inputs_that_were_not_fitted() -> None:
    """By hand: the error on the five held-out inputs over the variance of the outputs on all."""
    net = residual()
    found = trials(net)
    told = measured(HALF.pursue(found), found)
    assert told.compilation.calibration is not None
    assert len(told.compilation.calibration) == 35
    assert told.agreement is not None
    assert (told.fitted, told.agreement.samples) == (False, 5)
    assert told.agreement.metric == RELATIVE_ERROR
    (y,), (z,) = (collect_outputs(m, net.data, 1).values() for m in (net.model, told.model))
    held = np.arange(40) % 8 == 7
    power = np.square(y - y.mean(axis=0)).sum(axis=1).mean()
    error = np.square(y - z).sum(axis=1)[held].mean() / power
    assert told.agreement.value == pytest.approx(error, rel=1e-3)


def test_many_inputs_tell_by_their_answers() -> None:
    x = varied().data.arrays["x"]
    net = Net(varied().proto, {"x": np.concatenate([x + i for i in range(10)])})
    found = trials(net)
    told = measured(HALF.pursue(found), found)
    assert told.agreement is not None
    assert (told.agreement.metric, told.agreement.samples) == (TOP1_AGREEMENT, 50)


@pytest.mark.parametrize("goal", [HALF, TargetEnergy(0.8)])
def test_the_pipeline_shown_is_the_one_that_ran(goal: Goal) -> None:
    found = goal.pursue(trials(residual()))
    assert found.pipeline.startswith("hold-out-inputs{fraction=0.125}, annotate-energy, ")
    again = found.steps.run(start(residual()))
    for name, weight in found.model.weights.items():
        np.testing.assert_array_equal(again.model.constants[name], found.model.constants[name])
        assert weight is not None


@pytest.mark.parametrize("count", [1, 2])
def test_a_single_input_is_fitted(count: int) -> None:
    found = few(residual(), count)
    told = measured(HALF.pursue(found), found)
    assert told.agreement is not None
    assert (told.fitted, told.agreement.samples) == (count == 1, 1)
    assert told.pipeline.startswith("annotate-energy") == (count == 1)


def test_a_single_batch_of_a_fixed_size_is_fitted() -> None:
    net = fixed_batch()
    size = net.data.fixed_batch
    assert size
    found = few(net, 2 * size - 1)
    told = measured(HALF.pursue(found), found)
    assert told.agreement is not None
    assert (told.fitted, told.agreement.samples) == (True, size)


def test_labels_leave_all_inputs_to_the_fit() -> None:
    net = varied()
    found = Trials(start(net), RECIPE, labelled(net))
    told = measured(HALF.pursue(found), found)
    assert told.accuracy is not None
    assert told.agreement is None
    assert told.compilation.calibration == found.calibration
    assert "hold-out-inputs" not in told.pipeline


def test_goals_that_keep_out_as_much_share_their_trials() -> None:
    shared = trials(residual())
    assert shared.of(HALF) is shared.of(TargetEnergy(0.8))
    assert shared.of(HALF) is not shared.of(MinAgreement(0.9))
    assert shared.of(HALF).of(HALF) is shared.of(HALF)


@pytest.mark.parametrize("goal", [HALF, TargetEnergy(0.9)])
def test_a_dry_run_shows_what_would_be_held_out(goal: Goal) -> None:
    net = residual()
    given = Settings(calibration=net.data, threads=1)
    planned = plan(net.model, given, goal=goal)
    done = prune(net.model, given, goal=goal)
    assert planned.expected is not None
    assert planned.expected.before.energy_mac_units == done.before.energy_mac_units
    if goal == HALF:
        assert planned.pipeline == done.pipeline
    made_up = plan(net.model, Settings(threads=1), goal=goal)
    assert made_up.pipeline.startswith("hold-out-inputs{fraction=0.125}, ")
    single = plan(net.model, Settings(samples=1, threads=1), goal=goal)
    assert single.pipeline.startswith("annotate-energy, ")
    both = plan(
        net.model, given, goal=TargetEnergy(0.9), recipe=Recipe(structured=True, zeros=True)
    )
    assert both.pipeline.startswith("hold-out-inputs{fraction=0.125}, ")
    labels = plan(net.model, given, goal=goal, evaluation=labelled(net).data)
    assert labels.pipeline.startswith("annotate-energy, ")


def test_made_up_inputs_are_held_out_too() -> None:
    found = trials(residual(), synthesised=True)
    told = measured(HALF.pursue(found), found)
    assert told.agreement is not None
    assert (told.fitted, told.agreement.samples) == (False, 5)


def test_channels_are_told_of_by_the_same_inputs() -> None:
    found = Trials(start(residual()), Recipe(structured=True))
    told = measured(Sparsity(0.3).pursue(found), found)
    assert told.agreement is not None
    assert (told.fitted, told.agreement.samples) == (False, 5)
    again: Compilation = told.steps.run(start(residual()))
    assert again.priced.energy_mac_units == told.after.energy_mac_units


@pytest.mark.parametrize("count", [1, 2, 8])
def test_inputs_that_would_do_are_told_with_what_is_held_out_of_them(count: int) -> None:
    """The classifier reads 8 numbers and has a row per input: seven eighths of ten are enough."""
    found = few(residual(), count)
    said = found.few_rows(HALF.pursue(found))
    assert f"such as 'fc' ({count - (count > 1)} for 8): about 10 calibration inputs" in said
    enough = few(residual(), 10)
    assert len(enough.of(HALF).calibration) == 9
    assert not enough.few_rows(HALF.pursue(enough))


def test_with_labels_nothing_is_held_out_of_inputs_that_would_do() -> None:
    found = few(residual(), 4)
    found.accuracy = labelled(residual())
    said = found.few_rows(HALF.pursue(found))
    assert "such as 'fc' (4 for 8): about 8 calibration inputs would do" in said
