"""--target-energy: a budget, measured on the pruned network."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from eapc.goals.goal import Outcome, require_fraction
from eapc.goals.trials import Trials
from eapc.pipeline import Compilation, Pipeline
from eapc.recipe import Recipe

logger = logging.getLogger(__name__)

_TOLERANCE = 0.002
"""What the measured energy may stay below the goal by."""

_TRIALS = 4
_LOWEST_BUDGET = 1e-3


@dataclass(frozen=True)
class TargetEnergy:
    """Energy at most this fraction of the dense network's, measured on the pruned one."""

    value: float

    option: ClassVar[str] = "--target-energy"
    note: ClassVar[str] = "where measured energy exceeds the goal, lower budgets are tried"
    remedy: ClassVar[str] = "a higher --target-energy keeps more"
    needs_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_fraction(self.option, self.value, closed_below=False, closed_above=True)

    def pipeline(self, recipe: Recipe) -> Pipeline:
        """Pruning to the budget itself; the search may have to aim lower."""
        return recipe.pipeline(f"energy={self.value}")

    def pursue(self, trials: Trials) -> Outcome:
        """Prune to the middle of the tolerance; while the energy misses it, correct by as much.

        Layers take densities in steps: budgets that come to the same densities are tried once.
        """
        aim = budget = max(self.value - _TOLERANCE / 2, _LOWEST_BUDGET)
        best: tuple[float, Compilation] | None = None
        tried: set[float] = set()
        while len(tried) < _TRIALS and trials.predicted_ratio(budget) not in tried:
            predicted = trials.predicted_ratio(budget)
            tried.add(predicted)
            result = trials.at(budget)
            ratio = trials.ratio(result)
            logger.info("budget %.4f of the energy gave %.4f", budget, ratio)
            if best is None or self._is_better(ratio, trials.ratio(best[1])):
                best = (budget, result)
            if self.value - _TOLERANCE <= ratio <= self.value:
                break
            budget = min(1.0, max(predicted + aim - ratio, _LOWEST_BUDGET))
        assert best is not None  # the loop ran
        return self._outcome(trials, *best)

    def _is_better(self, ratio: float, other: float) -> bool:
        """Below the goal the one that gives up less, above it the one that comes closer."""
        if ratio <= self.value < other:
            return True
        if ratio <= self.value:
            return ratio > other
        return self.value < ratio < other

    def _outcome(self, trials: Trials, budget: float, result: Compilation) -> Outcome:
        ratio = trials.ratio(result)
        is_met = ratio <= self.value
        return Outcome(
            before=trials.before,
            result=result.with_record(seconds=trials.seconds),
            pipeline=trials.pipeline_at(budget),
            agreement=None,
            is_met=is_met,
            reason="" if is_met else trials.shortfall(self.value, ratio),
            floor=trials.plan.lowest_ratio,
        )
