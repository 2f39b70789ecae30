"""Pruners of channels, and of channels and zeros: goals, plans, printed pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import onnx
import pytest
from goal_builders import labelled, ratio, start, varied
from pruning_builders import NETS, Net
from structured_builders import bytes_of

from eapc.errors import PassError, UsageError
from eapc.evaluation import AgreementJudge
from eapc.goals import Goal, MaxDrop, MinAgreement, Pruned, Sparsity, TargetEnergy, Trials
from eapc.goals.goal import Budget
from eapc.goals.pruners import OneStage, Pruner, TwoStages, pruner_of
from eapc.goals.splits import MOST
from eapc.pipeline import Compilation, Pass, Pipeline, Recipe
from eapc.structured import ChannelPlan

CHANNELS = Recipe(structured=True)
BOTH = Recipe(structured=True, zeros=True)
RECIPES = {"channels": CHANNELS, "both": BOTH}


def net_of(name: str) -> Net:
    return varied() if name == "varied" else NETS[name]()


def trials_of(name: str, recipe: str) -> Trials:
    net = net_of(name)
    return Trials(start(net), RECIPES[recipe], labelled(net) if name == "varied" else None)


_REACHED: dict[tuple[str, str, str], Pruned] = {}


def reached(name: str, recipe: str, goal: Goal) -> Pruned:
    """The outcome of a goal, worked out once."""
    key = (name, recipe, str(goal))
    if key not in _REACHED:
        _REACHED[key] = goal.pursue(trials_of(name, recipe))
    return _REACHED[key]


# --- goals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.9, 0.7])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", ["residual", "dense"])
def test_target_energy_is_met(name: str, recipe: str, value: float) -> None:
    outcome = reached(name, recipe, TargetEnergy(value))
    assert outcome.goal_met
    assert outcome.reason == ""
    assert value - 0.2 < ratio(outcome) <= value
    assert outcome.floor is not None
    assert outcome.floor < ratio(outcome)
    onnx.checker.check_model(outcome.model.to_proto(), full_check=True)


@pytest.mark.parametrize("recipe", RECIPES)
def test_energy_out_of_reach_says_so(recipe: str) -> None:
    outcome = reached("residual", recipe, TargetEnergy(0.001))
    assert not outcome.goal_met
    before, after = (sum(getattr(e, n) for e in outcome.groups) for n in ("before", "after"))
    assert f"with {after} of {before} channels" in outcome.reason
    assert f" left the network still takes {ratio(outcome):.3f} of the energy" in outcome.reason
    assert outcome.floor == pytest.approx(ratio(outcome), abs=0.05)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("value", [0.2, 0.5])
def test_max_drop_holds_on_the_half_that_decides(recipe: str, value: float) -> None:
    outcome = reached("varied", recipe, MaxDrop(value))
    decided, other = labelled(varied()).halves()
    assert outcome.goal_met
    assert outcome.decided == decided.accuracy(outcome.model)
    assert outcome.decided is not None
    assert outcome.decided.is_within(value)
    assert outcome.accuracy == other.accuracy(outcome.model)
    assert ratio(outcome) < 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_min_agreement_is_judged_on_inputs_that_were_not_fitted(recipe: str) -> None:
    outcome = reached("dense", recipe, MinAgreement(0.9))
    assert outcome.agreement is not None
    assert outcome.goal_met == outcome.agreement.is_met
    assert outcome.pipeline.startswith("hold-out-inputs, ")
    assert ratio(outcome) <= 1


def test_sparsity_takes_a_fraction_of_every_group() -> None:
    outcome = reached("residual", "channels", Sparsity(0.5))
    assert outcome.goal_met
    assert outcome.model.constants.shape("w1") == (4, 4, 3, 3)
    with pytest.raises(UsageError, match="with channels and zeros there are two"):
        reached("residual", "both", Sparsity(0.5))


# --- what is printed ---------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("name", "goal"),
    [
        ("residual", TargetEnergy(0.7)),
        ("dense", TargetEnergy(0.9)),
        ("varied", MaxDrop(0.5)),
        ("dense", MinAgreement(0.9)),
    ],
)
def test_the_printed_pipeline_gives_the_result_again(name: str, recipe: str, goal: Goal) -> None:
    outcome = reached(name, recipe, goal)
    text = outcome.pipeline
    assert str(Pipeline.parse(text, CHANNELS.passes)) == text
    again = outcome.steps.run(start(net_of(name)))
    assert again.energy is not None
    energy = outcome.compilation.energy
    assert energy is not None
    assert again.energy.energy_mac_units == pytest.approx(energy.energy_mac_units, rel=5e-3)
    assert bytes_of(again.model) == bytes_of(outcome.model)


# --- pruners -----------------------------------------------------------------------------------


@cache
def pruner(recipe: str) -> OneStage | TwoStages:
    chosen = RECIPES[recipe]
    dense = chosen.annotation().run(start(NETS["residual"]()))
    made = pruner_of(chosen, _run, dense)
    assert isinstance(made, OneStage | TwoStages)
    return made


def test_channels_are_no_layers_to_correct() -> None:
    assert not pruner("channels").can_correct
    assert pruner("both").can_correct
    assert isinstance(pruner("channels").plan, ChannelPlan)
    assert isinstance(pruner("both").plan, ChannelPlan)


def test_curves_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = pruner("channels")
    assert isinstance(made, OneStage)
    assert made.plan.lowest_ratio < 1
    monkeypatch.setattr(
        "eapc.passes.prune_channels.Survey", lambda *_: pytest.fail("curves are measured again")
    )
    for budget in (0.9, 0.8):
        found = made.at(Budget(budget))
        assert found.energy is not None
        assert made.dense.energy is not None
        assert found.energy.energy_mac_units <= 1.02 * budget * made.dense.energy.energy_mac_units


def test_both_are_never_expected_to_lose_more_than_zeros_alone() -> None:
    plan = pruner("both").plan
    assert isinstance(plan, ChannelPlan)
    zeros = plan.layers_at({})
    assert zeros is not None
    assert plan.lowest_ratio < min(zeros.lowest_ratio, pruner("channels").plan.lowest_ratio)
    for budget in np.linspace(0.4, 1, 13).tolist():
        both, alone = plan.predicted(budget), zeros.predicted(budget)
        assert both.ratio <= budget + 1e-6
        if alone.ratio <= budget + 1e-6:
            assert both.error <= 1.01 * alone.error + 1e-12


def test_more_budget_is_never_expected_to_lose_more() -> None:
    for recipe in RECIPES:
        plan = pruner(recipe).plan
        errors = [plan.predicted(budget).error for budget in np.linspace(0.3, 1, 15).tolist()]
        assert all(1.1 * a >= b - 1e-9 for a, b in pairwise(errors))  # no search of all counts
        assert errors[-1] == pytest.approx(0, abs=1e-9)


def test_two_stages_share_a_budget() -> None:
    made = pruner("both")
    assert isinstance(made, TwoStages)
    found = made.at(Budget(0.5))
    assert found.energy is not None
    before = NETS["residual"]().model
    assert any(found.model.constants.shape(n) != before.constants.shape(n) for n in ("w0", "w1"))
    text = typed(made, Budget(0.5))
    assert text.index("shrink-channels") < text.index("prune-weights")


# --- channels and zeros under one budget ------------------------------------------------------


def two_stages(name: str) -> TwoStages:
    return TwoStages(BOTH, _run, BOTH.annotation().run(start(net_of(name))))


known_two_stages = cache(two_stages)
"""As `two_stages`, with what it has measured before."""


@cache
def alone(name: str, kind: str) -> Pruner:
    """A pruner of zeros or of channels alone."""
    recipe = CHANNELS if kind == "channels" else Recipe()
    return pruner_of(recipe, _run, recipe.annotation().run(start(net_of(name))))


def _run(steps: Sequence[Pass], compilation: Compilation) -> Compilation:
    return Pipeline(tuple(steps)).run(compilation)


def typed(made: TwoStages, budget: Budget) -> str:
    return str(Pipeline(made.steps(budget)))


def lost(name: str, result: Compilation) -> float:
    net = net_of(name)
    return AgreementJudge.of(net.model, net.data, 1).divergence(result.model)


@pytest.mark.parametrize("budget", [0.85, 0.7, 0.5])
@pytest.mark.parametrize("name", ["residual", "dense", "varied", "branches"])
def test_both_lose_no_more_than_either_alone(name: str, budget: float) -> None:
    both = lost(name, known_two_stages(name).at(Budget(budget)))
    for kind in ("zeros", "channels"):
        one = alone(name, kind)
        if one.predicted(Budget(budget)).ratio <= budget + 1e-6:
            assert both <= 1.05 * lost(name, one.at(Budget(budget))) + 2e-3  # all but nothing


def test_what_was_asked_before_changes_nothing() -> None:
    made = two_stages("residual")
    fresh = {b: bytes_of(two_stages("residual").at(Budget(b)).model) for b in (0.9, 0.5, 0.7)}
    for budget in (0.9, 0.5, 0.7, 0.5):
        assert bytes_of(made.at(Budget(budget)).model) == fresh[budget]


def test_corrections_keep_the_channels() -> None:
    made = two_stages("residual")
    text = typed(made, Budget(0.7))
    corrected = typed(made, Budget(0.697, split_like=0.7))
    late = typed(made, Budget(0.7, 0.002, split_like=0.7))
    channels = text.partition("shrink-channels")[0]
    assert corrected.startswith(channels)
    assert late.startswith(channels)
    assert len({text, corrected, late}) == 3


@pytest.mark.parametrize(("asked", "energy"), [(0.69, 0.70), (0.3, 0.35), (0.1, 0.34)])
def test_more_channels_go_where_zeros_are_at_their_floor(asked: float, energy: float) -> None:
    made = known_two_stages("residual")
    settled = made.at(Budget(0.7, split_like=0.7))  # 0.64 of the energy with hardly a weight left
    corrected = made.at(Budget(asked, split_like=0.7))
    assert (corrected.record.groups == settled.record.groups) == (asked > 0.64)
    dense = alone("residual", "zeros").at(Budget(1.0)).priced.energy_mac_units
    assert corrected.priced.energy_mac_units / dense == pytest.approx(energy, abs=0.01)


def test_few_prunings_settle_a_budget() -> None:
    pruned: list[str] = []

    def run(steps: Sequence[Pass], compilation: Compilation) -> Compilation:
        pruned.extend(each.name for each in steps)
        return _run(steps, compilation)

    made = TwoStages(BOTH, run, BOTH.annotation().run(start(net_of("dense"))))
    made.at(Budget(0.3, split_like=0.3))
    assert pruned.count("shrink-channels") == MOST + 1  # the best one is kept, not made again
    made.at(Budget(0.3, split_like=0.3))
    made.at(Budget(0.29, split_like=0.3))
    assert pruned.count("shrink-channels") == MOST + 1


def test_the_whole_network_has_its_curves_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = two_stages("residual")
    assert made.plan.lowest_ratio < 1
    monkeypatch.setattr(
        "eapc.pipeline.analyses.error_curves", lambda *_: pytest.fail("measured again")
    )
    for budget in (0.8, 0.5):
        assert made.at(Budget(budget)).priced.nonzero_weights > 0


def test_a_failure_names_its_pass() -> None:
    lone = NETS["tied"]()
    with pytest.raises(PassError, match="prune-channels: no channels can be taken out"):
        TargetEnergy(0.5).pursue(Trials(start(lone), CHANNELS))
