"""One budget split between channels and zeros: what the curves promise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eapc.allocation import Curves, Predicted
from eapc.structured import ChannelPlan

_SPLITS = 17
"""Channel budgets, evenly spaced, among which the best split of a budget is sought."""

_SLACK = 1e-6


@dataclass(frozen=True)
class SplitPlan:
    """A budget split between channels and then zeros in what is left, where both lose least.

    Zeros are taken to lose as much of a fraction of the energy as they would with all channels.
    """

    channels: ChannelPlan
    zeros: Curves

    @property
    def lowest_ratio(self) -> float:
        """Fewest channels, and lowest densities of what they leave."""
        return self.channels.lowest_ratio * self.zeros.lowest_ratio

    def predicted(self, budget: float, late: float = 0.0) -> Predicted:
        """What is expected of the best split; `late` changes what zeros have to do."""
        return self.of_split(self.split(budget), budget + late)

    def split(self, budget: float) -> float:
        """The budget of the channels that promises the least loss; zeros are to do the rest."""
        promised = ((tried, self.of_split(tried, budget)) for tried in (*self._evenly, budget))
        return min(promised, key=lambda found: (not is_within(found[1], budget), found[1].error))[0]

    def of_split(self, split: float, budget: float) -> Predicted:
        """What is expected where channels get the budget `split` and zeros do the rest."""
        first = self._evenly.get(split) or self.channels.predicted(split)
        left = budget / first.ratio if first.ratio else 1.0
        if left >= 1:
            return first
        if left < self.zeros.lowest_ratio:
            return Predicted(math.inf, first.ratio * self.zeros.lowest_ratio)
        second = self.zeros.predicted(left)
        return Predicted(first.error + second.error, first.ratio * second.ratio)

    @cached_property
    def _evenly(self) -> dict[float, Predicted]:
        budgets = np.linspace(self.channels.lowest_ratio, 1, _SPLITS).round(4).tolist()
        return {budget: self.channels.predicted(budget) for budget in budgets}


def is_within(promised: Predicted, budget: float) -> bool:
    """Whether a budget is expected to be kept."""
    return promised.ratio <= budget + _SLACK
