"""How many channels each group keeps, and what is left for zeros: the least loss for a cost.

One budget is shared out over both (see `eapc.allocation.allocator`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eapc.allocation import (
    GRID,
    Choice,
    Curves,
    LayerCurve,
    Predicted,
    allocate,
)
from eapc.structured.costs import ChannelCosts, Counts
from eapc.structured.curves import ChannelCurve

CANDIDATES = 16
"""Counts of each group that are looked at, evenly spaced, where no steps are known."""

_TURNS = 6
"""Rounds of turns that a choice is settled by: most need two or three."""

_PRICES = 256
"""Steps of the way down, evenly spaced by the price's logarithm."""

_NOISE = 0.01
"""A step by less than this fraction of what a group has a say in may be noise of the clock."""


def candidates(curve: ChannelCurve) -> tuple[int, ...]:
    """Evenly spaced counts below all channels, down to the fewest."""
    steps = {round(curve.size * i / CANDIDATES) for i in range(CANDIDATES)}
    return tuple(sorted({max(curve.fewest, count) for count in steps} - {curve.size}))


def right_edges(curve: ChannelCurve, costs: ChannelCosts) -> tuple[int, ...]:
    """Counts below all channels that cost less than any larger count, all else whole.

    Between them channels go without saving anything: less than `_NOISE` of what the group has a
    say in is nothing. Counts whose cost is a guess between known ones take no part: the next
    step's edge may lie beyond them.
    """
    edges, level = [], costs.touched(curve.name, curve.size)
    for count in range(curve.size - 1, curve.fewest - 1, -1):
        if costs.is_known(curve.name, count):
            cost = costs.touched(curve.name, count)
            if cost < level * (1 - _NOISE):
                edges.append(count)
                level = cost
    return tuple(reversed(edges))


