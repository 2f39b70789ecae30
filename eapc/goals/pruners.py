"""Pruning to any energy budget: weights, channels, or both one after the other."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from eapc.allocation import Plan, Predicted
from eapc.evaluation import AgreementJudge
from eapc.goals.goal import Budget
from eapc.pipeline import Compilation, Pass, Recipe
from eapc.structured import ChannelPlan

logger = logging.getLogger(__name__)

Run = Callable[[Sequence[Pass], Compilation], Compilation]
"""Runs passes, and sees to the time they take."""

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

    def predicted(self, budget: Budget) -> Predicted:
        """What is expected of `at`."""

    def at(self, budget: Budget) -> Compilation:
        """The model pruned to a budget."""

    def steps(self, budget: Budget) -> tuple[Pass, ...]:
        """What `at` does."""


def pruner_of(recipe: Recipe, run: Run, dense: Compilation) -> Pruner:
    """The pruner that a recipe asks for; `dense` is annotated and has calibration data."""
    bare = recipe.untrained()
    pruner = TwoStages(bare, run, dense) if bare.zeros else OneStage(bare, run, dense)
    return Trained(pruner, recipe.training, run) if recipe.training else pruner


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

    def predicted(self, budget: Budget) -> Predicted:
        """What the curves promise."""
        return self.plan.predicted(budget.ratio, budget.tail)

    def at(self, budget: Budget) -> Compilation:
        """The model pruned to a budget in one go."""
        return self.run(self.steps(budget), self._with_plan)

    def steps(self, budget: Budget) -> tuple[Pass, ...]:
        """One pruning pass and what belongs to it."""
        return self.recipe.steps(self.recipe.budget(budget.ratio, budget.tail))

    @cached_property
    def _with_plan(self) -> Compilation:
        return _with_plan(self.recipe, self.run, self.dense)


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
        plan = self._with_plan.record.channel_plan
        assert plan is not None  # prune-channels has worked it out for its budget
        return plan

    @property
    def can_correct(self) -> bool:
        """The second stage can."""
        return self._recipe.order == _SHARED

    def predicted(self, budget: Budget) -> Predicted:
        """What the curves of the whole network promise."""
        plan = self._plan_of(self._settled(budget))
        return self.plan.with_zeros(plan.counts(budget.settled_by), budget.ratio + budget.tail)

    def at(self, budget: Budget) -> Compilation:
        """The model with fewer channels, and zeros for what the budget still asks."""
        return self._pruned(budget, self._settled(budget))

    def steps(self, budget: Budget) -> tuple[Pass, ...]:
        """Both stages, the second's budget a fraction of what the first has left."""
        alone = self._settled(budget)
        second, recipe = self._second(budget.settled_by, alone), self._first(alone)
        left = self._left(second, budget)
        zeros = second.steps(left if left.ratio < 1 else Budget(1.0))
        return (*recipe.channels(recipe.budget(budget.settled_by)), *zeros)

    def _settled(self, budget: Budget) -> bool:
        """Whether channels get a budget alone: only if they were tried and lost less."""
        ratio = budget.split_like
        if ratio is None:
            return False
        if ratio not in self._alone:
            both, channels = (self._loss(ratio, alone) for alone in (False, True))
            logger.info("budget %.4f: %.3g lost, by channels alone %.3g", ratio, both, channels)
            self._alone[ratio] = channels < _FLATTERED * both
        return self._alone[ratio]

    def _loss(self, ratio: float, alone: bool) -> float:
        """Divergence on a few inputs; infinite for channels that miss a budget by themselves."""
        if alone and self._plan_of(alone).predicted(ratio).ratio > ratio:
            return math.inf
        return self._judge.divergence(self._pruned(Budget(ratio), alone).model)

    @cached_property
    def _judge(self) -> AgreementJudge:
        dense = self._dense
        assert dense.calibration is not None  # both stages are fitted on it
        threads = dense.conditions.engine.threads
        return AgreementJudge.on_few(dense.reference, dense.calibration, threads)

    def _plan_of(self, alone: bool) -> ChannelPlan:
        return replace(self.plan, zeros=()) if alone else self.plan

    def _pruned(self, budget: Budget, alone: bool) -> Compilation:
        second = self._second(budget.settled_by, alone)
        left = self._left(second, budget)
        return second.dense if left.ratio >= 1 else second.at(left)

    @cached_property
    def _with_plan(self) -> Compilation:
        return _with_plan(self._recipe, self._run, self._dense)

    def _second(self, budget: float, alone: bool) -> OneStage:
        """The pruner of what a budget's channels leave; the latest is kept with its curves."""
        if self._latest is None or self._latest[:2] != (budget, alone):
            self._latest = None
            recipe = self._first(alone)
            shrunk = self._run(recipe.channels(recipe.budget(budget)), self._with_plan)
            self._latest = (budget, alone, OneStage(self._recipe.zeroing(), self._run, shrunk))
        return self._latest[2]

    def _first(self, alone: bool) -> Recipe:
        """The recipe that channels go by."""
        return self._recipe.removing() if alone else self._recipe

    def _left(self, second: OneStage, budget: Budget) -> Budget:
        """The same as fractions of the first stage's energy, as they are typed."""
        energy = second.dense.priced.energy_mac_units
        scale = self._dense.priced.energy_mac_units / energy if energy else 1.0
        return Budget(round(budget.ratio * scale, 6), round(budget.tail * scale, 6))


@dataclass(frozen=True)
class Trained:
    """What another pruner makes, trained by some steps; it is expected to cost the same."""

    pruner: OneStage | TwoStages
    training: tuple[Pass, ...]
    run: Run

    @property
    def plan(self) -> Plan:
        """The other's: what is lost before training."""
        return self.pruner.plan

    @property
    def can_correct(self) -> bool:
        """The other's answer."""
        return self.pruner.can_correct

    def predicted(self, budget: Budget) -> Predicted:
        """What the other's curves promise."""
        return self.pruner.predicted(budget)

    def at(self, budget: Budget) -> Compilation:
        """The model pruned to a budget, then trained."""
        return self.run(self.training, self.pruner.at(budget))

    def steps(self, budget: Budget) -> tuple[Pass, ...]:
        """Both."""
        return (*self.pruner.steps(budget), *self.training)


def _with_plan(recipe: Recipe, run: Run, dense: Compilation) -> Compilation:
    """The dense network with the curves that any budget is shared out by."""
    prune, *_ = replace(recipe, order=_SHARED).steps(recipe.budget(1.0))
    record = run((prune,), dense).record
    return dense.with_record(curves=record.curves, channel_plan=record.channel_plan)
