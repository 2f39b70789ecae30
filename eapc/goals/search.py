"""The lowest energy budget whose result is still good enough."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple

import numpy as np

from eapc.allocation import Plan
from eapc.goals.bound import V
from eapc.goals.result import Trial
from eapc.model import Model
from eapc.pipeline import Compilation

logger = logging.getLogger(__name__)

_RESOLUTION = 0.008
"""Budgets closer than this, a fraction of the dense energy, are not worth another trial."""

_GUESSES = 3
"""Trials that may follow the prediction; a prediction that is still off then is of no use."""


_NEIGHBOURS = 3
"""Budgets above the answer that are tried where it costs more than it was to."""


class Judgement(NamedTuple):
    """Whether a trial is good enough, and what it lost."""

    is_met: bool
    loss: float


def lowest_meeting(
    predicted: Sequence[float], allowed: float, judge: Callable[[int], Judgement]
) -> int:
    """The lowest index that is good enough, where all above it are and the last one is.

    The first index counts as not good enough; neither it nor the last one is tried. The
    answer is bisection's, whatever `predicted` losses by index say: they choose what is tried
    first. Each trial that follows scales them to what the one before has lost.
    """
    low, high, scale, guesses = 0, len(predicted) - 1, 1.0, _GUESSES
    while high - low > 1:
        index = (low + high) // 2
        if guesses:
            index = _first_within(predicted, allowed / scale, low, high)
        is_met, loss = judge(index)
        low, high = (low, index) if is_met else (index, high)
        guesses -= 1 if guesses else 0
        if not 0 < predicted[index] < math.inf or not 0 < loss < math.inf:
            guesses = 0
        else:
            scale = loss / predicted[index]
    return high


def _first_within(predicted: Sequence[float], allowed: float, low: int, high: int) -> int:
    """The lowest index between `low` and `high`, both excluded, that should be good enough."""
    inside = range(low + 1, high)
    return next((i for i in inside if predicted[i] <= allowed), inside[-1])


@dataclass(frozen=True)
class Found(Generic[V]):
    """The result at the lowest budget that is good enough, or else at the dense energy.

    `below` is the next lower budget with its verdict, where that was tried: it is not good enough.
    """

    budget: float
    result: Compilation
    verdict: V
    below: tuple[float, V] | None = None


class _Tried(NamedTuple, Generic[V]):
    """What a budget has come to: costs are ratios to the dense network's, by name."""

    verdict: V
    costs: Mapping[str, float]


class BudgetSearch(Generic[V]):
    """Searches budgets for one judge; verdicts are remembered from one search to the next.

    `costs` are what a result takes over what the dense network takes, by name, and `objective` is
    the one that budgets are of: feature maps of other zeros may make it rise where a budget
    falls. From the budget `highest` on nothing is pruned.
    """

    def __init__(
        self,
        prune: Callable[[float], Compilation],
        curves: Plan,
        judge: Callable[[Model], V],
        expected_loss: Callable[[float], float],
        costs: Callable[[Compilation], Mapping[str, float]],
        highest: float = 1.0,
        objective: str = "energy",
    ) -> None:
        self._prune = prune
        self._judge = judge
        self._costs = costs
        self._objective = objective
        self._highest = highest
        self._budgets = budgets_between(curves.lowest_ratio, highest)
        errors = np.minimum.accumulate([curves.predicted(budget).error for budget in self._budgets])
        self._predicted = [expected_loss(float(error)) for error in errors]
        self._tried: dict[float, _Tried[V]] = {}
        self._latest: tuple[float, Compilation] | None = None

    def lowest(self, is_met: Callable[[V], bool], allowed: float) -> Found[V]:
        """The result at the lowest budget that is good enough: a loss of `allowed` is about right.

        Where that costs more than its budget, so that a higher one may cost less, a few above it
        are tried too, and the cheapest is the answer. Where even what is not pruned is another
        network than the dense one, and not good enough, nothing else is tried.
        """

        def judge(index: int) -> Judgement:
            verdict = self._trial(self._budgets[index]).verdict
            return Judgement(is_met(verdict), verdict.loss)

        if self._highest < 1 and not is_met(self._trial(self._budgets[-1]).verdict):
            whole = self._budgets[-1]
            return Found(whole, self._result(whole), self._trial(whole).verdict)
        lowest = lowest_meeting(self._predicted, allowed, judge)
        place = self._cheapest(lowest, is_met)
        budget, next_lower = self._budgets[place], self._budgets[max(0, lowest - 1)]
        tried = self._tried.get(next_lower)
        is_below = place == lowest and tried is not None and not is_met(tried.verdict)
        below = (next_lower, tried.verdict) if is_below and tried else None
        return Found(budget, self._result(budget), self._trial(budget).verdict, below)

    def _cheapest(self, lowest: int, is_met: Callable[[V], bool]) -> int:
        """The cheapest of the lowest index that is good enough and a few above it."""
        costs: dict[int, float] = {}
        for index in range(lowest, min(lowest + _NEIGHBOURS, len(self._budgets) - 1) + 1):
            verdict, known = self._trial(self._budgets[index])
            cost = known[self._objective]
            if index == lowest or is_met(verdict):
                costs[index] = cost
            if cost <= self._budgets[index] + _RESOLUTION:
                break
        best = min(costs, key=lambda index: (costs[index], index))
        return best if costs[best] < 1 else len(self._budgets) - 1

    def _trial(self, budget: float) -> _Tried[V]:
        if budget not in self._tried:
            result = self._result(budget)
            verdict, costs = self._judge(result.model), self._costs(result)
            logger.info("budget %.4f of the %s: %s, %s", budget, self._objective, verdict, costs)
            self._tried[budget] = _Tried(verdict, costs)
        return self._tried[budget]

    def trials(self, is_met: Callable[[V], bool], chosen: float) -> tuple[Trial, ...]:
        """What was tried so far, in that order; the budget `chosen` is the answer."""
        return tuple(
            Trial(tried.costs, tried.verdict.loss, is_met(tried.verdict), budget == chosen)
            for budget, tried in self._tried.items()
        )

    def _result(self, budget: float) -> Compilation:
        """The model pruned to a budget; only the latest is kept, whatever its size."""
        if self._latest is None or self._latest[0] != budget:
            self._latest = None
            self._latest = (budget, self._prune(budget))
        return self._latest[1]


def budgets_between(lowest: float, highest: float = 1.0) -> list[float]:
    """Evenly spaced budgets from the lowest to the highest: as many as bisection tells apart."""
    steps = math.ceil(math.log2(max((highest - lowest) / _RESOLUTION, 1)))
    return [round(float(budget), 4) for budget in np.linspace(lowest, highest, 2**steps + 1)]
