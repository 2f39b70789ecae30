"""--target-energy: a budget, measured on the pruned network."""

from __future__ import annotations

from dataclasses import dataclass

from eapc.goals.result import Pruned
from eapc.goals.target import Target


@dataclass(frozen=True)
class TargetEnergy(Target):
    """Energy at most this fraction of the dense network's, estimated for the pruned one."""

    option = "--target-energy"
    metavar = "E"
    help = "At most this fraction of the energy, in (0, 1]."
    remedy = "a higher --target-energy keeps more"
    cost = objective = "energy"
    other_objective = "what counts is latency; give --target-latency or another --hw"
    stays = "zeroing weights does not save the moving of feature maps"

    def ratio(self, result: Pruned) -> float:
        """Energy after over energy before."""
        return result.energy_ratio
