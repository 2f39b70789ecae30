"""--max-drop: half of the labelled inputs decides, the other half reports."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
from goal_builders import RECIPE, labelled, ratio, start, trials, varied

from eapc.errors import UsageError
from eapc.goals import MaxDrop, Pruned, Trials
from eapc.goals.goal import Budget


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_max_drop_refuses(value: float) -> None:
    with pytest.raises(UsageError, match=r"--max-drop: expected a fraction in \[0, 1\), got"):
        MaxDrop(value)


@cache
def dropped(value: float) -> Pruned:
    net = varied()
    return MaxDrop(value).pursue(Trials(start(net), RECIPE, labelled(net)))


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3])
def test_max_drop_decides_on_one_half_and_reports_the_other(value: float) -> None:
    outcome = dropped(value)
    assert outcome.goal_met
    decided, other = labelled(varied()).halves()
    model = outcome.model
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
    (budget,) = (float(part) for part in re.findall(r"energy=([\d.]+)", outcome.pipeline))
    below = shared.pruner.at(Budget(budget - 0.008)).model
    decided, _ = labelled(net).halves()
    assert not decided.accuracy(below).is_within(0.1)


def test_max_drop_needs_labels() -> None:
    with pytest.raises(UsageError, match="--eval with labels"):
        MaxDrop(0.1).pursue(trials(varied()))


def test_all_calibration_inputs_are_fitted_for_a_drop() -> None:
    assert "hold-out-inputs" not in dropped(0.1).pipeline
    again = dropped(0.1).steps.run(start(varied()))
    for name, array in dropped(0.1).model.weights.items():
        np.testing.assert_array_equal(again.model.weights[name], array)