class _Decisions:
    """Counts of channel groups, and densities of the layers that are to have zeros as well.

    What a group saves depends on the counts and densities of others: a choice is settled by turns,
    each site's option the best for those of the others, until all stay.
    A layer's zeros save the same fraction of its energy whatever channels are left.
    """

    def __init__(self, plan: ChannelPlan) -> None:
        self._plan, self._costs = plan, plan.costs
        self._counts = [plan.options(curve) for curve in plan.curves]
        self._errors = [
            np.array([curve.error_at(count) for count in counts])
            for curve, counts in zip(plan.curves, self._counts, strict=True)
        ]
        self._errors += [layer.error_at(GRID) for layer in plan.zeros]
        self._left = [layer.energy_at(GRID) / (layer.energies[0] or 1.0) for layer in plan.zeros]
        places = {reader: place for place, reader in enumerate(plan.costs.readers())}
        self._way = [np.zeros(self.sites, np.intp)]
        self._cheapest = np.array([len(errors) - 1 for errors in self._errors], np.intp)
        self._places = [[places[node] for node in layer.nodes] for layer in plan.zeros]

    @property
    def sites(self) -> int:
        """Groups, then layers."""
        return len(self._errors)

    def neighbours(self, budget: float) -> tuple[Choice, Choice]:
        """On the way down: the last choice beyond the budget, and the one behind it."""
        before = self._way[0]
        for step in range(1, _PRICES + 2):
            choice = self._step(step)
            if self.cost(choice) <= budget:
                return before, choice
            before = choice
        return before, before

    def _step(self, step: int) -> Choice:
        """Choices at rising prices, each settled from the one before; so all budgets share it."""
        while len(self._way) <= step:
            place = len(self._way) - 1
            last = place == len(self._prices)
            self._way.append(
                self._cheapest if last else self._settled(self._prices[place], self._way[-1])
            )
        return self._way[step]

    @cached_property
    def _prices(self) -> list[float]:
        """From where the first site gives something up to where all have given up all they can."""
        low = min(self._rates(self._way[0]), default=1.0)
        high = max(self._rates(self._cheapest), default=1.0)
        found: list[float] = np.geomspace(low, max(high, low), _PRICES).tolist()
        return found

    def _rates(self, choice: Choice) -> Iterator[float]:
        """Error lost for cost saved between each option and the one that is chosen."""
        for site, errors in enumerate(self._errors):
            costs = self._site_costs(site, choice)
            saved = np.abs(costs - costs[choice[site]])
            rates = np.abs(errors - errors[choice[site]])[saved > 0] / saved[saved > 0]
            yield from rates[rates > 0].tolist()

    def _settled(self, price: float, start: Choice) -> Choice:
        """The best options for a price by turns; of equals those that give up least."""
        chosen = start
        for _ in range(_TURNS):
            before, chosen = chosen, chosen.copy()
            for site, errors in enumerate(self._errors):
                chosen[site] = np.argmin(errors + price * self._site_costs(site, chosen))
            if np.array_equal(before, chosen):
                break
        return chosen

    def cost(self, choice: Choice) -> float:
        """Of all items."""
        counts, left = self._state(choice)
        items = range(len(self._costs.readers()))
        return sum(self._costs.of_item(i, counts) * left.get(i, 1.0) for i in items)

    def error(self, choice: Choice) -> float:
        """The sum of all sites' own errors."""
        return math.fsum(e[option] for e, option in zip(self._errors, choice, strict=True))

    def counts(self, choice: Choice) -> dict[str, int]:
        """Channels left, by group."""
        groups = zip(self._plan.curves, self._counts, choice, strict=False)
        return {curve.name: counts[option] for curve, counts, option in groups}

    def _state(self, choice: Choice) -> tuple[dict[str, int], dict[int, float]]:
        """The counts, and of items with zeros the fraction of the cost that these leave."""
        options = choice[len(self._counts) :]
        layers = zip(self._places, self._left, options, strict=True)
        left = {place: float(kept[i]) for places, kept, i in layers for place in places}
        return {**self._costs.sizes, **self.counts(choice)}, left

    def _site_costs(self, site: int, choice: Choice) -> NDArray[np.float64]:
        """What a site has a say in costs under each of its options."""
        counts, left = self._state(choice)
        layer = site - len(self._counts)
        if layer >= 0:
            dense = sum(self._costs.of_item(place, counts) for place in self._places[layer])
            return np.asarray(dense * self._left[layer])
        name = self._plan.curves[site].name
        places = self._costs.places_of(name)
        costs = []
        for count in self._counts[site]:
            counts[name] = count
            costs.append(sum(self._costs.of_item(i, counts) * left.get(i, 1.0) for i in places))
        return np.array(costs)

    def filled(self, choice: Choice, budget: float) -> Choice:
        """The choice, or the one before it on the way with one more step: what loses less.

        Either is filled up first.
        """
        generous, frugal = self.neighbours(budget)
        steps = sorted(self._steps(generous, budget), key=self.error)[:1]
        ends = (self._filled(each, budget) for each in (choice, frugal, *steps))
        return min(ends, key=self.error)

    def _filled(self, choice: Choice, budget: float) -> Choice:
        """Groups get channels back where the budget has room, where that wins most first.

        What costs nothing needs no room: larger counts may be no dearer.
        """
        choice, room = choice.copy(), budget - self.cost(choice)
        while True:
            ways = [way for site in range(self.sites) for way in self._up(site, choice)]
            fitting = [way for way in ways if way[3] <= max(room, 0)]
            if not fitting:
                return choice
            _, _, (site, option), spent = max(fitting)
            choice[site] = option
            room -= spent

    def _steps(self, choice: Choice, budget: float) -> Iterator[Choice]:
        """The choices that differ in one site and keep the budget."""
        missing = self.cost(choice) - budget
        for site in range(self.sites if missing > 0 else 0):
            costs = self._site_costs(site, choice)
            enough = np.flatnonzero(costs[choice[site]] - costs >= missing)
            if len(enough):
                one = choice.copy()
                one[site] = enough[0]
                yield one

    def _up(self, site: int, choice: Choice) -> Iterator[tuple[float, int, tuple[int, int], float]]:
        """(won, count, site and option, spent) of every way up that wins or saves something."""
        costs, errors, now = self._site_costs(site, choice), self._errors[site], choice[site]
        for option in range(now):
            won, spent = errors[now] - errors[option], costs[option] - costs[now]
            if won > 0 or spent < 0:
                yield won, self._counts[site][option], (site, option), spent


