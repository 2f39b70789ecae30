"""Pruning to any energy budget: weights, channels, or both one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from eapc.allocation import Plan, Predicted
from eapc.goals.shares import Shares
from eapc.pipeline import Compilation, Pipeline, Recipe
from eapc.structured import ChannelPlan

Run = Callable[[Pipeline, Compilation], Compilation]
"""Runs a pipeline, and sees to the time it takes."""

_SHARED = "shared"


class Pruner(Protocol):
    """Prunes one model to any budget, a fraction of the dense network's energy."""

    @property
    def plan(self) -> Plan:
        """What budgets are expected to lose; it takes the curves."""

    @property
    def can_correct(self) -> bool:
        """Whether the last layers alone may be given another share of a budget."""

    def predicted(self, shares: Shares) -> Predicted:
        """What is expected of `at`."""

    def at(self, shares: Shares) -> Compilation:
        """The model pruned to a budget."""

    def pipeline(self, shares: Shares, held_out: float | None = None) -> Pipeline:
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

    def predicted(self, shares: Shares) -> Predicted:
        """What the curves promise."""
        return self.plan.predicted(shares.budget, shares.late)

    def at(self, shares: Shares) -> Compilation:
        """The model pruned to a budget in one go."""
        _, *steps = self.pipeline(shares).passes
        return self.run(Pipeline(tuple(steps)), self._with_plan)

    def pipeline(self, shares: Shares, held_out: float | None = None) -> Pipeline:
        """One pruning pass and what belongs to it."""
        return self.recipe.pipeline(self.recipe.budget(shares.budget, shares.late), held_out)

    @cached_property
    def _with_plan(self) -> Compilation:
        """The dense network with the curves that any budget is shared out by."""
        shared = replace(self.recipe, order=_SHARED)
        _, prune, *_ = shared.pipeline(shared.budget(1.0)).passes
        record = self.run(Pipeline((prune,)), self.dense).record
        return self.dense.with_record(curves=record.curves, channel_plan=record.channel_plan)


class TwoStages:
    """Channels taken out, then zeros in what is left, one budget shared out over both.

    What channels leave has curves of its own, so that zeros make up for what they cost in truth.
    A budget that corrects another has the same channels.
    """

    def __init__(self, recipe: Recipe, run: Run, dense: Compilation) -> None:
        self._recipe = recipe
        self._run = run
        self._dense = dense
        self._latest: tuple[float, OneStage] | None = None

    @cached_property
    def plan(self) -> ChannelPlan:
        """The curves of channels and of zeros in the whole network."""
        return _channel_plan(self._with_plan)

    @property
    def can_correct(self) -> bool:
        """The second stage can."""
        return self._recipe.order == _SHARED

    def predicted(self, shares: Shares) -> Predicted:
        """What the curves of the whole network promise."""
        counts = self.plan.counts(shares.settled_by)
        return self.plan.with_zeros(counts, shares.budget + shares.late)

    def at(self, shares: Shares) -> Compilation:
        """The model with fewer channels, and zeros for what the budget still asks."""
        second = self._second(shares.settled_by)
        left = self._left(second, shares)
        return second.dense if left.budget >= 1 else second.at(left)

    def pipeline(self, shares: Shares, held_out: float | None = None) -> Pipeline:
        """Both stages, the second's budget a fraction of what the first has left."""
        recipe, left = self._recipe, self._left(self._second(shares.settled_by), shares)
        zeros = recipe.budget(left.budget, left.late) if left.budget < 1 else recipe.budget(1.0)
        return recipe.pipeline_of_both(recipe.budget(shares.settled_by), zeros, held_out)

    @cached_property
    def _with_plan(self) -> Compilation:
        prune, *_ = self._recipe.channels(self._recipe.budget(1.0)).passes
        record = self._run(Pipeline((prune,)), self._dense).record
        return self._dense.with_record(curves=record.curves, channel_plan=record.channel_plan)

    def _second(self, budget: float) -> OneStage:
        """The pruner of what a budget's channels leave; the latest is kept with its curves."""
        if self._latest is None or self._latest[0] != budget:
            self._latest = None
            first = self._recipe.channels(self._recipe.budget(budget))
            shrunk = self._run(first, self._with_plan)
            self._latest = (budget, OneStage(self._recipe.zeroing(), self._run, shrunk))
        return self._latest[1]

    def _left(self, second: OneStage, shares: Shares) -> Shares:
        """The same as fractions of the first stage's energy, as they are typed."""
        energy = _energy(second.dense)
        scale = _energy(self._dense) / energy if energy else 1.0
        return Shares(round(shares.budget * scale, 6), round(shares.late * scale, 6))


def _channel_plan(compilation: Compilation) -> ChannelPlan:
    plan = compilation.record.channel_plan
    assert plan is not None  # prune-channels has worked it out for its budget
    return plan


def _energy(compilation: Compilation) -> float:
    assert compilation.energy is not None  # every stage ends in annotate-energy
    return compilation.energy.energy_mac_units
