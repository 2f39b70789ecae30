"""What a search leaves on record: every network it has tried, with its costs and its loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
from goal_builders import RECIPE, answered, counted, labelled, reached, start, trials, varied

from eapc.goals import MaxDrop, MinAgreement, Sparsity, TargetEnergy, Trial, Trials, measured
from eapc.goals.result import costs_of


def chosen(found: tuple[Trial, ...]) -> Trial:
    (one,) = (trial for trial in found if trial.is_chosen)
    return one


def test_a_target_has_every_fit_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = counted(monkeypatch)
    done = TargetEnergy(0.7).pursue(trials(varied()))
    assert len(done.trials) == len(fits) >= 1
    assert chosen(done.trials).costs["energy"] == done.energy_ratio <= 0.7
    assert [trial.is_kept for trial in done.trials] == [
        trial.costs["energy"] <= 0.7 for trial in done.trials
    ]
    assert all(trial.loss is None for trial in done.trials)


def test_costs_are_those_of_the_reports() -> None:
    done = reached("varied", TargetEnergy(0.7))
    before, after = done.before, done.after
    assert costs_of(done.compilation, before) == {
        "energy": after.energy_mac_units / before.energy_mac_units,
        "weights": after.nonzero_weights / before.nonzero_weights,
        "macs": after.nonskipped_macs / before.nonskipped_macs,
    }


def test_the_loss_that_is_measured_is_that_of_the_chosen_one() -> None:
    found = measured(reached("varied", TargetEnergy(0.7)), trials(varied()))
    assert found.agreement is not None
    assert chosen(found.trials).loss == found.agreement.loss


def test_a_bound_has_every_verdict_on_record() -> None:
    net = varied()
    goal = MaxDrop(0.1)
    done = goal.pursue(Trials(start(net), RECIPE, labelled(net)))
    assert done.decided is not None
    best = chosen(done.trials)
    assert best.is_kept
    assert best.loss == done.decided.loss
    assert best.costs["energy"] == done.energy_ratio
    assert len(done.trials) > 1
    for trial in done.trials:
        assert trial.loss is not None
        assert trial.is_kept == (trial.loss <= 0.1 + 1e-9)
        assert trial.is_kept or trial.costs["energy"] < best.costs["energy"] + 0.02


def test_the_same_search_asked_again_tells_by_the_other_bound() -> None:
    """Verdicts are shared; whether they are kept is the goal's own."""
    shared = trials(varied())
    strict, loose = (MinAgreement(value).pursue(shared) for value in (0.99, 0.5))
    assert loose.trials[: len(strict.trials)] != ()
    assert sum(trial.is_chosen for trial in loose.trials) == 1


def test_what_is_not_searched_has_no_trials() -> None:
    assert reached("varied", Sparsity(0.5)).trials == ()
    assert answered(varied()).labels is not None
    assert replace(reached("varied", Sparsity(0.5))).with_loss(0.1).trials == ()
