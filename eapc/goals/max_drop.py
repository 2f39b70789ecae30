"""--max-drop: the lowest energy that costs at most so much accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eapc.errors import DataError, UsageError
from eapc.goals.bound import Bound

if TYPE_CHECKING:
    from eapc.evaluation import Accuracy
    from eapc.goals.result import Pruned
    from eapc.goals.trials import Trials
    from eapc.model import Model


@dataclass(frozen=True)
class MaxDrop(Bound["Accuracy"]):
    """The lowest energy whose top-1 accuracy falls by at most `value`; 0.01 is one point.

    Of a metric of the user's own it is that which falls, in its own unit.
    Decided on one half of the labelled inputs; what is reported is the other half's accuracy,
    which had no part in the decision: where it breaks the goal, the goal is not confirmed. With a
    `confidence` above a half the deciding half has to tell so surely that the drop is kept. All
    calibration inputs are fitted.
    """

    confidence: float = field(
        default=0.5,
        metadata={
            "option": "--confidence",
            "metavar": "C",
            "help": "With --max-drop: be so sure that it holds, 0.5 (the estimate) to below 1.",
        },
    )

    option = "--max-drop"
    metavar = "D"
    help = "Least energy at which accuracy, or --metric, falls by at most D."
    span = "[0, 1)"
    note = "energy=1.0 stands for the lowest budget that is accurate enough"
    unmet = "no energy below the original's loses so little"
    needs_labels = True

    def __post_init__(self) -> None:
        if not 0 <= self.value < math.inf:
            raise UsageError(f"{self.option}: expected 0 or more, got {self.value}")
        if not 0.5 <= self.confidence < 1:
            raise UsageError(f"--confidence: expected 0.5 to less than 1, got {self.confidence:g}")

    def require_share(self) -> None:
        """Raise UsageError unless the value is in `span`."""
        super().__post_init__()

    def __str__(self) -> str:
        """The goal as it is typed."""
        sure = f" --confidence {self.confidence:g}" if self.confidence != 0.5 else ""
        return super().__str__() + sure

    def reached(self, pruned: Pruned) -> float | None:
        """The drop on the inputs that did not decide."""
        return None if pruned.accuracy is None else pruned.accuracy.loss

    def require_judge(self, trials: Trials) -> None:
        """Raise an error where the labelled inputs cannot tell networks apart."""
        for half in trials.halves:
            if half.data.are_alike:
                raise DataError("--eval: the inputs are all the same: they decide nothing")
            half.require_answers()
            if half.is_share:
                self.require_share()

    def judge(self, trials: Trials, model: Model) -> Accuracy:
        """The metric on the half that decides."""
        return trials.halves[0].accuracy(model)

    def told(self, verdict: Accuracy) -> str:
        """The drop, or how sure it is that it is kept where it is."""
        where = f"on the {verdict.samples} inputs that decide"
        if not verdict.is_within(self.value):
            return f"accuracy falls by {100 * verdict.loss:.1f} points {where}"
        sure = f"{verdict.confidence(self.value):.1%} sure, not {self.confidence:.1%}"
        return f"the drop is kept {where}, but that is {sure}; more labelled inputs tell more"

    def expected_loss(self, trials: Trials, divergence: float) -> float:
        """About what the metric should drop by."""
        return trials.halves[0].expected_loss(divergence)

    def is_kept(self, verdict: Accuracy) -> bool:
        """Whether the drop is small enough, surely enough."""
        if not verdict.is_within(self.value):
            return False
        return self.confidence == 0.5 or verdict.confidence(self.value) >= self.confidence

    def allowed(self, trials: Trials) -> float:  # noqa: ARG002
        """The drop itself."""
        return self.value

    def figures(self, trials: Trials, model: Model, verdict: Accuracy) -> Mapping[str, Any]:
        """The metric on either half, and how surely the other one confirms the goal."""
        other = trials.halves[1].accuracy(model)
        found = {"decided": verdict, "accuracy": other, "confidence": other.confidence(self.value)}
        if other.is_within(self.value):
            return found
        where = f"the {other.samples} inputs that did not decide"
        return {**found, "doubt": f"on {where} {other.title} fell by {other.amount(other.loss)}"}
