"""The search over budgets: bisection's answer in fewer trials."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eapc.goals.search import Judgement, budgets_between, lowest_meeting

COUNT = 65


def searched(
    boundary: int, predicted: list[float], losses: list[float], allowed: float
) -> tuple[int, list[int]]:
    tried: list[int] = []

    def judge(index: int) -> Judgement:
        tried.append(index)
        return Judgement(index >= boundary, losses[index])

    return lowest_meeting(predicted, allowed, judge), tried


def falling(boundary: int, steepness: float = 0.2) -> list[float]:
    """Losses by index that pass 1 at the boundary."""
    return [math.exp(steepness * (boundary - i)) for i in range(COUNT)]


@pytest.mark.parametrize("boundary", range(1, COUNT))
@pytest.mark.parametrize("error", [-70, -9, 0, 4, 30])
def test_the_answer_does_not_depend_on_the_prediction(boundary: int, error: int) -> None:
    found, tried = searched(boundary, falling(boundary + error), falling(boundary), 1.0)
    assert found == boundary
    assert len(set(tried)) == len(tried) <= 3 + 6
    assert all(0 < index < COUNT - 1 for index in tried)


@pytest.mark.parametrize("boundary", [5, 20, 40, 60])
@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_a_prediction_of_the_right_form_saves_trials(boundary: int, factor: float) -> None:
    predicted = [factor * loss for loss in falling(boundary)]
    _, tried = searched(boundary, predicted, falling(boundary), 1.0)
    assert len(tried) <= 4


@pytest.mark.parametrize("useless", [0.0, math.inf, math.nan, 1.0])
def test_a_prediction_of_no_use_costs_little(useless: float) -> None:
    for boundary in range(1, COUNT):
        found, tried = searched(boundary, [useless] * COUNT, falling(boundary), 1.0)
        assert found == boundary
        assert len(tried) <= 9


@pytest.mark.parametrize("loss", [0.0, -0.01, math.inf])
def test_losses_that_cannot_scale_a_prediction(loss: float) -> None:
    found, _ = searched(30, falling(10), [loss] * COUNT, 1.0)
    assert found == 30


def test_what_nothing_meets_is_the_last() -> None:
    found, tried = searched(COUNT, falling(3), falling(3), 1.0)
    assert found == COUNT - 1
    assert COUNT - 1 not in tried


def test_two_indices_need_no_trial() -> None:
    assert lowest_meeting([1.0, 0.0], 0.5, lambda _: pytest.fail("tried")) == 1


@pytest.mark.parametrize(("lowest", "count"), [(0.6, 65), (0.99, 3), (0.995, 2), (1.0, 2)])
def test_budgets_are_close_enough_and_no_closer(lowest: float, count: int) -> None:
    budgets = budgets_between(lowest)
    assert (budgets[0], budgets[-1], len(budgets)) == (lowest, 1.0, count)
    assert np.diff(budgets).max() <= 0.008
    assert count == 2 or np.diff(budgets).max() > 0.004
