"""What pruning a model comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eapc.energy import EnergyReport
from eapc.evaluation import Accuracy, Agreement
from eapc.layers import Skipped
from eapc.model import Model
from eapc.pipeline import ChannelRecord, Latency, LayerRecord


@dataclass(frozen=True)
class Pruned:
    """A pruned model and everything known about it.

    `goal_met` is False when the best that could be done falls short; `reason` says why.
    Where labelled inputs decided, `decided` is accuracy on those and `accuracy` on the others.
    `floor` is about the lowest fraction of the objective that the goal could have asked, if known.
    `groups` has channel counts where channels went; `latency` is known on a measured machine.
    `inputs` says which values made-up inputs have, and what tells so.
    """

    model: Model
    pipeline: str
    before: EnergyReport
    after: EnergyReport
    accuracy: Accuracy | None
    agreement: Agreement | None
    layers: tuple[LayerRecord, ...]
    skipped: tuple[Skipped, ...]
    goal_met: bool
    reason: str
    seconds: Mapping[str, float]
    synthesised: bool = False
    output: Path | None = None
    decided: Accuracy | None = None
    floor: float | None = None
    groups: tuple[ChannelRecord, ...] = ()
    latency: Latency | None = None
    inputs: str = ""

    @property
    def energy_ratio(self) -> float:
        """Energy after over energy before."""
        before = self.before.energy_mac_units
        return self.after.energy_mac_units / before if before else 1.0
