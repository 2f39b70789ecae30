"""The search over budgets: bisection's answer in fewer trials."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from eapc.goals.search import BudgetSearch, Judgement, budgets_between, lowest_meeting

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


class Lost(NamedTuple):
    """A verdict that is a loss alone."""

    loss: float


def search_of(costs: dict[float, float]) -> tuple[BudgetSearch[Lost], list[float]]:
    """A search whose budgets lose 1 - budget and cost as given, else the budget itself."""
    pruned: list[float] = []

    def prune(budget: float) -> Any:
        pruned.append(budget)
        return SimpleNamespace(model=budget)

    curves: Any = SimpleNamespace(
        lowest_ratio=0.5, predicted=lambda budget: SimpleNamespace(error=1 - budget)
    )

    def judge(model: Any) -> Lost:
        return Lost(1 - float(model))

    def known(result: Any) -> dict[str, float]:
        return {"energy": costs.get(float(result.model), float(result.model))}

    return BudgetSearch(prune, curves, judge, lambda error: error, known), pruned


def test_the_lowest_budget_is_the_answer_where_costs_follow_it() -> None:
    search, pruned = search_of({})
    found = search.lowest(lambda verdict: verdict.loss <= 0.25, 0.25)
    assert found.budget == 0.75
    assert found.below == (0.7422, Lost(1 - 0.7422))
    assert pruned.count(0.75) <= 2


def test_a_budget_above_that_costs_less_is_the_answer() -> None:
    """0.75 is the lowest that is good enough and costs 0.9; of three above it one costs less."""
    search, pruned = search_of({0.75: 0.9, 0.7578: 0.85, 0.7656: 0.77})
    found = search.lowest(lambda verdict: verdict.loss <= 0.25, 0.25)
    assert found.budget == 0.7656
    assert found.verdict == Lost(1 - 0.7656)
    assert found.below is None
    assert pruned[-1] == 0.7656
    assert 0.7734 not in pruned  # 0.7656 costs about what it was to


def test_no_more_than_three_budgets_above_are_tried() -> None:
    search, pruned = search_of(dict.fromkeys(budgets_between(0.5)[:-1], 0.95))
    found = search.lowest(lambda verdict: verdict.loss <= 0.25, 0.25)
    assert found.budget == 0.75
    assert {0.7578, 0.7656, 0.7734} <= set(pruned)
    assert len([budget for budget in pruned if 0.7734 < budget < 0.8]) == 0


def test_a_goal_does_not_depend_on_those_before_it() -> None:
    search, _ = search_of({0.75: 0.9})
    easy, hard = (search.lowest(lambda v, a=a: v.loss <= a, a) for a in (0.25, 0.125))  # type: ignore[misc]
    again = search.lowest(lambda verdict: verdict.loss <= 0.25, 0.25)
    assert (easy.budget, hard.budget, again.budget) == (0.7578, 0.875, 0.7578)


def test_what_costs_more_than_the_original_is_not_taken() -> None:
    search, _ = search_of(dict.fromkeys(budgets_between(0.5)[:-1], 1.01))
    found = search.lowest(lambda verdict: verdict.loss <= 0.25, 0.25)
    assert found.budget == 1.0
    assert found.verdict == Lost(0.0)
