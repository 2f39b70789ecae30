"""A budget of energy or latency, told again for the pruned network."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

from eapc.errors import UsageError
from eapc.goals.goal import Outcome, require_fraction
from eapc.goals.shares import Shares
from eapc.goals.trials import Trials
from eapc.pipeline import Compilation, Pipeline, Recipe

logger = logging.getLogger(__name__)

_TOLERANCE = 0.002
"""What the result may stay below the goal by."""

_AIM = 0.75
"""Where in the tolerance to aim: a result above the goal takes another fit, one below it none."""

_TRIALS = 4
_LOWEST_BUDGET = 1e-3

_MOST_LATE = 0.005
"""What the last layers may take alone: beyond it their share would be far from the best."""


NEEDS_MEASUREMENTS = (
    "latency is measured, not modelled: `eapc profile MODEL -o host.yaml`, then --hw host.yaml"
)


@dataclass(frozen=True)
class Target:
    """At most this fraction of what the dense network takes of the recipe's objective."""

    value: float

    option: ClassVar[str]
    objective: ClassVar[str]
    other_objective: ClassVar[str]
    note: ClassVar[str] = "where the result misses the goal, budgets beside it are tried"
    needs_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_fraction(self.option, self.value, closed_below=False, closed_above=True)

    @property
    def remedy(self) -> str:
        """What to ask for where the outputs suffer too much."""
        return f"a higher {self.option} keeps more"

    def pipeline(self, recipe: Recipe) -> Pipeline:
        """Pruning to the budget itself; the search may have to aim lower."""
        if recipe.objective not in ("", self.objective):
            raise UsageError(f"{self.option}: {self.other_objective}")
        asked = replace(recipe, objective=self.objective)
        return asked.pipeline(asked.budget(self.value))

    def pursue(self, trials: Trials) -> Outcome:
        """Prune to within the tolerance; while the result misses it, correct by as much.

        Where that is little the last layers take it alone, so that the others' fits hold. Layers
        take densities in steps: what comes to the same densities is tried once.
        """
        aim = _typed(self.value - _AIM * _TOLERANCE)
        shares: Shares | None = Shares(aim, like=aim)
        best: tuple[Shares, Compilation] | None = None
        tried: set[float] = set()
        while shares and len(tried) < _TRIALS:
            predicted = trials.predicted_ratio(*shares)
            tried.add(predicted)
            result = trials.at(*shares)
            ratio = trials.ratio(result)
            logger.info("%s gave %.4f", trials.recipe.budget(shares.budget, shares.late), ratio)
            if best is None or self._is_better(ratio, trials.ratio(best[1])):
                best = (shares, result)
            if self.value - _TOLERANCE <= ratio <= self.value:
                break
            shares = _next(trials, shares, predicted + aim - ratio, tried)
        assert best is not None  # the loop ran
        return self._outcome(trials, *best)

    def _is_better(self, ratio: float, other: float) -> bool:
        """Below the goal the one that gives up less, above it the one that comes closer."""
        if ratio <= self.value < other:
            return True
        if ratio <= self.value:
            return ratio > other
        return self.value < ratio < other

    def _outcome(self, trials: Trials, shares: Shares, result: Compilation) -> Outcome:
        ratio = trials.ratio(result)
        is_met = ratio <= self.value
        return Outcome(
            before=trials.before,
            result=result.with_record(seconds=trials.seconds),
            pipeline=trials.pipeline_at(*shares),
            agreement=None,
            is_met=is_met,
            reason="" if is_met else trials.shortfall(self.value, ratio),
            floor=trials.plan.lowest_ratio,
        )


def _next(trials: Trials, last: Shares, wanted: float, tried: Collection[float]) -> Shares | None:
    """What to try for a predicted ratio of `wanted`; None where all of it was tried."""
    late = round(wanted - trials.predicted_ratio(*last._replace(late=0.0)), 6)
    corrected, anew = last._replace(late=late), Shares(_typed(wanted), like=last.like)
    if trials.can_correct and abs(late) <= _MOST_LATE:
        predicted = trials.predicted_ratio(*corrected)
        if predicted not in tried and abs(predicted - wanted) <= _TOLERANCE / 2:
            return corrected
    return None if trials.predicted_ratio(*anew) in tried else anew


def _typed(budget: float) -> float:
    """A budget that can be had, of as many digits as are printed."""
    return round(min(1.0, max(budget, _LOWEST_BUDGET)), 6)