@dataclass(frozen=True)
class ChannelPlan:
    """What is needed to share out any budget: the groups' curves and what counts cost.

    `zeros` are curves of layers whose weights are to be zeroed as well, out of the same budget.
    `allowed` names the counts that groups may go down to, where costs fall in steps; `basis` says
    by what the curves and costs were made, for those who made them.
    """

    curves: tuple[ChannelCurve, ...]
    costs: ChannelCosts
    allowed: Mapping[str, Sequence[int]] = field(default_factory=dict)
    basis: Hashable = None
    zeros: tuple[LayerCurve, ...] = ()

    @property
    def ends_on_steps(self) -> bool:
        """Whether counts must be the very ones that were planned: others may cost more."""
        return bool(self.allowed)

    @cached_property
    def whole_cost(self) -> float:
        """The cost with all channels."""
        return self.costs.total({})

    @cached_property
    def lowest_ratio(self) -> float:
        """The cost with the lowest counts and densities over that of the whole network."""
        fewest = {curve.name: self.options(curve)[-1] for curve in self.curves}
        layers = self.layers_at(fewest)
        return self.ratio(fewest) * (layers.lowest_ratio if layers else 1.0)

    def options(self, curve: ChannelCurve) -> tuple[int, ...]:
        """The counts that a group may have, falling from all."""
        fewer = self.allowed.get(curve.name, ()) if self.allowed else candidates(curve)
        return (curve.size, *reversed(fewer))

    def counts(self, budget: float) -> dict[str, int]:
        """Counts by group for a budget, a fraction of the whole network's cost.

        With `zeros` these take their share of it.
        """
        decisions, limit = self._decisions, budget * self.whole_cost
        choice = allocate(decisions, limit)
        return decisions.counts(choice if self.zeros else decisions.filled(choice, limit))

    @cached_property
    def _decisions(self) -> _Decisions:
        return _Decisions(self)

    def layers_at(self, counts: Counts) -> Curves | None:
        """The curves of zeros in a network with these counts; None where there are to be none."""
        total = self.costs.total(counts)
        if not self.zeros or not total:
            return None
        every = {**self.costs.sizes, **counts}
        places = {reader: place for place, reader in enumerate(self.costs.readers())}
        layers = []
        for curve in self.zeros:
            if not curve.nodes:  # within larger nodes: no channels of theirs can go
                layers.append(curve)
                continue
            dense = sum(self.costs.of_item(places[node], every) for node in curve.nodes)
            scale = dense / curve.energies[0] if curve.energies[0] else 0.0
            energies = tuple(scale * energy for energy in curve.energies)
            layers.append(replace(curve, energies=energies))
        return Curves(tuple(layers), total - sum(curve.energies[0] for curve in layers))

    def predicted(self, budget: float, tail: float = 0.0) -> Predicted:
        """What is expected of the counts for a budget, and of zeros that do what is left of it."""
        counts = self.counts(budget if self.zeros else budget + tail)
        return self.with_zeros(counts, budget + tail)

    def with_zeros(self, counts: Counts, budget: float) -> Predicted:
        """What is expected of counts and of zeros for what is missing, if there are any."""
        error, ratio = predicted_error(self.curves, counts), self.ratio(counts)
        layers = self.layers_at(counts)
        if layers is None or ratio <= budget:
            return Predicted(error, ratio)
        zeros = layers.predicted(budget / ratio)
        return Predicted(error + zeros.error, ratio * zeros.ratio)

    def ratio(self, counts: Counts) -> float:
        """What these counts cost, a fraction of the whole network's cost."""
        return self.costs.total(counts) / self.whole_cost if self.whole_cost else 1.0


def predicted_error(curves: Sequence[ChannelCurve], counts: Mapping[str, int]) -> float:
    """The sum of the groups' own errors."""
    return math.fsum(curve.error_at(counts[curve.name]) for curve in curves)
