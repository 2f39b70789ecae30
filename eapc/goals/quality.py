"""What pruning did to the outputs, and whether that calls for a warning."""

from __future__ import annotations

from dataclasses import replace

from eapc.goals.min_agreement import MAX_OUTPUT_ERROR
from eapc.goals.result import Pruned
from eapc.goals.trials import Trials
from eapc.solvers import parse_pattern

_LOST_ANSWERS = 0.1
_LOST_OUTPUTS = 5 * MAX_OUTPUT_ERROR
"""From here on a user is warned: five times what the default goal allows of either."""


def measured(pruned: Pruned, trials: Trials) -> Pruned:
    """The result with what is left of its outputs, by labels where there are any.

    Else by agreement with the original, on inputs of the fit where none were held out.
    """
    if pruned.accuracy is None and trials.accuracy is not None:
        pruned = replace(pruned, accuracy=trials.accuracy.accuracy(pruned.model))
    if pruned.accuracy or pruned.agreement:
        return pruned
    agreement = trials.fitted_judge.agreement(pruned.model, 1 - _LOST_ANSWERS, _LOST_OUTPUTS)
    return replace(pruned, agreement=agreement, fitted=True)


def warning(pruned: Pruned, pattern: str) -> str:
    """One line where a goal was obeyed at the expense of the outputs; else empty.

    It names the pattern in place of the goal where the pattern fixes the share of zeros.
    """
    remedy, said = pruned.goal.remedy, _lost(pruned)
    if not (pruned.goal_met and remedy and said):
        return ""
    if parse_pattern(pattern).fixed_density is not None:
        said = f"--pattern {pattern} spoils the outputs: {said}"
        return f"{said}; a pattern of fewer zeros keeps more"
    return f"{pruned.goal} spoils the outputs: {said}; {remedy}"


def _lost(pruned: Pruned) -> str:
    """What was lost, where that is a lot."""
    if (accuracy := pruned.accuracy) is not None:
        if accuracy.loss <= _LOST_ANSWERS:
            return ""
        return f"top-1 accuracy fell from {accuracy.before:.1%} to {accuracy.after:.1%}"
    agreement = pruned.agreement
    most = _LOST_ANSWERS if agreement and agreement.is_share else _LOST_OUTPUTS
    if agreement is None or agreement.loss <= most:
        return ""
    if agreement.is_share:
        return f"only {agreement.value:.1%} of the answers are still the original's"
    return f"their relative error is {agreement.value:.2g}"
