"""Goals: the search for the lowest energy that meets one, and what it says when none does."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from builders import Array
from pruning_builders import NETS, Net, dense, residual, transformer

from eapc import evaluation
from eapc.errors import DataError, UsageError
from eapc.evaluation import RELATIVE_ERROR, TOP1_AGREEMENT, Accuracy, Agreement, agreement
from eapc.goals import (
    DEFAULT_GOAL,
    HELD_OUT,
    MAX_OUTPUT_ERROR,
    Goal,
    MaxDrop,
    MinAgreement,
    Outcome,
    Quality,
    Sparsity,
    TargetEnergy,
    Trials,
    measure,
)
from eapc.hardware import load_hardware
from eapc.judges import AccuracyJudge
from eapc.pipeline import Compilation, Conditions, Pipeline
from eapc.recipe import Recipe
from eapc.registry import load_passes
from eapc.runtime import collect_outputs

EYERISS = load_hardware("eyeriss")
RECIPE = Recipe(load_passes())


def varied() -> Net:
    """The residual network on images that differ enough to fall in several classes."""
    x = residual().arrays["x"]
    gains = np.random.default_rng(1).normal(1, 1.5, (len(x), 3, 1, 1)).astype(np.float32)
    return Net(residual().proto, {"x": x * gains})


def start(net: Net, synthesised: bool = False) -> Compilation:
    data = net.data
    if synthesised:
        data = replace(data, synthesised=True)
    return Compilation(net.model, EYERISS, data, Conditions(threads=1))


def trials(net: Net, synthesised: bool = False) -> Trials:
    return Trials(start(net, synthesised), RECIPE)


@cache
def reached(name: str, goal: Goal) -> Outcome:
    net = varied() if name == "varied" else NETS[name]()
    return goal.pursue(trials(net))


def ratio(outcome: Outcome) -> float:
    assert outcome.result.energy is not None
    return outcome.result.energy.energy_mac_units / outcome.before.energy_mac_units


# --- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_sparsity_refuses(value: float) -> None:
    with pytest.raises(UsageError, match=r"--sparsity: expected a fraction in \[0, 1\), got"):
        Sparsity(value)


@pytest.mark.parametrize("value", [-0.1, 0.0, 1.5, float("nan")])
def test_target_energy_refuses(value: float) -> None:
    with pytest.raises(UsageError, match=r"--target-energy: expected a fraction in \(0, 1\]"):
        TargetEnergy(value)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_min_agreement_refuses(value: float) -> None:
    with pytest.raises(UsageError, match=r"--min-agreement: expected a fraction in \[0, 1\]"):
        MinAgreement(value)


@pytest.mark.parametrize(
    "goal", [Sparsity(0.0), TargetEnergy(1.0), MinAgreement(1.0), MaxDrop(0.01), DEFAULT_GOAL]
)
def test_a_goal_prints_a_pipeline_that_can_be_typed(goal: Goal) -> None:
    text = str(goal.pipeline(RECIPE))
    assert str(Pipeline.parse(text, RECIPE.passes)) == text


# --- uniform ---------------------------------------------------------------------------------


def test_sparsity_prunes_every_layer_alike() -> None:
    outcome = reached("residual", Sparsity(0.75))
    assert outcome.is_met
    assert outcome.agreement is None
    records = outcome.result.record.layers.values()
    assert all(record.sparsity == pytest.approx(0.75, abs=0.02) for record in records)
    assert 0 < ratio(outcome) < 1


# --- energy ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1.0, 0.9, 0.8])
@pytest.mark.parametrize("name", ["residual", "dense", "transformer"])
def test_target_energy_is_met_on_the_measured_energy(name: str, value: float) -> None:
    outcome = reached(name, TargetEnergy(value))
    assert outcome.is_met
    assert outcome.reason == ""
    assert value - 0.1 < ratio(outcome) <= value


def test_the_printed_pipeline_gives_the_result_again() -> None:
    outcome = reached("residual", TargetEnergy(0.8))
    again = outcome.pipeline.run(start(residual()))
    assert again.energy is not None
    assert again.energy.energy_mac_units == pytest.approx(
        ratio(outcome) * outcome.before.energy_mac_units, rel=2e-3
    )


@pytest.mark.parametrize("value", [0.3, 0.001])
def test_energy_out_of_reach(value: float) -> None:
    outcome = reached("residual", TargetEnergy(value))
    assert not outcome.is_met
    assert f"not {value:g}" in outcome.reason
    assert f"{ratio(outcome):.3f}" in outcome.reason
    assert "\n" not in outcome.reason
    lowest = reached("residual", TargetEnergy(0.001))
    assert ratio(outcome) <= ratio(lowest) + 0.02
    assert all(r.sparsity > 0.9 for r in lowest.result.record.layers.values() if r.weights > 100)


def test_all_time_spent_is_told() -> None:
    outcome = reached("residual", TargetEnergy(0.8))
    assert {"annotate-energy", "prune-weights", "reconstruct-outputs"} <= set(
        outcome.result.record.seconds
    )


# --- agreement -------------------------------------------------------------------------------


def judged(outcome: Outcome, net: Net, by_error: bool) -> float:
    _, held_out = net.data.split(HELD_OUT)
    model = outcome.result.model
    outputs: list[dict[str, Array]] = [
        collect_outputs(each, held_out, 1) for each in (model.original, model)
    ]
    return agreement(outputs[0], outputs[1], 0.0, 1.0, by_error).value


@pytest.fixture
def few_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let eight held-out inputs decide a share."""
    monkeypatch.setattr(evaluation, "_FEWEST_FOR_SHARE", 1)


