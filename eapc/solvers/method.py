"""What a method of pruning one layer says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eapc.solvers.patterns import Pattern
from eapc.solvers.problem import LayerProblem

Solver = Callable[[LayerProblem, int, Pattern], NDArray[np.float32]]
"""(problem, nonzeros, pattern) -> weight (groups, m, k)."""


@dataclass(frozen=True)
class Method:
    """A way to prune one layer, entered under its name in `eapc.registry.METHODS`."""

    standard: Solver
    thorough: Solver | None = None
    """With more time for a better result; None where the method has just one."""
    fits: bool = True
    """Survivors get new values, and a bias the change of the mean; else both stay as they are."""
    refits_behind_activations: bool = False
    """Survivors are fitted again to targets that an activation behind the layer leaves free."""
