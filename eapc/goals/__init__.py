"""Goals of pruning, and the search for the lowest energy that meets one: one file per goal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eapc.goals.densities import Densities
from eapc.goals.goal import Goal, Outcome, typed
from eapc.goals.max_drop import MaxDrop
from eapc.goals.min_agreement import DEFAULT_GOAL, MinAgreement
from eapc.goals.quality import Quality, measure
from eapc.goals.sparsity import Sparsity
from eapc.goals.target import NEEDS_MEASUREMENTS, Target
from eapc.goals.target_energy import TargetEnergy
from eapc.goals.target_latency import TargetLatency
from eapc.goals.trials import HELD_OUT, MAX_OUTPUT_ERROR, NEEDS_LABELS, Trials

GOALS: Mapping[str, Callable[[float], Goal]] = {
    Sparsity.option: Sparsity,
    TargetEnergy.option: TargetEnergy,
    TargetLatency.option: TargetLatency,
    MinAgreement.option: MinAgreement,
    MaxDrop.option: MaxDrop,
}
"""The kinds of goal that are a number, by option."""

__all__ = [
    "DEFAULT_GOAL",
    "GOALS",
    "HELD_OUT",
    "MAX_OUTPUT_ERROR",
    "NEEDS_LABELS",
    "NEEDS_MEASUREMENTS",
    "Densities",
    "Goal",
    "MaxDrop",
    "MinAgreement",
    "Outcome",
    "Quality",
    "Sparsity",
    "Target",
    "TargetEnergy",
    "TargetLatency",
    "Trials",
    "measure",
    "typed",
]
