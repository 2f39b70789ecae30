"""A cost to lower to a fraction of the dense network's, measured on the pruned network."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from eapc.errors import UsageError
from eapc.goals.goal import Budget, Goal
from eapc.goals.holders import held_by
from eapc.goals.result import Pruned, Trial, costs_of

if TYPE_CHECKING:
    from eapc.goals.trials import Trials
    from eapc.pipeline import Options, Pass, Recipe

logger = logging.getLogger(__name__)

_TOLERANCE = 0.002
"""What the result may stay below the goal by."""

_AIM = 0.75
"""Where in the tolerance to aim: a result above the goal takes another fit, one below it none."""

_TRIALS = 4
_LOWEST_BUDGET = 1e-3

_LONGEST_TAIL = 0.005
"""What the last layers may take alone: beyond it their share would be far from the best."""

_LEAST_SLOPE = 0.1
"""What a cost is taken to fall by at least with the budget, lest a step leads anywhere."""


@dataclass(frozen=True)
class Target(Goal):
    """A cost to lower to at most this fraction of what the dense network takes.

    `cost` is its name. Budgets are told in the recipe's objective; `objective` says which one
    that has to be, `other_objective` what to do where it is another. Left empty, any will do.
    """

    value: float

    cost: ClassVar[str]
    objective: ClassVar[str] = ""
    other_objective: ClassVar[str] = ""
    span = "(0, 1]"
    has_budget = True
    note = "where the result misses the goal, budgets beside it are tried"

    @abstractmethod
    def ratio(self, result: Pruned) -> float:
        """The cost of a result over that of the dense network."""

    def shares(self, result: Pruned) -> Mapping[str, float]:  # noqa: ARG002
        """The cost of each node of a result over the dense network's whole cost, where known."""
        return {}

    def options(self, recipe: Recipe) -> Options:
        """The budget itself; the search may have to aim lower."""
        if self.objective and recipe.objective not in ("", self.objective):
            raise UsageError(f"{self.option}: {self.other_objective}")
        return replace(recipe, objective=self.objective or recipe.objective).budget(self.value)

    def steps(self, recipe: Recipe) -> tuple[Pass, ...]:
        """Those of a budget, which is one of energies at the widths to come."""
        return (*recipe.settling(self.value), *super().steps(recipe))

    def pursue(self, trials: Trials) -> Pruned:
        """The best of a few trials."""
        trials = trials.of(self)
        best = self._best_of(self._tried(trials))
        best = replace(best, floor=trials.pruner.plan.lowest_ratio)
        ratio = self.ratio(best)
        if ratio <= self.value:
            return best
        held = held_by(best, self.shares(best))
        said = f"{best.left} the network still takes {ratio:.3f} of the {self.cost}"
        why = f"; of the original {self.cost} {held}" if held.holders else ""
        return replace(best, goal_met=False, held=held, reason=f"{said}, not {self.value:g}{why}")

    def _best_of(self, tried: Iterator[Pruned]) -> Pruned:
        """What misses least, with a record of all that was tried; one network is kept at a time."""
        best: Pruned | None = None
        seen: list[Trial] = []
        place = 0
        for each in tried:
            costs = {**costs_of(each.compilation, each.before), self.cost: self.ratio(each)}
            seen.append(Trial(costs, is_kept=costs[self.cost] <= self.value))
            if best is None or self._missed_by(each) < self._missed_by(best):
                best, place = each, len(seen) - 1
        assert best is not None  # something is always tried
        seen[place] = replace(seen[place], is_chosen=True)
        return replace(best, trials=tuple(seen))

    def _tried(self, trials: Trials) -> Iterator[Pruned]:
        """Results to within the tolerance; while the last one misses it, corrected by as much.

        Where that is little the last layers take it alone, so that the others' fits hold. Layers
        take densities in steps: what comes to the same densities is tried once. A budget of the
        cost itself changes it by as much as the budget, another one by as much as it did.
        """
        aim, whole = _typed(self.value - _AIM * _TOLERANCE), trials.pruner.highest
        first = aim if self.objective else _typed(aim * whole)
        budget: Budget | None = Budget(first, split_like=first)
        tried: dict[float, float] = {}
        before, slope = (whole, 1.0), 1.0
        while budget and len(tried) < _TRIALS:
            predicted = trials.predicted_ratio(budget)
            result = trials.pruner.at(budget)
            found = Pruned(self, result, trials.before, trials.pipeline_at(budget))
            tried[predicted] = ratio = self.ratio(found)
            logger.info("%s gave %.4f", budget, ratio)
            yield found
            if self.value - _TOLERANCE <= ratio <= self.value:
                return
            if not self.objective and before[0] != predicted:
                slope = max((before[1] - ratio) / (before[0] - predicted), _LEAST_SLOPE)
            before = predicted, ratio
            budget = _next(trials, budget, predicted + (aim - ratio) / slope, tried)

    def _missed_by(self, result: Pruned) -> tuple[bool, float]:
        """Least below the goal for what gives up least, above it for what comes closest."""
        ratio = self.ratio(result)
        return (True, ratio) if ratio > self.value else (False, -ratio)


def _next(trials: Trials, last: Budget, wanted: float, tried: Collection[float]) -> Budget | None:
    """What to try for a predicted ratio of `wanted`; None where all of it was tried."""
    tail = round(wanted - trials.predicted_ratio(last._replace(tail=0.0)), 6)
    corrected, anew = last._replace(tail=tail), last._replace(ratio=_typed(wanted), tail=0.0)
    if trials.pruner.can_correct and abs(tail) <= _LONGEST_TAIL:
        predicted = trials.predicted_ratio(corrected)
        if predicted not in tried and abs(predicted - wanted) <= _TOLERANCE / 2:
            return corrected
    return None if trials.predicted_ratio(anew) in tried else anew


def _typed(budget: float) -> float:
    """A budget that can be had, of as many digits as are printed."""
    return round(min(1.0, max(budget, _LOWEST_BUDGET)), 6)
