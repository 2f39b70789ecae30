"""One budget shared out over decisions of any kind.

Every site offers options, each with an error and a cost: a layer's densities, a channel group's
counts. The options that lose least for a budget minimise the sum of errors + price * cost for one
price common to all sites (a Lagrange multiplier). Raising the price gives up what costs least
error for what it saves.
"""

from __future__ import annotations

from typing import Protocol

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
