"""--target-energy: a budget, measured on the pruned network."""

from __future__ import annotations

from collections.abc import Mapping
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

    def ratio(self, result: Pruned) -> float:
        """Energy after over energy before."""
        return result.energy_ratio

    def shares(self, result: Pruned) -> Mapping[str, float]:
        """The energy of each node."""
        before = result.before.energy_mac_units
        return {node.key: node.energy_mac_units / before for node in result.after.nodes if before}
