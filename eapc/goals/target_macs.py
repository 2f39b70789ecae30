"""--target-macs: how many multiply-accumulates may be left that cannot be skipped."""

from __future__ import annotations

from dataclasses import dataclass

from eapc.goals.result import Pruned
from eapc.goals.target import Target


@dataclass(frozen=True)
class TargetMacs(Target):
    """MACs whose operands are both not zero, at most this fraction of the dense network's.

    The zeros of feature maps count as well, before and after: they are those of the pruned network.
    """

    option = "--target-macs"
    metavar = "M"
    help = "At most this fraction of the MACs that no zero skips, in (0, 1]."
    remedy = "a higher --target-macs keeps more"
    cost = prefers = "macs"

    def ratio(self, result: Pruned) -> float:
        """Non-skipped MACs after over before."""
        before = result.before.nonskipped_macs
        return result.after.nonskipped_macs / before if before else 1.0
