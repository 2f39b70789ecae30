"""--target-energy: a budget, measured on the pruned network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from eapc.goals.target import Target


@dataclass(frozen=True)
class TargetEnergy(Target):
    """Energy at most this fraction of the dense network's, estimated for the pruned one."""

    option: ClassVar[str] = "--target-energy"
    objective: ClassVar[str] = "energy"
    other_objective: ClassVar[str] = "what counts is latency; give --target-latency or another --hw"
