"""--max-drop: the lowest energy that costs at most so much accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from eapc.goals.goal import Outcome, require_fraction
from eapc.goals.trials import Trials
from eapc.pipeline import Pipeline, Recipe


@dataclass(frozen=True)
class MaxDrop:
    """The lowest energy whose top-1 accuracy falls by at most `value`; 0.01 is one point.

    Decided on one half of the labelled inputs; what is reported is the other half's accuracy,
    which had no part in the decision. All calibration inputs are fitted.
    """

    value: float

    option: ClassVar[str] = "--max-drop"
    note: ClassVar[str] = "energy=1.0 stands for the lowest budget that is accurate enough"
    remedy: ClassVar[str] = ""
    needs_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_fraction(self.option, self.value, closed_below=True, closed_above=False)

    def pipeline(self, recipe: Recipe) -> Pipeline:
        """The pipeline of one trial; the search chooses the energy."""
        return recipe.pipeline(recipe.budget(1.0))

    def pursue(self, trials: Trials) -> Outcome:
        """Search the energy budget by accuracy; UsageError without labelled inputs."""
        _, others = trials.halves
        found = trials.by_accuracy.lowest(lambda verdict: verdict.is_within(self.value), self.value)
        is_met = found.verdict.is_within(self.value)
        return Outcome(
            before=trials.before,
            result=found.result.with_record(seconds=trials.seconds),
            pipeline=trials.pipeline_at(found.budget),
            agreement=None,
            is_met=is_met,
            reason="" if is_met else "no energy below the original's keeps the accuracy",
            decided=found.verdict,
            accuracy=others.accuracy(found.result.model),
            floor=trials.plan.lowest_ratio,
        )
