"""--target-weights: how many weights may be other than zero."""

from __future__ import annotations

from dataclasses import dataclass

from eapc.goals.result import Pruned
from eapc.goals.target import Target


@dataclass(frozen=True)
class TargetWeights(Target):
    """Non-zero weights at most this fraction of the dense network's.

    Weights are those that `analyze` counts: operands of products, neither biases nor scales.
    """

    option = "--target-weights"
    metavar = "W"
    help = "At most this fraction of the non-zero weights, in (0, 1]."
    remedy = "a higher --target-weights keeps more"
    cost = prefers = "weights"

    def ratio(self, result: Pruned) -> float:
        """Non-zero weights after over before."""
        before = result.before.nonzero_weights
        return result.after.nonzero_weights / before if before else 1.0
