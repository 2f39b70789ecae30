"""--min-agreement: the lowest energy whose outputs are still the original's."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from eapc.evaluation import RELATIVE_ERROR
from eapc.goals.goal import Outcome, require_fraction, typed
from eapc.goals.trials import HELD_OUT, MAX_OUTPUT_ERROR, Trials
from eapc.pipeline import Pipeline, Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MinAgreement:
    """The lowest energy whose outputs still agree with the original's on held-out inputs.

    Top-1 agreement of at least `value` for classifiers, relative output error of at most
    `MAX_OUTPUT_ERROR` for other networks and on synthesised inputs.
    """

    value: float = 0.98

    option: ClassVar[str] = "--min-agreement"
    note: ClassVar[str] = "energy=1.0 stands for the lowest budget that is found to agree"
    remedy: ClassVar[str] = ""
    needs_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_fraction(self.option, self.value, closed_below=True, closed_above=True)

    def pipeline(self, recipe: Recipe) -> Pipeline:
        """The pipeline of one trial; the search chooses the energy."""
        return recipe.pipeline(recipe.budget(1.0), HELD_OUT)

    def pursue(self, trials: Trials) -> Outcome:
        """Search the energy budget by agreement on a fifth of the inputs, kept out of the fit."""
        trials = trials.holding_out
        found = trials.by_agreement.lowest(
            lambda verdict: verdict.asking(self.value).is_met,
            trials.agreement_judge.allowed(self.value, MAX_OUTPUT_ERROR),
        )
        verdict = found.verdict.asking(self.value)
        if verdict.metric == RELATIVE_ERROR and self != DEFAULT_GOAL:
            logger.warning(
                f"{typed(self)} has no say: outputs are judged by their relative error, at most "
                f"{MAX_OUTPUT_ERROR}; agreement takes a classifier and 250 real inputs"
            )
        return Outcome(
            before=trials.before,
            result=found.result.with_record(seconds=trials.seconds),
            pipeline=trials.pipeline_at(found.budget, held_out=HELD_OUT),
            agreement=verdict,
            is_met=verdict.is_met,
            reason="" if verdict.is_met else "no energy below the original's keeps the outputs",
            floor=trials.plan.lowest_ratio,
        )


DEFAULT_GOAL = MinAgreement()
