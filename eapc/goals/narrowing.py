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
        self._trained: dict[int, Compilation] = {}

    @property
    def plan(self) -> Plan:
        """The other's, in fractions of the dense network at its own widths."""
        return self._at_widths(Budget(1.0))

    @property
    def highest(self) -> float:
        """What quantizing alone leaves of the energy, rounded down."""
        return self._at_widths(Budget(1.0)).highest

    @property
    def can_correct(self) -> bool:
        """The other's answer."""
        return self._at_widths(Budget(1.0)).pruner.can_correct

    def predicted(self, budget: Budget) -> Predicted:
        """What the other's curves promise, and what rounding loses beside it."""
        widths = self._at_widths(budget)
        return widths.beside(widths.pruner.predicted(widths.inner(budget)))

    def at(self, budget: Budget) -> Compilation:
        """The model pruned to a budget, then quantized; just quantized where that is enough."""
        widths = self._at_widths(budget)
        if budget.ratio >= widths.highest:
            return self._finished(widths)
        return self._run(self._recipe.finishing, widths.pruner.at(widths.inner(budget)))

    def steps(self, budget: Budget) -> tuple[Pass, ...]:
        """The widths, what the other does, and quantizing."""
        widths, settling = self._at_widths(budget), self._settling(budget)
        keeps_all = budget.ratio >= widths.highest
        pruning = () if keeps_all else widths.pruner.steps(widths.inner(budget))
        return (*settling, *pruning, *self._recipe.finishing)

    def _settling(self, budget: Budget) -> tuple[Pass, ...]:  # noqa: ARG002
        """The steps that settle the widths for a budget; the same ones for all of them."""
        return self._recipe.settling

    def _finished(self, widths: _AtWidths) -> Compilation:
        """What quantizing alone leaves, trained if it is to be."""
        training = self._recipe.training_on_grids
        if not training:
            return widths.unpruned
        key = id(widths)
        if key not in self._trained:
            self._trained[key] = self._run(training, widths.unpruned)
        return self._trained[key]

    def _at_widths(self, budget: Budget) -> _AtWidths:
        """The network at the widths for a budget, and what prunes it."""
        steps = self._settling(budget)
        if steps not in self._known:
            planned = self._run(steps, self._dense)
            unpruned = self._run(self._recipe.quantizing, planned)
            self._known[steps] = _AtWidths(
                self._pruner_at(planned), self._ratio(planned), self._ratio(unpruned), unpruned
            )
        return self._known[steps]

    def _ratio(self, compilation: Compilation) -> float:
        """Energy over that of the dense network at its own widths."""
        dense = self._dense.priced.energy_mac_units
        return compilation.priced.energy_mac_units / dense if dense else 1.0


@dataclass(frozen=True)
class _AtWidths:
    """The dense network at some widths: as it is `planned`, and `whole`, as its file takes it.

    Both are fractions of what it takes at its own widths; budgets of `pruner` are fractions of
    the first. `unpruned` is the file. As a plan it is the pruner's, in the former fractions.
    """

    pruner: Pruner
    planned: float
    whole: float
    unpruned: Compilation

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
        return Predicted(planned.error + self._rounding, ratio)

    def _inner(self, ratio: float) -> float:
        left = (ratio - (self.whole - self.planned)) / self.planned
        return min(1.0, max(_LEAST, round(left, 6)))

    @cached_property
    def _rounding(self) -> float:
        """What quantizing alone does to the outputs, told as curves tell what pruning does."""
        done = self.unpruned
        assert done.calibration is not None  # ranges are told by it
        judge = AgreementJudge.on_few(
            done.reference, done.calibration, done.conditions.engine.threads
        )
        return judge.divergence(done.model)
