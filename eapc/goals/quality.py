"""What pruning did to the outputs, and whether that calls for a warning."""

from __future__ import annotations

from dataclasses import dataclass

from eapc.evaluation import TOP1_AGREEMENT, Accuracy, Agreement
from eapc.goals.goal import Goal, Outcome, typed
from eapc.goals.trials import MAX_OUTPUT_ERROR, Trials
from eapc.solvers import parse_pattern

_LOST_ANSWERS = 0.1
_LOST_OUTPUTS = 5 * MAX_OUTPUT_ERROR
"""From here on a user is warned: five times what the default goal allows of either."""


@dataclass(frozen=True)
class Quality:
    """Accuracy where inputs have labels, else agreement with the original.

    `fitted` says that the inputs of the agreement were fitted, so that it flatters.
    """

    accuracy: Accuracy | None
    agreement: Agreement | None
    fitted: bool

    def warning(self, goal: Goal, pattern: str) -> str:
        """One line where a goal was obeyed at the expense of the outputs; else empty.

        It names the pattern in place of the goal where the pattern fixes the share of zeros.
        """
        if not goal.remedy or not self._is_spoilt:
            return ""
        asked, remedy = typed(goal), goal.remedy
        if parse_pattern(pattern).fixed_density is not None:
            asked, remedy = f"--pattern {pattern}", "a pattern of fewer zeros keeps more"
        return f"{asked} spoils the outputs: {self._said}; {remedy}"

    @property
    def _is_spoilt(self) -> bool:
        if self.accuracy is not None:
            return self.accuracy.loss > _LOST_ANSWERS
        assert self.agreement is not None  # one of the two is always measured
        is_share = self.agreement.metric == TOP1_AGREEMENT
        return self.agreement.loss > (_LOST_ANSWERS if is_share else _LOST_OUTPUTS)

    @property
    def _said(self) -> str:
        if self.accuracy is not None:
            before, after = 100 * self.accuracy.before, 100 * self.accuracy.after
            return f"top-1 accuracy fell from {before:.1f}% to {after:.1f}%"
        assert self.agreement is not None  # one of the two is always measured
        if self.agreement.metric == TOP1_AGREEMENT:
            return f"only {100 * self.agreement.value:.1f}% of the answers are still the original's"
        return f"their relative error is {self.agreement.value:.2g}"


def measure(outcome: Outcome, trials: Trials) -> Quality:
    """What is left of the outputs: by labels where there are any, else on inputs of the fit."""
    if outcome.accuracy is not None:
        return Quality(outcome.accuracy, outcome.agreement, False)
    model = outcome.result.model
    accuracy = None if trials.accuracy is None else trials.accuracy.accuracy(model)
    if outcome.agreement is not None or accuracy is not None:
        return Quality(accuracy, outcome.agreement, False)
    agreement = trials.fitted_judge.agreement(model, 1 - _LOST_ANSWERS, _LOST_OUTPUTS)
    return Quality(None, agreement, True)
