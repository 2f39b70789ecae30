"""Pruning to any energy budget: weights, channels, or both one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Protocol

from eapc.allocation import Plan, Predicted
from eapc.evaluation import AgreementJudge
from eapc.goals.goal import Budget
from eapc.goals.narrowing import Narrowed
from eapc.goals.splits import BudgetSplit, Outcome, SplitCandidate, best_split, split_at
from eapc.pipeline import Compilation, Pass, Recipe, amount_of
from eapc.structured import ChannelPlan, predicted_error

logger = logging.getLogger(__name__)

Run = Callable[[Sequence[Pass], Compilation], Compilation]
"""Runs passes, and sees to the time they take."""

_SHARED = "shared"

_PLACES = 16
"""Splits that are looked at where a budget is out of reach: none needs a fit."""


class Pruner(Protocol):
    """Prunes one model to any budget, a fraction of the dense network's energy."""

    @property
    def plan(self) -> Plan:
        """What budgets are expected to lose; it takes the curves."""

    @property
    def can_correct(self) -> bool:
        """Whether the last layers alone may be given another share of a budget."""

    @property
    def highest(self) -> float:
        """The budget from which on nothing is pruned."""

    def predicted(self, budget: Budget) -> Predicted:
        """What is expected of `at`."""

    def at(self, budget: Budget) -> Compilation:
        """The model pruned to a budget."""

    def steps(self, budget: Budget) -> tuple[Pass, ...]:
        """What `at` does."""


