"""One budget shared out over decisions of any kind.

Every site offers options, each with an error and a cost: a layer's densities, a channel group's
counts. The options that lose least for a budget minimise the sum of errors + price * cost for one
price common to all sites (a Lagrange multiplier). Raising the price gives up what costs least
error for what it saves.

Layers have an error curve and an energy curve over their weight density each, so weights go in
energy order: where a joule saved costs least error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

TINY = 1e-12

Choice = NDArray[np.intp]
"""The option that each site takes, (sites,); option 0 leaves the site as it is."""


class Space(Protocol):
    """Sites with their options, and what they cost together; later options cost less."""

    @property
    def sites(self) -> int:
        """How many decisions there are."""

    def neighbours(self, budget: float) -> tuple[Choice, Choice]:
        """The choices at neighbouring prices: the first is beyond the budget, the second within.

        A choice has the least error + price * cost; of equals those that give up least.
        """

    def cost(self, choice: Choice) -> float:
        """What all of it costs."""


def allocate(space: Space, budget: float) -> Choice:
    """The options that lose least for a budget of `Space.cost`, or the cheapest if none keeps it.

    No price leads to options where errors are not convex: choices leap over them, and part of the
    budget would be left. All sites that leap go the same part of the way back.
    """
    whole = np.zeros(space.sites, np.intp)
    if space.cost(whole) <= budget * (1 + TINY):
        return whole
    generous, frugal = space.neighbours(budget)
    leap = frugal - generous
    steps = max(int(leap.max(initial=0)), 1)
    parts = (frugal - leap * part // steps for part in range(steps, 0, -1))
    return next((each for each in parts if space.cost(each) <= budget), frugal)


# --- zeros as decisions --------------------------------------------------------------------------


LOWEST_DENSITY = 0.02
"""No layer gives up more than 98 % of its weights: past that a network computes nothing."""

_TAIL = 0.15
"""What the last layers that correct a budget hold of all that weights can save."""

GRID = np.linspace(1.0, LOWEST_DENSITY, 99)
_BISECTIONS = 60
_LOWEST_PRICE = 1e-40
FINE_GRID = np.linspace(1.0, LOWEST_DENSITY, 981)
_ROUNDING = 1e-9
_HUGE = 1e30


@dataclass(frozen=True)
class LayerCurve:
    """What a layer's density costs: points of its error and its energy (MAC units).

    `densities` fall from 1; `errors` is the effect on the network's outputs of pruning this
    layer alone, `energies` that of `nodes`, which use the weights, both at those densities.
    """

    name: str
    densities: tuple[float, ...]
    errors: tuple[float, ...]
    energies: tuple[float, ...]
    nodes: tuple[str, ...] = ()

    def error_at(self, densities: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Errors between the points: their logarithm is linear in density; 0 at density 1."""
        points = np.asarray(self.densities)[::-1]
        finite = np.nan_to_num(np.asarray(self.errors)[::-1], nan=_HUGE, posinf=_HUGE)
        logs = np.log(np.clip(finite, TINY, _HUGE))
        errors = np.exp(np.interp(densities, points, logs))
        return np.asarray(np.where(np.asarray(densities) >= 1, 0.0, errors))

    def energy_at(self, densities: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Energies between the points, linear in density."""
        points = np.asarray(self.densities)[::-1]
        return np.asarray(np.interp(densities, points, np.asarray(self.energies)[::-1]))


class Predicted(NamedTuple):
    """What curves make of a budget: the sum of their errors, the energy ratio."""

    error: float
    ratio: float


class Plan(Protocol):
    """Shares out any budget, and says beforehand what comes of it."""

    @property
    def lowest_ratio(self) -> float:
        """The least that can be left of the energy, a fraction of the dense network's."""

    def predicted(self, budget: float, tail: float = 0.0) -> Predicted:
        """What is expected at a budget, a fraction of the dense energy; see `correct_tail`."""


@dataclass(frozen=True)
class Curves:
    """The curves of every layer, and the energy that no weight can change.

    Where budgets are of another `objective` that takes the place of energy throughout.
    """

    layers: tuple[LayerCurve, ...]
    fixed_energy: float
    objective: str = "energy"

    @property
    def dense_energy(self) -> float:
        """Energy of the network with all its weights, in MAC units."""
        return self.fixed_energy + sum(curve.energies[0] for curve in self.layers)

    @property
    def lowest_ratio(self) -> float:
        """Energy at the lowest densities over the dense energy."""
        layers = sum(float(curve.energy_at(LOWEST_DENSITY)) for curve in self.layers)
        return (self.fixed_energy + layers) / self.dense_energy if self.dense_energy else 1.0

    def predicted(self, budget: float, tail: float = 0.0) -> Predicted:
        """Error and energy at the densities that a budget is shared out to; see `correct_tail`."""
        densities = correct_tail(self, share_out(self, budget), tail)
        error, energy = 0.0, self.fixed_energy
        for curve in self.layers:
            error += float(curve.error_at(densities[curve.name]))
            energy += float(curve.energy_at(densities[curve.name]))
        return Predicted(error, energy / self.dense_energy if self.dense_energy else 1.0)


def share_out(curves: Curves, energy_ratio: float) -> dict[str, float]:
    """Densities by layer that meet an energy budget, a fraction of the dense energy.

    A budget below `Curves.lowest_ratio` gives the lowest densities.
    """
    chosen = allocate(
        _LayerDensities(curves), energy_ratio * curves.dense_energy - curves.fixed_energy
    )
    return {
        curve.name: float(GRID[index]) for curve, index in zip(curves.layers, chosen, strict=True)
    }


class _LayerDensities:
    """Layers whose options are the densities of a grid; none has a say in another's cost."""

    def __init__(self, curves: Curves) -> None:
        self._errors = np.stack([curve.error_at(GRID) for curve in curves.layers])
        self._energies = np.stack([_saving(curve.energy_at(GRID)) for curve in curves.layers])

    @property
    def sites(self) -> int:
        """The layers."""
        return len(self._errors)

    def neighbours(self, budget: float) -> tuple[Choice, Choice]:
        """By bisection of the price's logarithm."""
        low, high = _LOWEST_PRICE, self._highest_price()
        for _ in range(_BISECTIONS):
            price = math.sqrt(low) * math.sqrt(high)
            if self.cost(self._choice(price)) > budget:
                low = price
            else:
                high = price
        return self._choice(low), self._choice(high)

    def _highest_price(self) -> float:
        """A price at which every layer gives up all it can."""
        steps = np.abs(np.diff(self._energies, axis=1))
        smallest = float(steps[steps > 0].min()) if (steps > 0).any() else 1.0
        return max(2 * float(np.ptp(self._errors)) / smallest, TINY)

    def _choice(self, price: float) -> Choice:
        return np.asarray(np.argmin(self._errors + price * self._energies, axis=1))

    def cost(self, choice: Choice) -> float:
        """The sum of their energies."""
        return float(self._energies[np.arange(len(choice)), choice].sum())


def correct_tail(curves: Curves, densities: Mapping[str, float], tail: float) -> dict[str, float]:
    """The densities, but with the last layers' energy changed by `tail` and shared out anew.

    `tail` is a fraction of the dense energy. So a budget that is missed by little is corrected,
    and what was fitted before these layers holds.
    """
    if not tail:
        return dict(densities)
    last = Curves(_last_layers(curves), 0.0)
    spent = sum(float(curve.energy_at(densities[curve.name])) for curve in last.layers)
    ratio = (spent + tail * curves.dense_energy) / last.dense_energy
    return {**densities, **share_out(last, ratio)}


def _last_layers(curves: Curves) -> tuple[LayerCurve, ...]:
    """The fewest layers at the end that hold `_TAIL` of all that weights can save."""
    savings = [
        curve.energies[0] - curve.energy_at(LOWEST_DENSITY) for curve in reversed(curves.layers)
    ]
    enough = np.cumsum(savings) >= _TAIL * sum(savings)
    return curves.layers[-1 - int(np.argmax(enough)) :]


def share_out_evenly(curves: Curves, energy_ratio: float) -> dict[str, float]:
    """The one highest density for all layers that meets an energy budget; see `share_out`."""
    budget = energy_ratio * curves.dense_energy - curves.fixed_energy
    energies = sum(_saving(curve.energy_at(FINE_GRID)) for curve in curves.layers)
    within = np.flatnonzero(energies <= budget * (1 + TINY))
    density = float(FINE_GRID[within[0] if within.size else -1])
    return {curve.name: density for curve in curves.layers}


def _saving(energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """The energies of falling densities without savings that are mere rounding."""
    dense = energies[0]
    return np.where(dense - energies > _ROUNDING * dense, energies, dense)
