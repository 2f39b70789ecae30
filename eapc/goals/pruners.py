"""Pruning to any energy budget: weights, channels, or both one after the other."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from eapc.allocation import Curves, Plan, Predicted
from eapc.checkpoints import model_digest
from eapc.evaluation import AgreementJudge
from eapc.goals.shares import Shares
from eapc.goals.splits import SplitPlan, is_within
from eapc.pipeline import Compilation, Pipeline, Recipe
from eapc.structured import ChannelPlan

logger = logging.getLogger(__name__)

Run = Callable[[Pipeline, Compilation], Compilation]
"""Runs a pipeline, and sees to the time it takes."""

_SHARED = "shared"

_DOUBT = 4.0
"""What is expected to lose more than this many times what was measured is not tried."""

_MISSED = 0.01
"""What a trial may exceed its budget by: corrections make up for less."""


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


@dataclass(frozen=True)
class _Trial:
    """A budget split in one way: the second stage, its result, and what that has lost.

    `ratio` is the energy left, a fraction of the dense network's; `loss` the divergence of the
    outputs on some inputs that are fitted.
    """

    split: float
    second: OneStage
    result: Compilation
    ratio: float
    loss: float

    def to_beat(self, budget: float) -> float:
        """The loss from which on another trial is worse: any is better than a budget missed."""
        return self.loss if self.ratio <= budget + _MISSED else math.inf

    def is_better(self, other: _Trial, budget: float) -> bool:
        """Whether it loses less, or comes closer to a budget that the other one misses."""
        met = budget + _MISSED
        return (max(self.ratio, met), self.loss) < (max(other.ratio, met), other.loss)


class TwoStages:
    """Channels taken out, then zeros in what is left, one budget for both.

    Curves promise what single layers and groups lose, each alone in the whole network. So the
    best split is tried against either kind alone: what loses least is taken. The same for a
    budget whatever else was asked before.
    """

    def __init__(self, recipe: Recipe, run: Run, dense: Compilation) -> None:
        self._recipe = recipe
        self._run = run
        self._dense = dense
        self._channels = OneStage(recipe.removing(), run, dense)
        self._settled: dict[float, float] = {}
        self._latest: tuple[float, OneStage] | None = None
        self._winner: tuple[float, Compilation] | None = None

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

    def predicted(self, shares: Shares) -> Predicted:
        """What the curves of the whole network promise of the split that is taken."""
        return self.plan.of_split(self._split(shares), shares.budget + shares.late)

    def at(self, shares: Shares) -> Compilation:
        """The model with fewer channels, and zeros for what the budget still asks."""
        split = self._split(shares)
        is_settled = shares.budget == shares.settled_by and not shares.late
        if self._winner and self._winner[0] == shares.budget and is_settled:
            return self._winner[1]
        self._winner = None
        return self._pruned(self._second(split), shares)

    def pipeline(self, shares: Shares, held_out: float | None = None) -> Pipeline:
        """Both stages, the second's budget a fraction of what the first has left."""
        recipe, split = self._recipe, self._split(shares)
        left = self._left(self._second(split), shares)
        zeros = recipe.budget(left.budget, left.late) if left.budget < 1 else recipe.budget(1.0)
        return recipe.pipeline_of_both(recipe.budget(split), zeros, held_out)

    def _split(self, shares: Shares) -> float:
        """The budget of the channels: as it was settled, or all of it where it was so."""
        settled = shares.settled_by
        if settled not in self._settled:
            best = self._best(settled)
            self._settled[settled] = best.split
            self._latest = (best.split, best.second)
            self._winner = (settled, best.result)
        split = self._settled[settled]
        return shares.budget if split == settled else split

    def _best(self, budget: float) -> _Trial:
        """The trial that loses least: the split that promises most, or either kind alone."""
        best = self._trial(self.plan.split(budget), budget, None)
        assert best is not None  # there is nothing yet to be worse than
        for split in (1.0, budget):
            promised = self.plan.of_split(split, budget)
            hopeful = promised.error < _DOUBT * best.to_beat(budget)
            if split != best.split and is_within(promised, budget) and hopeful:
                trial = self._trial(split, budget, best)
                best = trial if trial and trial.is_better(best, budget) else best
        return best

    def _trial(self, split: float, budget: float, best: _Trial | None) -> _Trial | None:
        """A split tried out; None where its channels alone lose as much as the best one."""
        second = self._second(split)
        if best and self._judge.divergence(second.dense.model) >= best.to_beat(budget):
            return None
        result = self._pruned(second, Shares(budget))
        loss = self._judge.divergence(result.model)
        ratio = _energy(result) / (_energy(self._dense) or 1.0)
        logger.info(
            "budget %.4f, channels to %.4f: energy %.4f, divergence %.3g",
            *(budget, split, ratio, loss),
        )
        return _Trial(split, second, result, ratio, loss)

    @cached_property
    def _judge(self) -> AgreementJudge:
        dense = self._dense
        assert dense.calibration is not None  # both stages are fitted on it
        return AgreementJudge.on_few(dense.reference, dense.calibration, dense.conditions.threads)

    def _second(self, split: float) -> OneStage:
        """The pruner of what the first stage leaves; the latest is kept with its curves."""
        if self._latest is None or self._latest[0] != split:
            self._latest = None
            shrunk = self._channels.at(Shares(split))
            if model_digest(shrunk.model) == model_digest(self._dense.model):
                shrunk = shrunk.with_record(curves=self.plan.zeros)
            self._latest = (split, OneStage(self._recipe.zeroing(), self._run, shrunk))
        return self._latest[1]

    def _pruned(self, second: OneStage, shares: Shares) -> Compilation:
        left = self._left(second, shares)
        return second.dense if left.budget >= 1 else second.at(left)

    def _left(self, second: OneStage, shares: Shares) -> Shares:
        """The same as fractions of the first stage's energy, as they are typed."""
        energy = _energy(second.dense)
        scale = _energy(self._dense) / energy if energy else 1.0
        return Shares(round(shares.budget * scale, 6), round(shares.late * scale, 6))


def _energy(compilation: Compilation) -> float:
    assert compilation.energy is not None  # every stage ends in annotate-energy
    return compilation.energy.energy_mac_units