@pytest.mark.usefixtures("few_count")
@pytest.mark.parametrize("value", [0.5, 0.9, 1.0])
def test_min_agreement_holds_on_inputs_that_were_not_fitted(value: float) -> None:
    outcome = reached("varied", MinAgreement(value))
    verdict = outcome.agreement
    assert verdict is not None
    assert verdict.metric == TOP1_AGREEMENT
    assert verdict.samples == 8
    assert verdict.value == judged(outcome, varied(), by_error=False)
    assert outcome.is_met == verdict.is_met == (verdict.value >= value)
    assert (outcome.reason == "") == outcome.is_met


@pytest.mark.usefixtures("few_count")
def test_less_agreement_costs_no_more_energy() -> None:
    assert ratio(reached("varied", MinAgreement(0.5))) <= ratio(
        reached("varied", MinAgreement(1.0))
    )


def test_other_networks_are_judged_by_their_output_error() -> None:
    outcome = reached("transformer", DEFAULT_GOAL)
    verdict = outcome.agreement
    assert verdict is not None
    assert verdict.metric == RELATIVE_ERROR
    assert verdict.limit == MAX_OUTPUT_ERROR
    assert outcome.is_met
    assert verdict.value <= MAX_OUTPUT_ERROR
    assert ratio(outcome) < 1


def test_synthesised_inputs_are_judged_by_the_output_error() -> None:
    outcome = DEFAULT_GOAL.pursue(trials(varied(), synthesised=True))
    assert outcome.agreement is not None
    assert outcome.agreement.metric == RELATIVE_ERROR


def test_a_goal_that_nothing_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eapc.goals.trials.MAX_OUTPUT_ERROR", -1.0)
    outcome = DEFAULT_GOAL.pursue(trials(transformer()))
    assert not outcome.is_met
    assert outcome.agreement is not None
    assert not outcome.agreement.is_met
    assert outcome.reason
    assert "\n" not in outcome.reason
    assert ratio(outcome) == pytest.approx(1, abs=0.01)


def test_a_goal_that_everything_meets() -> None:
    outcome = reached("varied", MinAgreement(0.0))
    assert outcome.is_met
    lowest = ratio(reached("residual", TargetEnergy(0.001)))
    assert ratio(outcome) < lowest + 0.1


