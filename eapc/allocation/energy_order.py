"""The schedule of energy-aware pruning: one layer after another, the costliest first [1].

Each layer is pruned and fitted before the next, on the inputs that earlier ones have changed, as
far as its relative output error stays within a limit that is common to all. So the layers that
take most energy have the whole limit for zeros of their own, later ones what is left of it. The
schedule ends where the energy budget is met: the last layer gives up no more than is missing.
The limit is the lowest, of a ladder of them, at which the budget is met.

Two things are not as in [1]: it ends when accuracy falls too far, not at a budget; and it trains
the network between rounds, which takes a training framework.

[1] Yang, Chen and Sze 2017, Designing energy-efficient convolutional neural networks using
    energy-aware pruning, section 4.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eapc.allocation.allocator import FINE_GRID, LOWEST_DENSITY, Curves, LayerCurve
from eapc.calibration import LayerwiseReconstruction, scaled_matrix
from eapc.data import Dataset
from eapc.layers import TiedLayers
from eapc.model import Array, Model
from eapc.runtime import Engine
from eapc.solvers import LayerProblem, combine, quick_prune, single_thread

logger = logging.getLogger(__name__)

LIMITS = (*(0.001 * 2 ** (rung / 2) for rung in range(20)), float("inf"))
"""Relative output errors, 0.001 to 0.72; without a limit layers go to the lowest density."""

GRID = tuple(float(density) for density in np.geomspace(1.0, LOWEST_DENSITY, 33))
"""Densities that a layer may get: each keeps a ninth less than the one before.

The layer that meets the budget gets the density that just does.
"""

_MIN_ROWS = 8192
_ROWS_PER_INPUT = 4


@dataclass(frozen=True)
class Schedule:
    """What the rounds have in common; `data` are the inputs that errors are measured on."""

    model: Model
    layers: Sequence[TiedLayers]
    curves: Curves
    data: Dataset
    engine: Engine

    def densities(self, energy_ratio: float) -> dict[str, float]:
        """Densities by weight that meet an energy budget, a fraction of the dense energy.

        A budget out of reach gives the lowest densities.
        """
        budget = energy_ratio * self.curves.dense_energy
        rounds: dict[float, tuple[dict[str, float], float]] = {}

        def is_enough(limit: float) -> bool:
            rounds[limit] = self._round(limit, budget)
            logger.info("limit %.4f: energy %.6g of %.6g", limit, rounds[limit][1], budget)
            return rounds[limit][1] <= budget

        last = len(LIMITS) - 1  # taken where no limit is enough
        limit = LIMITS[bisect_left(range(last), True, key=lambda rung: is_enough(LIMITS[rung]))]
        return (rounds.get(limit) or self._round(limit, budget))[0]

    def _round(self, limit: float, budget: float) -> tuple[dict[str, float], float]:
        """Densities of one limit, and the energy that they come to."""
        model, spent = self.model, self.curves.dense_energy
        densities = {tied.weight: 1.0 for tied in self.layers}
        for curve, tied in self._ordered():
            excess = spent - budget
            if excess <= 0:
                break
            with single_thread():  # a second one would wait more than it works
                model, density = self._pruned(model, tied, limit, _ladder(curve, excess))
            densities[tied.weight] = density
            spent -= curve.energies[0] - float(curve.energy_at(density))
        return densities, spent

    def _ordered(self) -> list[tuple[LayerCurve, TiedLayers]]:
        """Highest energy first."""
        by_weight = {tied.weight: tied for tied in self.layers}
        ordered = sorted(self.curves.layers, key=lambda curve: (-curve.energies[0], curve.name))
        return [(curve, by_weight[curve.name]) for curve in ordered]

    def _pruned(
        self, model: Model, tied: TiedLayers, limit: float, ladder: Sequence[float]
    ) -> tuple[Model, float]:
        """The model with one layer at its lowest density within the limit, and the density.

        `ladder` are densities from 1 down to the one past which nothing is to be gained.
        """
        if limit == float("inf"):
            return model, ladder[-1]
        sweep = LayerwiseReconstruction(model, model.original, [tied], self.data, self.engine)
        moments = [user.moments() for user in sweep.rows(0, _most_rows(tied, model))]
        joint = combine(moments)
        problem = LayerProblem.from_moments(scaled_matrix(tied, model.original), joint)

        def fitted(place: int) -> Array:
            return quick_prune(problem, [round(ladder[place] * problem.weight.size)])[0]

        def exceeds(place: int) -> bool:
            return joint.relative_error(fitted(place)) > limit

        place = bisect_left(range(len(ladder)), True, key=exceeds) - 1
        if place <= 0:
            return model, 1.0
        sweep.replace(tied, fitted(place), moments)
        return sweep.model, ladder[place]


def _most_rows(tied: TiedLayers, model: Model) -> int:
    """Enough to choose a density by; the weights themselves are fitted on more later."""
    inputs: int = tied.matrix(model).shape[2]
    return max(_MIN_ROWS, _ROWS_PER_INPUT * inputs)


def _ladder(curve: LayerCurve, excess: float) -> list[float]:
    """The grid down to the density that saves so much energy; all of it if none does."""
    saved = curve.energies[0] - curve.energy_at(FINE_GRID)
    enough = np.flatnonzero(saved >= excess)
    last = float(FINE_GRID[enough[0]]) if enough.size else LOWEST_DENSITY
    return [*(density for density in GRID if density > last), last]
