"""Pruning to any energy budget: weights, channels, or both one after the other."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from eapc.allocation import Plan, Predicted
from eapc.evaluation import AgreementJudge
from eapc.goals.shares import Shares
from eapc.pipeline import Compilation, Pipeline, Recipe
from eapc.structured import ChannelPlan

logger = logging.getLogger(__name__)

Run = Callable[[Pipeline, Compilation], Compilation]
"""Runs a pipeline, and sees to the time it takes."""

_SHARED = "shared"


_FLATTERED = 1.25
"""Zeros are chosen by the inputs that judge them, channels are not: they must lose clearly less."""


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

    Curves promise what single layers and groups lose, each alone in the whole network. So where a
    budget is settled for good, channels that do it alone are tried as well, and what loses less on
    a few inputs is taken. A budget that corrects another has the same channels.
    """

    def __init__(self, recipe: Recipe, run: Run, dense: Compilation) -> None:
        self._recipe = recipe
        self._run = run
        self._dense = dense
        self._latest: tuple[float, bool, OneStage] | None = None
        self._alone: dict[float, bool] = {}

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
        plan = self._plan_of(self._settled(shares))
        return self.plan.with_zeros(plan.counts(shares.settled_by), shares.budget + shares.late)

    def at(self, shares: Shares) -> Compilation:
        """The model with fewer channels, and zeros for what the budget still asks."""
        return self._pruned(shares, self._settled(shares))

    def pipeline(self, shares: Shares, held_out: float | None = None) -> Pipeline:
        """Both stages, the second's budget a fraction of what the first has left."""
        recipe, alone = self._recipe, self._settled(shares)
        left = self._left(self._second(shares.settled_by, alone), shares)
        zeros = recipe.budget(left.budget, left.late) if left.budget < 1 else recipe.budget(1.0)
        channels = recipe.budget(shares.settled_by)
        return recipe.pipeline_of_both(channels, zeros, held_out, sharing=not alone)

    def _settled(self, shares: Shares) -> bool:
        """Whether channels get a budget alone: only if they were tried and lost less."""
        budget = shares.like
        if budget is None:
            return False
        if budget not in self._alone:
            both, channels = (self._loss(Shares(budget), alone) for alone in (False, True))
            logger.info("budget %.4f: %.3g lost, by channels alone %.3g", budget, both, channels)
            self._alone[budget] = channels < _FLATTERED * both
        return self._alone[budget]

    def _loss(self, shares: Shares, alone: bool) -> float:
        """Divergence on a few inputs; infinite for channels that miss a budget by themselves."""
        if alone and self._plan_of(alone).predicted(shares.budget).ratio > shares.budget:
            return math.inf
        return self._judge.divergence(self._pruned(shares, alone).model)

    @cached_property
    def _judge(self) -> AgreementJudge:
        dense = self._dense
        assert dense.calibration is not None  # both stages are fitted on it
        threads = dense.conditions.engine.threads
        return AgreementJudge.on_few(dense.reference, dense.calibration, threads)

    def _plan_of(self, alone: bool) -> ChannelPlan:
        return replace(self.plan, zeros=()) if alone else self.plan

    def _pruned(self, shares: Shares, alone: bool) -> Compilation:
        second = self._second(shares.settled_by, alone)
        left = self._left(second, shares)
        return second.dense if left.budget >= 1 else second.at(left)

    @cached_property
    def _with_plan(self) -> Compilation:
        prune, *_ = self._recipe.channels(self._recipe.budget(1.0)).passes
        record = self._run(Pipeline((prune,)), self._dense).record
        return self._dense.with_record(curves=record.curves, channel_plan=record.channel_plan)

    def _second(self, budget: float, alone: bool) -> OneStage:
        """The pruner of what a budget's channels leave; the latest is kept with its curves."""
        if self._latest is None or self._latest[:2] != (budget, alone):
            self._latest = None
            recipe = self._recipe.removing() if alone else self._recipe
            shrunk = self._run(recipe.channels(recipe.budget(budget)), self._with_plan)
            self._latest = (budget, alone, OneStage(self._recipe.zeroing(), self._run, shrunk))
        return self._latest[2]

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