def pruner_of(recipe: Recipe, run: Run, dense: Compilation) -> Pruner:
    """The pruner that a recipe asks for; `dense` is annotated and has calibration data."""
    if recipe.widths is not None and recipe.is_of_energy:
        return Narrowed(recipe, run, dense, partial(pruner_of, recipe.before_quantizing(), run))
    bare = recipe.untrained()
    pruner = TwoStages(bare, run, dense) if bare.zeros else OneStage(bare, run, dense)
    behind = (*recipe.training, *recipe.finishing)
    return Trained(pruner, behind, run) if behind else pruner


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

    @property
    def highest(self) -> float:
        """All of the energy."""
        return 1.0

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

    Curves promise what single layers and groups lose, each alone in the whole network, and what
    they cost there. So where a budget is settled for good a few splits of it are tried (see
    `eapc.goals.splits`), and what loses least on a few inputs is taken. A budget that corrects
    another has the same channels.
    """

    def __init__(self, recipe: Recipe, run: Run, dense: Compilation) -> None:
        self._recipe = recipe
        self._run = run
        self._dense = dense
        self._latest: _ShrunkNetwork | None = None
        self._splits: dict[float, BudgetSplit] = {}
        self._floors: dict[BudgetSplit, float] = {}

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

    @property
    def highest(self) -> float:
        """All of the energy."""
        return 1.0

    def predicted(self, budget: Budget) -> Predicted:
        """What the curves of the whole network promise."""
        split = self._settled(budget)
        return self.plan.with_zeros(self._counts(split), budget.ratio + budget.tail)

    def at(self, budget: Budget) -> Compilation:
        """The model with fewer channels, and zeros for what the budget still asks."""
        return self._pruned(budget, self._shrunk(self._settled(budget)))

    def steps(self, budget: Budget) -> tuple[Pass, ...]:
        """Both stages, the second's budget a fraction of what the first has left."""
        split = self._settled(budget)
        second = self._shrunk(split).second
        left = self._left(second, budget)
        zeros = second.steps(left if left.ratio < 1 else Budget(1.0))
        return (*self._channels(split), *zeros)

    def _settled(self, budget: Budget) -> BudgetSplit:
        """How a budget is split: as curves promise most, unless it is to be settled for good."""
        ratio = budget.split_like
        if ratio is None:
            return split_at(budget.ratio, 0)
        if ratio not in self._splits:
            self._latest = None
            reachable = replace(self.plan, zeros=()).predicted(ratio).ratio <= ratio
            best = best_split(ratio, partial(self._tried, ratio), alone_too=reachable)
            self._splits[ratio], self._latest = best.split, best.made
        split, asked = self._splits[ratio], budget.ratio + budget.tail
        return split if split.alone or asked >= ratio else self._reaching(asked, split)

    def _reaching(self, asked: float, split: BudgetSplit) -> BudgetSplit:
        """The split; where its lowest densities cost more, the first whose channels leave less.

        How far the cost of a split is from what is planned shows the first time.
        """
        if split not in self._floors:
            second = self._shrunk(split).second
            self._floors[split] = self._cost(second.dense) * second.plan.lowest_ratio
        scale = self._floors[split] / (self._planned_floor(split) or 1.0)
        lower = [split_at(split.like, place) for place in range(_PLACES)]
        least = min(lower, key=self._planned_floor)
        return next((s for s in lower if scale * self._planned_floor(s) <= asked), least)

    def _planned_floor(self, split: BudgetSplit) -> float:
        """What the lowest densities leave of the energy, by the curves."""
        return self.plan.with_zeros(self._counts(split), 0.0).ratio

    def _tried(self, ratio: float, split: BudgetSplit) -> SplitCandidate[_ShrunkNetwork]:
        """What a split of a budget comes to, as far as one pruning tells."""
        shrunk = self._shrink(split)
        result = self._pruned(Budget(ratio), shrunk)
        lost, by_channels = map(self._judge.divergence, (result.model, shrunk.second.dense.model))
        promised = self.plan.with_zeros(self._counts(split), ratio).error
        channels = predicted_error(self.plan.curves, self._counts(split))
        zeros_short = (lost - by_channels) * channels > by_channels * (promised - channels)
        outcome = Outcome(self._missed_by(ratio, shrunk), self._loss(ratio, split, result, lost))
        logger.info("budget %.4f, %s: %s", ratio, split, outcome)
        return SplitCandidate(split, outcome, zeros_short or outcome.missed_by > 0, shrunk)

    def _loss(self, ratio: float, split: BudgetSplit, result: Compilation, lost: float) -> float:
        """What a result should lose once it is corrected to cost its budget, by the curves."""
        counts, beyond = self._counts(split), self._cost(result) - ratio
        now, then = (self.plan.with_zeros(counts, b).error for b in (ratio, ratio - beyond))
        return lost * then / now if now else lost

    def _missed_by(self, ratio: float, shrunk: _ShrunkNetwork) -> float:
        """By how much a budget is below what the lowest densities should come to."""
        left = self._left(shrunk.second, Budget(ratio))
        if left.ratio >= 1:
            return 0.0
        plan, scale = shrunk.second.plan, self._cost(shrunk.second.dense)
        beyond = self._cost(shrunk.at(left)) - scale * plan.predicted(left.ratio).ratio
        return max(0.0, scale * plan.lowest_ratio + beyond - ratio)

    @cached_property
    def _judge(self) -> AgreementJudge:
        dense = self._dense
        assert dense.calibration is not None  # both stages are fitted on it
        threads = dense.conditions.engine.threads
        return AgreementJudge.on_few(dense.reference, dense.calibration, threads)

    def _counts(self, split: BudgetSplit) -> Mapping[str, int]:
        """The channels that a split leaves, by group."""
        plan = replace(self.plan, zeros=()) if split.alone else self.plan
        return plan.counts(split.like)

    def _channels(self, split: BudgetSplit) -> tuple[Pass, ...]:
        """The steps that take a split's channels out."""
        recipe = self._recipe.removing() if split.alone else self._recipe
        return recipe.channels(recipe.budget(split.like))

    def _pruned(self, budget: Budget, shrunk: _ShrunkNetwork) -> Compilation:
        return shrunk.at(self._left(shrunk.second, budget))

    @cached_property
    def _with_plan(self) -> Compilation:
        return _with_plan(self._recipe, self._run, self._dense)

    def _shrunk(self, split: BudgetSplit) -> _ShrunkNetwork:
        """What a split's channels leave; the latest is kept with its curves."""
        if self._latest is None or self._latest.split != split:
            self._latest = None
            self._latest = self._shrink(split)
        return self._latest

    def _shrink(self, split: BudgetSplit) -> _ShrunkNetwork:
        dense = self._run(self._channels(split), self._with_plan)
        return _ShrunkNetwork(split, OneStage(self._recipe.zeroing(), self._run, dense))

    def _cost(self, compilation: Compilation) -> float:
        """What a network takes of the objective over what the dense one does."""
        dense = self._amount(self._dense)
        return self._amount(compilation) / dense if dense else 1.0

    def _amount(self, compilation: Compilation) -> float:
        return amount_of(compilation, self._recipe.objective or "energy")

    def _left(self, second: OneStage, budget: Budget) -> Budget:
        """The same as fractions of what the first stage leaves, as they are typed."""
        amount = self._amount(second.dense)
        scale = self._amount(self._dense) / amount if amount else 1.0
        return Budget(round(budget.ratio * scale, 6), round(budget.tail * scale, 6))


class _ShrunkNetwork:
    """The model without a split's channels, what prunes it further, and the latest result."""

    def __init__(self, split: BudgetSplit, second: OneStage) -> None:
        self.split = split
        self.second = second
        self._latest: tuple[Budget, Compilation] | None = None

    def at(self, left: Budget) -> Compilation:
        """The model with zeros for a fraction of its own energy; as it is for all of it."""
        if left.ratio >= 1:
            return self.second.dense
        if self._latest is None or self._latest[0] != left:
            self._latest = None
            self._latest = (left, self.second.at(left))
        return self._latest[1]


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

    @property
    def highest(self) -> float:
        """The other's."""
        return self.pruner.highest

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
