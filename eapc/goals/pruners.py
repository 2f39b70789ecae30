"""Pruning to any energy budget: weights, channels, or both one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from eapc.allocation import Curves, Plan, Predicted
from eapc.pipeline import Compilation, Pipeline
from eapc.recipe import Recipe
from eapc.structured import ChannelPlan

Run = Callable[[Pipeline, Compilation], Compilation]
"""Runs a pipeline, and sees to the time it takes."""

_SHARED = "shared"
_SPLITS = 17
"""Channel budgets, evenly spaced, among which the best split of a budget is sought."""


class Pruner(Protocol):
    """Prunes one model to any budget, a fraction of the dense network's energy."""

    @property
    def plan(self) -> Plan:
        """What budgets are expected to lose; it takes the curves."""

    @property
    def can_correct(self) -> bool:
        """Whether the last layers alone may be given another share of a budget."""

    def at(self, budget: float, late: float = 0.0) -> Compilation:
        """The model pruned to a budget; with `late` the last layers get so much more."""

    def pipeline(self, budget: float, late: float = 0.0, held_out: float | None = None) -> Pipeline:
        """What `at` does, as it would be typed."""


def pruner_of(recipe: Recipe, run: Run, dense: Compilation) -> Pruner:
    """The pruner that a recipe asks for; `dense` is annotated and has calibration data."""
    if recipe.zeros:
        return TwoStages(recipe, run, dense)
    return OneStage(recipe, run, dense)


@dataclass(frozen=True)
class OneStage:
    """Weights zeroed, or channels taken out."""

    recipe: Recipe
    run: Run
    dense: Compilation

    @cached_property
    def plan(self) -> Plan:
        """The layers' curves, or the channel groups'."""
        record = self._with_plan.record
        plan = record.channel_plan if self.recipe.structured else record.curves
        assert plan is not None  # the pass has worked it out for its budget
        return plan

    @property
    def can_correct(self) -> bool:
        """Layers have shares to correct where they are shared out for the least error."""
        return self.recipe.order == _SHARED and not self.recipe.structured

    def at(self, budget: float, late: float = 0.0) -> Compilation:
        """The model pruned to a budget in one go."""
        _, *steps = self.pipeline(budget, late).passes
        return self.run(Pipeline(tuple(steps)), self._with_plan)

    def pipeline(self, budget: float, late: float = 0.0, held_out: float | None = None) -> Pipeline:
        """One pruning pass and what belongs to it."""
        return self.recipe.pipeline(self.recipe.budget(budget, late), held_out)

    @cached_property
    def _with_plan(self) -> Compilation:
        """The dense network with the curves that any budget is shared out by."""
        shared = replace(self.recipe, order=_SHARED)
        _, prune, *_ = shared.pipeline(shared.budget(1.0)).passes
        record = self.run(Pipeline((prune,)), self.dense).record
        return self.dense.with_record(curves=record.curves, channel_plan=record.channel_plan)


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
        return self._both(self._best(budget)[2], budget + late)

    def split(self, budget: float) -> float:
        """The budget of the channels; zeros are to do the rest."""
        return self._best(budget)[0]

    @cached_property
    def _tried(self) -> tuple[tuple[float, Predicted], ...]:
        budgets = np.linspace(self.channels.lowest_ratio, 1, _SPLITS).round(4).tolist()
        return tuple((budget, self.channels.predicted(budget)) for budget in budgets)

    def _best(self, budget: float) -> tuple[float, Predicted, Predicted]:
        """The best split, what both stages and what the first alone should come to."""
        alone = (budget, self.channels.predicted(budget))
        return min(
            ((tried, self._both(first, budget), first) for tried, first in (*self._tried, alone)),
            key=lambda found: (found[1].ratio > budget + _SLACK, found[1].error),
        )

    def _both(self, first: Predicted, budget: float) -> Predicted:
        left = budget / first.ratio if first.ratio else 1.0
        if left >= 1:
            return first
        if left < self.zeros.lowest_ratio:
            return Predicted(math.inf, first.ratio * self.zeros.lowest_ratio)
        second = self.zeros.predicted(left)
        return Predicted(first.error + second.error, first.ratio * second.ratio)


_SLACK = 1e-6


class TwoStages:
    """Channels taken out, then zeros in what is left, one budget for both."""

    def __init__(self, recipe: Recipe, run: Run, dense: Compilation) -> None:
        self._recipe = recipe
        self._run = run
        self._dense = dense
        self._channels = OneStage(recipe.removing(), run, dense)
        self._latest: tuple[float, OneStage] | None = None

    @cached_property
    def plan(self) -> SplitPlan:
        """The curves of channels and of zeros, both those of the whole network."""
        zeros = OneStage(self._recipe.zeroing(), self._run, self._dense).plan
        channels = self._channels.plan
        assert isinstance(zeros, Curves)
        assert isinstance(channels, ChannelPlan)
        return SplitPlan(channels, zeros)

    @property
    def can_correct(self) -> bool:
        """The second stage can."""
        return self._recipe.order == _SHARED

    def at(self, budget: float, late: float = 0.0) -> Compilation:
        """The model with fewer channels, and zeros for what the budget still asks."""
        second = self._second(budget)
        left = self._left(budget, late)
        return second.dense if left[0] >= 1 else second.at(*left)

    def pipeline(self, budget: float, late: float = 0.0, held_out: float | None = None) -> Pipeline:
        """Both stages, the second's budget a fraction of what the first has left."""
        recipe = self._recipe
        channels = recipe.budget(self.plan.split(budget))
        left = self._left(budget, late)
        zeros = recipe.budget(*left) if left[0] < 1 else recipe.budget(1.0)
        return recipe.pipeline_of_both(channels, zeros, held_out)

    def _second(self, budget: float) -> OneStage:
        """The pruner of what the first stage leaves; the latest is kept with its curves."""
        split = self.plan.split(budget)
        if self._latest is None or self._latest[0] != split:
            self._latest = None
            shrunk = self._channels.at(split)
            self._latest = (split, OneStage(self._recipe.zeroing(), self._run, shrunk))
        return self._latest[1]

    def _left(self, budget: float, late: float) -> tuple[float, float]:
        """The budget and `late` as fractions of the first stage's energy, as they are typed."""
        first = self._second(budget).dense.energy
        assert first is not None  # every stage ends in annotate-energy
        assert self._dense.energy is not None
        energy = first.energy_mac_units
        scale = self._dense.energy.energy_mac_units / energy if energy else 1.0
        return round(budget * scale, 6), round(late * scale, 6)