def test_too_few_inputs_to_hold_any_out() -> None:
    net = dense()
    few = Net(net.proto, {"x": net.arrays["x"][:1]})
    with pytest.raises(DataError, match="too few"):
        DEFAULT_GOAL.pursue(trials(few))


def test_a_handful_of_inputs_will_do() -> None:
    net = dense()
    few = Net(net.proto, {"x": net.arrays["x"][:3]})
    assert DEFAULT_GOAL.pursue(trials(few)).agreement is not None


def test_the_compilation_given_is_left_alone() -> None:
    net = residual()
    compilation = start(net)
    before = net.proto.SerializeToString()
    TargetEnergy(0.9).pursue(Trials(compilation, RECIPE))
    assert compilation.record.layers == {}
    assert compilation.model.weights == {}
    assert net.proto.SerializeToString() == before


# --- accuracy --------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_max_drop_refuses(value: float) -> None:
    with pytest.raises(UsageError, match=r"--max-drop: expected a fraction in \[0, 1\), got"):
        MaxDrop(value)


def labelled(net: Net) -> AccuracyJudge:
    """A judge whose labels are the network's own answers: all of them right."""
    (scores,) = collect_outputs(net.model, net.data, 1).values()
    return AccuracyJudge.of(net.model, replace(net.data, labels=scores.argmax(axis=1)), 1)


@cache
def dropped(value: float) -> Outcome:
    net = varied()
    return MaxDrop(value).pursue(Trials(start(net), RECIPE, labelled(net)))


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3])
def test_max_drop_decides_on_one_half_and_reports_the_other(value: float) -> None:
    outcome = dropped(value)
    assert outcome.is_met
    decided, other = labelled(varied()).halves()
    model = outcome.result.model
    assert outcome.decided == decided.accuracy(model)
    assert outcome.accuracy == other.accuracy(model)
    assert outcome.decided is not None
    assert outcome.decided.before == 1
    assert outcome.decided.after >= 1 - value
    assert ratio(outcome) < 1


def test_a_larger_drop_costs_no_more_energy() -> None:
    assert ratio(dropped(0.3)) <= ratio(dropped(0.1)) <= ratio(dropped(0.0))


def test_a_little_less_energy_drops_more() -> None:
    outcome = dropped(0.1)
    net = varied()
    shared = Trials(start(net), RECIPE)
    (budget,) = (float(part) for part in re.findall(r"energy=([\d.]+)", str(outcome.pipeline)))
    below = shared.at(budget - 0.008).model
    decided, _ = labelled(net).halves()
    assert not decided.accuracy(below).is_within(0.1)


def test_max_drop_needs_labels() -> None:
    with pytest.raises(UsageError, match="--eval with labels"):
        MaxDrop(0.1).pursue(trials(varied()))


def test_all_calibration_inputs_are_fitted_for_a_drop() -> None:
    assert "hold-out-inputs" not in str(dropped(0.1).pipeline)
    again = dropped(0.1).pipeline.run(start(varied()))
    for name, array in dropped(0.1).result.model.weights.items():
        np.testing.assert_array_equal(again.model.weights[name], array)


# --- trials ----------------------------------------------------------------------------------


def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """The budgets that are tried from now on, and what the last layers get beyond their share."""
    budgets: list[tuple[float, float]] = []
    at = Trials.at

    def counting(self: Trials, budget: float, late: float = 0.0) -> Compilation:
        budgets.append((budget, late))
        return at(self, budget, late)

    monkeypatch.setattr(Trials, "at", counting)
    return budgets


