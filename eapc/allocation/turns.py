"""Decisions that have a say in each other's costs, of any kind: settled by turns.

The cost is a sum over items, each of which depends on a few sites, such as the energy of a layer
on the channels that it reads and makes. Errors are each site's own. Choices are settled from one
price to the next, so that all budgets share the way down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eapc.allocation.allocator import Choice

_TURNS = 6
"""Rounds of turns that a choice is settled by: most need two or three."""

_PRICES = 256
"""Steps of the way down, evenly spaced by the price's logarithm."""


def _one() -> NDArray[np.float64]:
    return np.ones(())


@dataclass(frozen=True, eq=False)
class JointItem:
    """A part of the cost, and the sites that have a say in it.

    `price` tells it by the options of `sites`, in that order; it is asked again and again.
    `factors`, an axis for each of `scaled_by`, is what the options of those multiply it by.
    No site is in both.
    """

    sites: tuple[int, ...]
    price: Callable[[tuple[int, ...]], float]
    scaled_by: tuple[int, ...] = ()
    factors: NDArray[np.float64] = field(default_factory=_one)

    def cost(self, choice: Choice) -> float:
        """What it costs under a choice."""
        return self._priced(choice) * self._factor(choice)

    def costs(self, site: int, options: int, choice: Choice) -> NDArray[np.float64]:
        """What it costs under each option of a site, all others as chosen."""
        if site in self.sites:
            prices = [self._priced(choice, site, option) for option in range(options)]
            return np.array(prices) * self._factor(choice)
        along = tuple(slice(None) if s == site else choice[s] for s in self.scaled_by)
        return np.asarray(self._priced(choice) * self.factors[along])

    def _priced(self, choice: Choice, site: int = -1, option: int = 0) -> float:
        return self.price(tuple(option if s == site else int(choice[s]) for s in self.sites))

    def _factor(self, choice: Choice) -> float:
        return float(self.factors[tuple(choice[s] for s in self.scaled_by)])


class JointDecisions:
    """A `Space` of sites with errors by option, and of items that cost what their sites choose.

    A site's saving depends on the options of others: a choice is settled by turns, each site's
    option the best for those of the others, until all stay.
    """

    def __init__(self, errors: Sequence[NDArray[np.float64]], items: Sequence[JointItem]) -> None:
        self._errors, self._items = errors, items
        self._way = [np.zeros(self.sites, np.intp)]
        self._cheapest = np.array([len(own) - 1 for own in errors], np.intp)
        self._touched: list[list[JointItem]] = [[] for _ in errors]
        for item in items:
            for site in (*item.sites, *item.scaled_by):
                self._touched[site].append(item)

    @property
    def sites(self) -> int:
        """How many decisions there are."""
        return len(self._errors)

    @property
    def cheapest(self) -> Choice:
        """The last option of every site."""
        return self._cheapest

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
        return sum(item.cost(choice) for item in self._items)

    def error(self, choice: Choice) -> float:
        """The sum of all sites' own errors."""
        return math.fsum(e[option] for e, option in zip(self._errors, choice, strict=True))

    def _site_costs(self, site: int, choice: Choice) -> NDArray[np.float64]:
        """What a site has a say in costs under each of its options."""
        options = len(self._errors[site])
        costs = (item.costs(site, options, choice) for item in self._touched[site])
        return sum(costs, np.zeros(options))

    def filled(self, choice: Choice, budget: float) -> Choice:
        """The choice, or the one before it on the way with one more step: what loses less.

        Either is filled up first.
        """
        generous, frugal = self.neighbours(budget)
        steps = sorted(self._steps(generous, budget), key=self.error)[:1]
        ends = (self._filled(each, budget) for each in (choice, frugal, *steps))
        return min(ends, key=self.error)

    def _filled(self, choice: Choice, budget: float) -> Choice:
        """Sites get back what the budget has room for, where that wins most first.

        What costs nothing needs no room: less given up may be no dearer.
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
        """(won, given back, site and option, spent) of every way up that wins or saves."""
        costs, errors, now = self._site_costs(site, choice), self._errors[site], choice[site]
        for option in range(now):
            won, spent = errors[now] - errors[option], costs[option] - costs[now]
            if won > 0 or spent < 0:
                yield won, -option, (site, option), spent
