"""Goals: what they refuse, what uniform pruning and an energy budget come to, and trials."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from goal_builders import RAW_MAPS, RECIPE, counted, ratio, reached, start, trials
from pruning_builders import residual

from eapc.errors import UsageError
from eapc.goals import DEFAULT_GOAL, Goal, MaxDrop, MinAgreement, Sparsity, TargetEnergy, Trials
from eapc.goals.goal import Budget
from eapc.goals.target import next_budget
from eapc.pipeline import Pipeline


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_sparsity_refuses(value: float) -> None:
    with pytest.raises(UsageError, match=r"--sparsity: expected a fraction in \[0, 1\), got"):
        Sparsity(value)


@pytest.mark.parametrize("value", [-0.1, 0.0, 1.5, float("nan")])
def test_target_energy_refuses(value: float) -> None:
    with pytest.raises(UsageError, match=r"--target-energy: expected a fraction in \(0, 1\]"):
        TargetEnergy(value)


@pytest.mark.parametrize(
    "goal", [Sparsity(0.0), TargetEnergy(1.0), MinAgreement(1.0), MaxDrop(0.01), DEFAULT_GOAL]
)
def test_a_goal_prints_a_pipeline_that_can_be_typed(goal: Goal) -> None:
    text = str(goal.pipeline(RECIPE))
    assert str(Pipeline.parse(text, RECIPE.passes)) == text


def test_sparsity_prunes_every_layer_alike() -> None:
    outcome = reached("residual", Sparsity(0.75))
    assert outcome.goal_met
    assert outcome.agreement is None
    records = outcome.compilation.record.layers.values()
    assert all(record.sparsity == pytest.approx(0.75, abs=0.02) for record in records)
    assert 0 < ratio(outcome) < 1


@pytest.mark.parametrize("value", [1.0, 0.9, 0.8])
@pytest.mark.parametrize("name", ["residual", "dense", "transformer"])
def test_target_energy_is_met_on_the_measured_energy(name: str, value: float) -> None:
    outcome = reached(name, TargetEnergy(value))
    assert outcome.goal_met
    assert outcome.reason == ""
    assert value - 0.1 < ratio(outcome) <= value


def test_the_printed_pipeline_gives_the_result_again() -> None:
    outcome = reached("residual", TargetEnergy(0.8))
    again = outcome.steps.run(start(residual()))
    assert again.energy is not None
    assert again.energy.energy_mac_units == pytest.approx(
        ratio(outcome) * outcome.before.energy_mac_units, rel=2e-3
    )


@pytest.mark.parametrize("value", [0.3, 0.001])
def test_energy_out_of_reach(value: float) -> None:
    outcome = reached("residual", TargetEnergy(value))
    assert not outcome.goal_met
    assert f"not {value:g}" in outcome.reason
    assert f"{ratio(outcome):.3f}" in outcome.reason
    assert "\n" not in outcome.reason
    lowest = reached("residual", TargetEnergy(0.001))
    assert ratio(outcome) <= ratio(lowest) + 0.02
    assert all(
        r.sparsity > 0.9 for r in lowest.compilation.record.layers.values() if r.weights > 100
    )


def test_all_time_spent_is_told() -> None:
    outcome = reached("residual", TargetEnergy(0.8))
    assert {"annotate-energy", "prune-weights", "reconstruct-outputs"} <= set(
        outcome.compilation.record.seconds
    )


@pytest.mark.parametrize("value", [0.9, 0.75])
def test_an_energy_goal_tries_no_densities_twice(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, goal = counted(monkeypatch), TargetEnergy(value)
    shared = trials(residual()).of(goal)
    goal.pursue(shared)
    assert tried[0].ratio == pytest.approx(value - 0.0015)
    assert tried[0].tail == 0
    predictions = [shared.predicted_ratio(each) for each in tried]
    assert len(set(predictions)) == len(predictions) <= 4
    assert all(
        ratio <= each.ratio + each.tail + 1e-12
        for ratio, each in zip(predictions, tried, strict=True)
    )


def test_the_floor_is_told() -> None:
    net = residual()
    shared = Trials(start(net, hardware=RAW_MAPS), RECIPE)
    outcome, lowest = (TargetEnergy(value).pursue(shared) for value in (0.8, 0.001))
    assert outcome.floor == lowest.floor
    assert outcome.floor == pytest.approx(ratio(lowest), abs=0.03)
    assert reached("residual", Sparsity(0.75)).floor is None


@pytest.mark.parametrize(("wanted", "split_like"), [(0.6, 0.7), (0.4, 0.4)])
def test_widths_are_chosen_anew_where_all_budgets_at_them_are_tried(
    wanted: float, split_like: float
) -> None:
    """At the widths for 0.7 nothing is below 0.5, which was tried."""

    def predicted_ratio(budget: Budget) -> float:
        return max(budget.ratio, 0.5 if budget.settled_by == 0.7 else 0.3)

    made: Any = SimpleNamespace(
        predicted_ratio=predicted_ratio, pruner=SimpleNamespace(can_correct=False)
    )
    found = next_budget(made, Budget(0.7, split_like=0.7), wanted, {0.7, 0.5})
    assert found == Budget(wanted, split_like=split_like)
    assert next_budget(made, Budget(0.4, split_like=0.4), 0.2, {0.7, 0.5, 0.4, 0.3}) is None


def test_widths_are_chosen_anew_where_lower_budgets_lower_nothing() -> None:
    made: Any = SimpleNamespace(
        predicted_ratio=lambda budget: budget.ratio, pruner=SimpleNamespace(can_correct=True)
    )
    last = Budget(0.7, split_like=0.8)
    assert next_budget(made, last, 0.6, {0.7}) == Budget(0.6, split_like=0.8)
    assert next_budget(made, last, 0.6, {0.7}, is_stuck=True) == Budget(0.6, split_like=0.6)
    assert next_budget(made, last, 0.699, {0.7}, is_stuck=True) == Budget(0.699, split_like=0.699)