@pytest.mark.usefixtures("few_count")
def test_another_goal_takes_up_the_trials_made(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = trials(varied())
    MinAgreement(0.9).pursue(shared)
    tried = counted(monkeypatch)
    again = MinAgreement(0.9).pursue(shared)
    assert len(tried) <= 1
    assert ratio(again) == ratio(reached("varied", MinAgreement(0.9)))
    assert again.agreement == reached("varied", MinAgreement(0.9)).agreement


@pytest.mark.parametrize("value", [0.9, 0.75])
def test_an_energy_goal_tries_no_densities_twice(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = counted(monkeypatch)
    shared = trials(residual())
    TargetEnergy(value).pursue(shared)
    assert tried[0] == pytest.approx((value - 0.001, 0))
    predictions = [shared.predicted_ratio(*each) for each in tried]
    assert len(set(predictions)) == len(predictions) <= 4
    assert all(ratio <= sum(each) + 1e-12 for ratio, each in zip(predictions, tried, strict=True))


def test_the_floor_is_told() -> None:
    outcome = reached("residual", TargetEnergy(0.8))
    lowest = reached("residual", TargetEnergy(0.001))
    assert outcome.floor == lowest.floor
    assert outcome.floor == pytest.approx(ratio(lowest), abs=0.03)
    assert reached("residual", Sparsity(0.75)).floor is None


def test_an_agreement_that_does_not_decide_is_said(caplog: pytest.LogCaptureFixture) -> None:
    made_up = trials(varied(), synthesised=True)
    DEFAULT_GOAL.pursue(made_up)
    assert "has no say" not in caplog.text
    MinAgreement(0.9).pursue(made_up)
    assert "--min-agreement 0.9 has no say: outputs are judged by their relative" in caplog.text


# --- quality ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracy", "agreement", "said"),
    [
        (Accuracy(0.9, 0.5, 10), None, "top-1 accuracy fell from 90.0% to 50.0%"),
        (Accuracy(0.9, 0.81, 100), None, ""),
        (None, Agreement(TOP1_AGREEMENT, 0.6, 0.9, 10), "only 60.0% of the answers"),
        (None, Agreement(TOP1_AGREEMENT, 0.91, 0.9, 10), ""),
        (None, Agreement(RELATIVE_ERROR, 0.5, 0.25, 10), "relative error is 0.5"),
        (None, Agreement(RELATIVE_ERROR, 0.24, 0.25, 10), ""),
        (Accuracy(0.9, 0.9, 10), Agreement(TOP1_AGREEMENT, 0.1, 0.9, 10), ""),
    ],
)
def test_spoilt_outputs_are_warned_of(
    accuracy: Accuracy | None, agreement: Agreement | None, said: str
) -> None:
    quality = Quality(accuracy, agreement, fitted=True)
    warning = quality.warning(TargetEnergy(0.6), "unstructured")
    assert said in warning
    assert bool(warning) == bool(said)
    assert not warning or warning.startswith("--target-energy 0.6 spoils the outputs: ")
    assert not warning or warning.endswith("; a higher --target-energy keeps more")
    for goal in (DEFAULT_GOAL, MaxDrop(0.1)):
        assert not quality.warning(goal, "unstructured")


def test_a_pattern_that_fixes_the_zeros_is_what_spoils_outputs() -> None:
    warning = Quality(Accuracy(0.9, 0.5, 10), None, fitted=True).warning(Sparsity(0.5), "2:4")
    assert warning.startswith("--pattern 2:4 spoils the outputs: ")
    assert warning.endswith("; a pattern of fewer zeros keeps more")


def test_quality_is_measured_by_labels_or_on_what_was_fitted() -> None:
    net = varied()
    outcome = reached("varied", Sparsity(0.9))
    with_labels = measure(outcome, Trials(start(net), RECIPE, labelled(net)))
    assert with_labels.accuracy == labelled(net).accuracy(outcome.result.model)
    assert with_labels.agreement is None
    without = measure(outcome, trials(net))
    assert without.accuracy is None
    assert without.agreement is not None
    assert (without.agreement.samples, without.fitted) == (len(net.data), True)
    held_out = measure(reached("transformer", DEFAULT_GOAL), trials(transformer()))
    assert held_out.agreement == reached("transformer", DEFAULT_GOAL).agreement
    assert not held_out.fitted
