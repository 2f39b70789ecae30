"""A cost to lower and a bound on the outputs, together."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from goal_builders import RAW_MAPS, RECIPE, labelled, start, trials, varied

from eapc.errors import UsageError
from eapc.goals import (
    Joint,
    MaxDrop,
    MinAgreement,
    Pruned,
    Sparsity,
    TargetEnergy,
    TargetMacs,
    TargetWeights,
    Trial,
    Trials,
    best_trials,
    joined,
)

WEIGHTS = replace(RECIPE, objective="weights")


def labelled_trials() -> Trials:
    net = varied()
    return Trials(start(net, hardware=RAW_MAPS), WEIGHTS, labelled(net))


@cache
def joint(value: float, drop: float) -> Pruned:
    return Joint(TargetWeights(value), MaxDrop(drop)).pursue(labelled_trials())


def kept_weights(pruned: Pruned) -> float:
    """Non-zero weights of the network over those of the original, counted in the tensors."""
    model = pruned.model
    names = [name for name in ("w0", "w1", "w2", "fw") if name in model.constants]
    after = sum(np.count_nonzero(model.constants[name]) for name in names)
    before = sum(np.count_nonzero(model.original.constants[name]) for name in names)
    return float(after / before)


def chosen(pruned: Pruned) -> Trial:
    (one,) = (each for each in pruned.trials if each.is_chosen)
    return one


def test_both_are_kept_where_they_can_be() -> None:
    done = joint(0.8, 0.3)
    assert done.goal_met
    assert done.reason == ""
    assert 0.7 < kept_weights(done) <= 0.8
    assert done.decided == labelled(varied()).halves()[0].accuracy(done.model)
    assert done.decided.loss <= 0.3
    assert str(done.goal) == "--target-weights 0.8 --max-drop 0.3"
    assert "weights=" in done.pipeline


def test_it_is_the_target_s_own_result() -> None:
    """The bound confirms it and changes nothing."""
    alone = TargetWeights(0.8).pursue(labelled_trials())
    done = joint(0.8, 0.3)
    assert done.pipeline == alone.pipeline
    assert [each.costs for each in done.trials] == [each.costs for each in alone.trials]
    assert all(each.loss is not None and each.is_kept for each in done.trials)
    assert chosen(done).costs["weights"] == pytest.approx(kept_weights(done))


def test_out_of_reach_the_cheapest_that_keeps_the_bound_is_the_result() -> None:
    done = joint(0.03, 0.1)
    assert not done.goal_met
    assert done.decided is not None
    assert done.decided.loss <= 0.1
    assert kept_weights(done) > 0.03
    kept = [each.costs["weights"] for each in done.trials if each.is_kept]
    broken = [each.costs["weights"] for each in done.trials if not each.is_kept]
    assert chosen(done).is_kept
    assert chosen(done).costs["weights"] == pytest.approx(kept_weights(done))
    assert chosen(done).costs["weights"] <= min(kept) + 0.02
    assert min(broken) < chosen(done).costs["weights"]
    ratio = TargetWeights(0.03).ratio(done)
    said = f"the lowest weights found to keep --max-drop 0.1 is {ratio:.3f}, not 0.03; at 0."
    assert said in done.reason
    assert "accuracy falls by" in done.reason
    assert done.floor is None  # what is known of weights says nothing of energy


def test_its_bound_is_that_of_the_bound_alone() -> None:
    """What the target has tried saves trials, the answer is the same to a step."""
    alone = MaxDrop(0.1).pursue(labelled_trials())
    assert kept_weights(joint(0.03, 0.1)) == pytest.approx(kept_weights(alone), abs=0.03)


def test_agreement_bounds_too() -> None:
    goal = Joint(TargetMacs(0.97), MinAgreement(0.5))
    done = goal.pursue(trials(varied()))
    assert done.agreement is not None
    assert done.goal_met == (TargetMacs(0.97).ratio(done) <= 0.97 and done.agreement.is_met)
    assert "hold-out-inputs" in done.pipeline
    assert [part.reached(done) for part in goal.parts] == [
        TargetMacs(0.97).ratio(done),
        done.agreement.value,
    ]


def test_macs_are_those_that_no_zero_skips() -> None:
    done = TargetMacs(0.6).pursue(Trials(start(varied()), replace(RECIPE, objective="macs")))
    assert done.goal_met
    assert done.after.nonskipped_macs <= 0.6 * done.before.nonskipped_macs
    assert done.after.macs == done.before.macs
    assert "macs=" in done.pipeline


def test_what_does_not_go_together() -> None:
    with pytest.raises(UsageError, match="--max-drop and --target-energy: give one cost"):
        Joint(MaxDrop(0.1), TargetEnergy(0.5))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--target-macs and --target-energy: give one cost"):
        Joint(TargetMacs(0.5), TargetEnergy(0.5))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--sparsity and --max-drop: give one cost"):
        Joint(Sparsity(0.5), MaxDrop(0.1))  # type: ignore[arg-type]


def test_parts_are_joined_in_either_order() -> None:
    target, bound = TargetEnergy(0.7), MaxDrop(0.01)
    assert joined([bound]) is bound
    assert joined([bound, target]) == joined([target, bound]) == Joint(target, bound)
    for parts in ([], [target, bound, bound], [bound, bound], [target, Sparsity(0.5)]):
        with pytest.raises(UsageError, match="give one"):
            joined(parts)


def test_what_its_parts_ask_for_it_asks_for() -> None:
    goal = Joint(TargetEnergy(0.7), MaxDrop(0.01))
    assert goal.needs_labels
    assert goal.held_out is None
    assert goal.is_known(RECIPE)
    assert goal.options(RECIPE) == {"energy": 0.7}
    other = Joint(TargetWeights(0.7), MinAgreement(0.9))
    assert not other.needs_labels
    assert other.held_out == MinAgreement.held_out
    assert other.is_known(WEIGHTS)
    assert not other.is_known(replace(RECIPE, objective="energy"))
    assert goal == Joint(TargetEnergy(0.7), MaxDrop(0.01)) != other
    assert len({goal, other}) == 2


def test_the_frontier_by_hand() -> None:
    """(0.5, 0.2) and (0.8, 0.1) beat the others: 0.6 loses more, 0.9 costs more."""
    points = [(0.9, 0.1), (0.5, 0.2), (0.6, 0.3), (0.8, 0.1), (0.4, None)]
    found = [Trial({"energy": cost}, loss) for cost, loss in points]
    best = best_trials(found, "energy")
    assert [(each.costs["energy"], each.loss) for each in best] == [(0.5, 0.2), (0.8, 0.1)]
    assert best_trials(found, "latency") == ()
