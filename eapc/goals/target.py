"""A cost to lower to a fraction of the dense network's, measured on the pruned network."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from eapc.errors import UsageError
from eapc.goals.goal import Budget, Goal
from eapc.goals.holders import held_by
from eapc.goals.result import Pruned, Trial, costs_of

if TYPE_CHECKING:
    from eapc.goals.trials import Trials
    from eapc.model import Model
    from eapc.pipeline import Options, Pass, Recipe

logger = logging.getLogger(__name__)

Judge = Callable[["Model"], tuple[float, bool]]
"""What a model's outputs have lost, and whether that is within a bound."""

_TOLERANCE = 0.002
"""What the result may stay below the goal by."""

_AIM = 0.75
"""Where in the tolerance to aim: a result above the goal takes another fit, one below it none."""

_TRIALS = 4

_MORE_TRIALS = 6
"""Where budgets are of another objective than the cost, or do not lower it as they should.

What they do to it shows on the way.
"""

_LOWEST_BUDGET = 1e-3

_LONGEST_TAIL = 0.005
"""What the last layers may take alone: beyond it their share would be far from the best."""

_LEAST_OF_ASKED = 0.5
"""Of what a budget was lowered by, the part that the cost has to follow."""

_LEAST_SLOPE = 0.1
"""What a cost is taken to fall by at least with the budget, lest a step leads anywhere."""


@dataclass(frozen=True)
class Target(Goal):
    """A cost to lower to at most this fraction of what the dense network takes.

    `cost` is its name. Budgets are told in the recipe's objective; `objective` says which one
    that has to be, `other_objective` what to do where it is another. Left empty, any will do, and
    `prefers` is the one that is taken where nothing else decides.
    """

    value: Any

    cost: ClassVar[str]
    objective: ClassVar[str] = ""
    other_objective: ClassVar[str] = ""
    prefers: ClassVar[str] = ""
    span = "(0, 1]"
    has_budget = True
    note = "where the result misses the goal, budgets beside it are tried"

    @abstractmethod
    def ratio(self, result: Pruned) -> float:
        """The cost of a result over that of the dense network."""

    def limit(self, dense: Model) -> float:  # noqa: ARG002
        """The fraction of the dense network's cost that is asked for."""
        return float(self.value)

    def shares(self, result: Pruned) -> Mapping[str, float]:  # noqa: ARG002
        """The cost of each node of a result over the dense network's whole cost, where known."""
        return {}

    def ways(self, trials: Trials) -> Iterator[Trials]:
        """Trials by every recipe that may pursue it, those that should lose least first."""
        yield trials

    def unpruned(self, trials: Trials) -> Pruned | None:  # noqa: ARG002
        """The result with nothing pruned, where its cost is not known to be the dense network's."""
        return None

    def can_fall(self, recipe: Recipe) -> bool:  # noqa: ARG002
        """Whether pruning lowers the cost."""
        return True

    def advice(self, recipe: Recipe) -> str:  # noqa: ARG002
        """What would let a cost fall that a recipe cannot lower; else empty."""
        return ""

    def reached(self, pruned: Pruned) -> float | None:
        """The fraction of the cost."""
        return self.ratio(pruned)

    def is_known(self, recipe: Recipe) -> bool:
        """Budgets of another objective are searched."""
        is_told = not self.prefers or recipe.objective == self.prefers
        return is_told and super().is_known(recipe)

    def options(self, recipe: Recipe) -> Options:
        """The budget itself; the search may have to aim lower."""
        if self.objective and recipe.objective not in ("", self.objective):
            raise UsageError(f"{self.option}: {self.other_objective}")
        objective = self.objective or recipe.objective or self.prefers
        value = self.value if self.is_known(replace(recipe, objective=objective)) else 1.0
        return replace(recipe, objective=objective).budget(value)

    def steps(self, recipe: Recipe) -> tuple[Pass, ...]:
        """Those of a budget, which is one of energies at the widths to come."""
        value = self.value if self.is_known(recipe) else 1.0
        return (*recipe.settling(value), *super().steps(recipe))

    def pursue(self, trials: Trials) -> Pruned:
        """The best of a few trials; of several ways the one that loses least."""
        trials = trials.of(self)
        found = [result for _, result in self.tried_ways(trials)]
        met = [each for each in found if each.goal_met]
        best = trials.least_diverging(met) if met else min(found, key=self.ratio)
        return best.with_trials_of(found)

    def tried_ways(
        self, trials: Trials, judge: Judge | None = None
    ) -> Iterator[tuple[Trials, Pruned]]:
        """Each way and what it comes to; none is left to try where one takes no pruning."""
        for way in self.ways(trials):
            found = self.closest(way, judge)
            yield way, found
            if found.goal_met and not found.is_pruned:
                return

    def closest(self, trials: Trials, judge: Judge | None = None) -> Pruned:
        """What misses least of a few trials, each with the loss that a judge tells."""
        limit = self.limit(trials.original)
        best = self._best_of(trials, judge)
        if best.is_pruned:
            best = replace(best, floor=trials.floor)
        ratio = self.ratio(best)
        if ratio <= limit:
            return best
        held = held_by(best, self.shares(best))
        left = best.left if best.is_pruned else "quantized, with nothing pruned,"
        said = f"{left} the network still takes {ratio:.3f} of the {self.cost}"
        why = f"; of the original {self.cost} {held}" if held.holders else ""
        how = f"; {advice}" if (advice := self.advice(trials.recipe)) else ""
        reason = f"{said}, not {limit:.4g}{why}{how}"
        return replace(best, goal_met=False, held=held, reason=reason)

    def _best_of(self, trials: Trials, judge: Judge | None) -> Pruned:
        """What misses least, with all that was tried on record; one network is kept at a time."""
        limit, best, seen, place = self.limit(trials.original), None, list[Trial](), 0
        for each in self._tried(trials, limit):
            costs = {**costs_of(each.compilation, each.before), self.cost: self.ratio(each)}
            lost, kept = (None, costs[self.cost] <= limit) if judge is None else judge(each.model)
            seen.append(Trial(costs, lost, kept))
            if best is None or self._missed_by(each, limit) < self._missed_by(best, limit):
                best, place = each, len(seen) - 1
        assert best is not None  # something is always tried
        seen[place] = replace(seen[place], is_chosen=True)
        return replace(best, trials=tuple(seen))

    def _tried(self, trials: Trials, limit: float) -> Iterator[Pruned]:
        """Results to within the tolerance; while the last one misses it, corrected by as much.

        Where that is little the last layers take it alone, so that the others' fits hold. Layers
        take densities in steps: what comes to the same densities is tried once. A budget of the
        cost itself changes it by as much as the budget, another one by as much as it did.
        """
        aim, whole = _typed(limit - _AIM * _TOLERANCE), trials.pruner.highest
        before, slope = (whole, 1.0), 1.0
        if (unpruned := self.unpruned(trials)) is not None:
            yield unpruned
            before = whole, self.ratio(unpruned)
            slope = before[1] / whole
            if before[1] <= limit or not self.can_fall(trials.recipe):
                return
        first = aim if self.objective else _typed(aim * whole / before[1])
        budget: Budget | None = self._first(first, trials.recipe)
        tried: dict[float, float] = {}
        most = _TRIALS if self.objective else _MORE_TRIALS
        while budget and len(tried) < most:
            predicted = trials.predicted_ratio(budget)
            result = trials.pruner.at(budget)
            found = Pruned(self, result, trials.before, trials.pipeline_at(budget))
            tried[predicted] = ratio = self.ratio(found)
            logger.info("%s gave %.4f", budget, ratio)
            yield found
            if limit - _TOLERANCE <= ratio <= limit:
                return
            if not self.objective and before[0] != predicted:
                slope = max((before[1] - ratio) / (before[0] - predicted), _LEAST_SLOPE)
            is_stuck = len(tried) > 1 and _is_stuck(before, (predicted, ratio), limit)
            most = _MORE_TRIALS if is_stuck else most
            before = predicted, ratio
            wanted = predicted + (aim - ratio) / slope
            budget = next_budget(trials, budget, wanted, tried, is_stuck)

    def _first(self, ratio: float, recipe: Recipe) -> Budget:
        """The budget that is tried first; widths are chosen anew where another one follows."""
        is_anew = recipe.mixed_bits and not self.objective
        return Budget(ratio, split_like=None if is_anew else ratio)

    def _missed_by(self, result: Pruned, limit: float) -> tuple[bool, float]:
        """Least below the goal for what gives up least, above it for what comes closest."""
        ratio = self.ratio(result)
        return (True, ratio) if ratio > limit else (False, -ratio)


