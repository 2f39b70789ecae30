"""Goals: the search for the lowest energy that meets one, and what it says when none does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from builders import Array
from pruning_builders import NETS, Net, dense, residual, transformer

from eapc import evaluation
from eapc.errors import DataError, UsageError
from eapc.evaluation import RELATIVE_ERROR, TOP1_AGREEMENT, agreement
from eapc.goals import (
    DEFAULT_GOAL,
    HELD_OUT,
    MAX_OUTPUT_ERROR,
    Goal,
    MinAgreement,
    Outcome,
    Sparsity,
    TargetEnergy,
    Trials,
)
from eapc.hardware import load_hardware
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
    "goal", [Sparsity(0.0), TargetEnergy(1.0), MinAgreement(1.0), DEFAULT_GOAL]
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
