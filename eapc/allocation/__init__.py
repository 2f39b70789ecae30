"""How much of each layer stays: one budget shared out by error and cost."""

from __future__ import annotations

from eapc.allocation.allocator import (
    GRID,
    LOWEST_DENSITY,
    Choice,
    Curves,
    LayerCurve,
    Plan,
    Predicted,
    Space,
    allocate,
    correct_tail,
    share_out,
    share_out_evenly,
)
from eapc.allocation.energy_order import LIMITS, Schedule
from eapc.allocation.turns import JointDecisions, JointItem

__all__ = [
    "GRID",
    "LIMITS",
    "LOWEST_DENSITY",
    "Choice",
    "Curves",
    "JointDecisions",
    "JointItem",
    "LayerCurve",
    "Plan",
    "Predicted",
    "Schedule",
    "Space",
    "allocate",
    "correct_tail",
    "share_out",
    "share_out_evenly",
]
