"""--target-latency: a budget of time, read off a machine's measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from eapc.goals.target import NEEDS_MEASUREMENTS, Target


@dataclass(frozen=True)
class TargetLatency(Target):
    """Latency at most this fraction of the whole network's, on the machine that was measured."""

    option: ClassVar[str] = "--target-latency"
    objective: ClassVar[str] = "latency"
    other_objective: ClassVar[str] = NEEDS_MEASUREMENTS
