"""Goals of pruning, and the search for the lowest energy that meets one: one file per goal.

What a command line has to know of goals loads at once; the rest, trials and what they take,
when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from eapc.goals.bound import ALIKE, Bound
from eapc.goals.densities import Densities
from eapc.goals.goal import Budget, Goal
from eapc.goals.joint import Joint, joined
from eapc.goals.max_drop import MaxDrop
from eapc.goals.min_agreement import DEFAULT_GOAL, HELD_OUT, MAX_OUTPUT_ERROR, MinAgreement
from eapc.goals.result import Pruned, Trial, best_trials, costs_of, pareto_front
from eapc.goals.sparsity import Sparsity
from eapc.goals.target import Target
from eapc.goals.target_energy import TargetEnergy
from eapc.goals.target_latency import NEEDS_MEASUREMENTS, TargetLatency
from eapc.goals.target_macs import TargetMacs
from eapc.goals.target_size import TargetSize
from eapc.goals.target_weights import TargetWeights
from eapc.goals.width import MIXED, Width

if TYPE_CHECKING:
    from eapc.goals.asked import AskedGoals, keyword_of, refinements
    from eapc.goals.pruners import pruner_of
    from eapc.goals.trials import Trials, few_rows, measured, warning

GOALS: dict[str, type[Goal]] = {
    kind.option: kind
    for kind in (
        Sparsity,
        TargetEnergy,
        TargetLatency,
        TargetSize,
        TargetWeights,
        TargetMacs,
        MinAgreement,
        MaxDrop,
        Densities,
    )
}
"""The kinds of goal by option, in the order of `eapc prune --help`."""

__all__ = [
    "ALIKE",
    "DEFAULT_GOAL",
    "GOALS",
    "HELD_OUT",
    "MAX_OUTPUT_ERROR",
    "MIXED",
    "NEEDS_MEASUREMENTS",
    "AskedGoals",
    "Bound",
    "Budget",
    "Densities",
    "Goal",
    "Joint",
    "MaxDrop",
    "MinAgreement",
    "Pruned",
    "Sparsity",
    "Target",
    "TargetEnergy",
    "TargetLatency",
    "TargetMacs",
    "TargetSize",
    "TargetWeights",
    "Trial",
    "Trials",
    "Width",
    "best_trials",
    "costs_of",
    "few_rows",
    "joined",
    "keyword_of",
    "measured",
    "pareto_front",
    "pruner_of",
    "refinements",
    "warning",
]

_LATER = {
    "AskedGoals": "asked",
    "keyword_of": "asked",
    "refinements": "asked",
    "Trials": "trials",
    "few_rows": "trials",
    "measured": "trials",
    "pruner_of": "pruners",
    "warning": "trials",
}
"""What takes time to load, or reads the table of goals, and its module."""


def __getattr__(name: str) -> object:
    """Load what takes time from its module (PEP 562)."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    return found
