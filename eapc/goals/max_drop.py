"""--max-drop: the lowest energy that costs at most so much accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eapc.goals.bound import Bound

if TYPE_CHECKING:
    from eapc.evaluation import Accuracy
    from eapc.goals.trials import Trials
    from eapc.model import Model


@dataclass(frozen=True)
class MaxDrop(Bound["Accuracy"]):
    """The lowest energy whose top-1 accuracy falls by at most `value`; 0.01 is one point.

    Decided on one half of the labelled inputs; what is reported is the other half's accuracy,
    which had no part in the decision. All calibration inputs are fitted.
    """

    option = "--max-drop"
    metavar = "D"
    help = "Least energy at which top-1 accuracy on --eval falls by at most D, in [0, 1)."
    span = "[0, 1)"
    note = "energy=1.0 stands for the lowest budget that is accurate enough"
    unmet = "no energy below the original's keeps the accuracy"
    needs_labels = True

    def judge(self, trials: Trials, model: Model) -> Accuracy:
        """Accuracy on the half that decides."""
        return trials.halves[0].accuracy(model)

    def expected_loss(self, trials: Trials, divergence: float) -> float:
        """About what accuracy should drop by."""
        return trials.halves[0].expected_loss(divergence)

    def is_kept(self, verdict: Accuracy) -> bool:
        """Whether the drop is small enough."""
        return verdict.is_within(self.value)

    def allowed(self, trials: Trials) -> float:  # noqa: ARG002
        """The drop itself."""
        return self.value

    def figures(self, trials: Trials, model: Model, verdict: Accuracy) -> Mapping[str, Any]:
        """Accuracy on either half."""
        return {"decided": verdict, "accuracy": trials.halves[1].accuracy(model)}