def _is_stuck(before: tuple[float, float], now: tuple[float, float], limit: float) -> bool:
    """Whether a lower budget, (predicted, cost) as the one before, has not lowered the cost."""
    asked, got = before[0] - now[0], before[1] - now[1]
    return now[1] > limit and asked > 0 and got < _LEAST_OF_ASKED * asked


def next_budget(
    trials: Trials,
    last: Budget,
    wanted: float,
    tried: Collection[float],
    is_stuck: bool = False,
) -> Budget | None:
    """What to try for a predicted ratio of `wanted`; None where all of it was tried.

    Widths, or the split between channels and zeros, stay as they are as long as that will do: not
    where the cost is stuck.
    """
    tail = round(wanted - trials.predicted_ratio(last._replace(tail=0.0)), 6)
    corrected, anew = last._replace(tail=tail), last._replace(ratio=_typed(wanted), tail=0.0)
    if trials.pruner.can_correct and abs(tail) <= _LONGEST_TAIL and not is_stuck:
        predicted = trials.predicted_ratio(corrected)
        if predicted not in tried and abs(predicted - wanted) <= _TOLERANCE / 2:
            return corrected
    settled_anew = anew._replace(split_like=anew.ratio if last.split_like else None)
    ways = (settled_anew,) if is_stuck else (anew, settled_anew)
    return next((each for each in ways if trials.predicted_ratio(each) not in tried), None)


def _typed(budget: float) -> float:
    """A budget that can be had, of as many digits as are printed."""
    return round(min(1.0, max(budget, _LOWEST_BUDGET)), 6)
