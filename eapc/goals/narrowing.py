"""Pruning whose result is quantized, to budgets of what the quantized file takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from eapc.allocation import Plan, Predicted
from eapc.evaluation import AgreementJudge
from eapc.goals.goal import Budget
from eapc.pipeline import Compilation, Pass, Recipe

if TYPE_CHECKING:
    from eapc.goals.pruners import Pruner, Run

_DIGITS = 1e4
"""Budgets are searched to so many parts: what takes all of its budget takes a round one."""

_LEAST = 1e-3
"""The least budget that can be typed; what lies below it is out of reach in any case."""


class Narrowed:
    """What another pruner makes, quantized, and trained on its grids where the recipe says so.

    Budgets are fractions of the dense network's energy at its own widths. The other pruner works
    on the dense network priced at the widths to come, and its budgets are fractions of that. What
    the file takes beside that, such as its inputs as floats, is taken to be the same for every
    budget. A budget that the dense network keeps once it is quantized takes no weights. Training is
    expected to cost nothing.

    Mixed widths are chosen for each budget that is settled for good, and stay where another one
    corrects it. Budgets that the widest ones keep have these.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: Run,
        dense: Compilation,
        pruner_at: Callable[[Compilation], Pruner],
    ) -> None:
        self._recipe = recipe
        self._run = run
        self._dense = dense
        self._pruner_at = pruner_at
        self._known: dict[tuple[Pass, ...], _AtWidths] = {}

    @property
    def plan(self) -> Plan:
        """The other's, in fractions of the dense network at its own widths."""
        if not self._recipe.mixed_bits:
            return self._widest
        record = self._chosen(self._recipe.settling(1.0)).record
        assert record.width_plan is not None  # what chooses widths has worked it out
        return _Mixed(record.width_plan, self._beside)

    @property
    def highest(self) -> float:
        """What quantizing alone leaves of the energy, rounded down."""
        return self._widest.highest

    @property
    def can_correct(self) -> bool:
        """The other's answer."""
        return self._widest.pruner.can_correct

    def predicted(self, budget: Budget) -> Predicted:
        """What the other's curves promise, and what rounding loses beside it."""
        widths = self._at_widths(budget)
        return widths.beside(widths.pruner.predicted(widths.inner(budget)))

    def at(self, budget: Budget) -> Compilation:
        """The model pruned to a budget, then quantized; just quantized where that is enough."""
        if budget.ratio >= self.highest:
            return self._finished
        widths = self._at_widths(budget)
        return self._run(self._recipe.finishing, widths.pruner.at(widths.inner(budget)))

    def steps(self, budget: Budget) -> tuple[Pass, ...]:
        """The widths, what the other does, and quantizing."""
        if budget.ratio >= self.highest:
            return (*self._recipe.at_widest().settling(1.0), *self._recipe.finishing)
        widths = self._at_widths(budget)
        pruning = widths.pruner.steps(widths.inner(budget))
        return (*self._settling(budget), *pruning, *self._recipe.finishing)

    def _settling(self, budget: Budget) -> tuple[Pass, ...]:
        """The steps that settle the widths for a budget."""
        ratio = budget.settled_by
        return self._recipe.settling(max(_LEAST, round(ratio - self._beside, 6)))

    @cached_property
    def _finished(self) -> Compilation:
        """What quantizing alone leaves, trained if it is to be."""
        training = self._recipe.training_on_grids
        return self._run(training, self._unpruned) if training else self._unpruned

    def _at_widths(self, budget: Budget) -> _AtWidths:
        """The network at the widths for a budget, and what prunes it."""
        if not self._recipe.mixed_bits:
            return self._widest
        steps = self._settling(budget)
        if steps not in self._known:
            planned = self._chosen(steps)
            ratio, pruner = self._ratio(planned), self._pruner_at(planned)
            self._known[steps] = _AtWidths(pruner, ratio, ratio + self._beside, 0.0)
        return self._known[steps]

    def _chosen(self, steps: tuple[Pass, ...]) -> Compilation:
        """The network at the widths that some steps choose; what they measure is kept."""
        planned = self._run(steps, self._dense)
        self._dense = self._dense.with_record(width_plan=planned.record.width_plan)
        return planned

    @cached_property
    def _widest(self) -> _AtWidths:
        """The network at the widths that are given, or at the widest of mixed ones."""
        planned, unpruned = self._at_widest
        pruner, whole = self._pruner_at(planned), self._ratio(unpruned)
        return _AtWidths(pruner, self._ratio(planned), whole, self._rounding)

    @cached_property
    def _at_widest(self) -> tuple[Compilation, Compilation]:
        """The dense network at these widths, as it is planned and as its file is."""
        planned = self._run(self._recipe.at_widest().settling(1.0), self._dense)
        return planned, self._run(self._recipe.quantizing, planned)

    @property
    def _unpruned(self) -> Compilation:
        return self._at_widest[1]

    @property
    def _beside(self) -> float:
        """What a file takes beside the network as it is planned, as the widest one tells."""
        return self._widest.whole - self._widest.planned

    @cached_property
    def _rounding(self) -> float:
        """What quantizing alone does to the outputs, told as curves tell what pruning does."""
        done = self._unpruned
        assert done.calibration is not None  # ranges are told by it
        judge = AgreementJudge.on_few(
            done.reference, done.calibration, done.conditions.engine.threads
        )
        return judge.divergence(done.model)

    def _ratio(self, compilation: Compilation) -> float:
        """Energy over that of the dense network at its own widths."""
        dense = self._dense.priced.energy_mac_units
        return compilation.priced.energy_mac_units / dense if dense else 1.0


@dataclass(frozen=True)
class _AtWidths:
    """The dense network at some widths: as it is `planned`, and `whole`, as its file takes it.

    Both are fractions of what it takes at its own widths; budgets of `pruner` are fractions of
    the first. As a plan it is the pruner's, in the former fractions; `rounding` is what the
    outputs lose besides.
    """

    pruner: Pruner
    planned: float
    whole: float
    rounding: float

    @property
    def highest(self) -> float:
        """The budget from which on nothing is pruned."""
        return math.floor(self.whole * _DIGITS) / _DIGITS

    @property
    def lowest_ratio(self) -> float:
        """The least that can be left of the energy."""
        return self.beside(Predicted(0.0, self.pruner.plan.lowest_ratio)).ratio

    def predicted(self, budget: float, tail: float = 0.0) -> Predicted:
        """What is expected at a budget; what rounding loses comes on top of what pruning does."""
        inner = self.inner(Budget(budget, tail))
        return self.beside(self.pruner.plan.predicted(inner.ratio, inner.tail))

    def inner(self, budget: Budget) -> Budget:
        """The same as fractions of the network as it is planned, as they are typed."""
        ratio, tail, like = budget
        tail = round(tail / self.planned, 6)
        return Budget(self._inner(ratio), tail, None if like is None else self._inner(like))

    def beside(self, planned: Predicted) -> Predicted:
        """What is promised of the planned network, with what its file takes and loses beside it."""
        ratio = planned.ratio * self.planned + self.whole - self.planned
        return Predicted(planned.error + self.rounding, ratio)

    def _inner(self, ratio: float) -> float:
        left = (ratio - (self.whole - self.planned)) / self.planned
        return min(1.0, max(_LEAST, round(left, 6)))


@dataclass(frozen=True)
class _Mixed:
    """A plan of widths as one of files, which take so much `beside` the planned network."""

    plan: Plan
    beside: float

    @property
    def lowest_ratio(self) -> float:
        """The least that can be left of the energy."""
        return self.plan.lowest_ratio + self.beside

    def predicted(self, budget: float, tail: float = 0.0) -> Predicted:
        """What is expected at a budget."""
        found = self.plan.predicted(max(_LEAST, budget - self.beside), tail)
        return found._replace(ratio=found.ratio + self.beside)
