"""Trials: one model pruned again and again; what does not depend on the goal is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from eapc.allocation import LOWEST_DENSITY, Plan
from eapc.data import Dataset
from eapc.energy import EnergyReport
from eapc.errors import UsageError
from eapc.evaluation import AccuracyJudge, AgreementJudge
from eapc.goals.bound import Bound, V
from eapc.goals.pruners import Pruner, pruner_of
from eapc.goals.search import Search
from eapc.goals.shares import Shares
from eapc.model import Model
from eapc.pipeline import Compilation, Pipeline, Recipe
from eapc.progress import timed

_SHARED = "shared"


class Trials:
    """Prunes one model on one set of inputs, as often as goals ask for it.

    `compilation` holds calibration data; `accuracy` judges on labelled inputs, `held_out` are
    inputs to judge agreement on, where there are any. The dense network's energy, the layers'
    curves, the original's outputs and the verdicts of searches are worked out once, when they
    are first asked for.
    """

    def __init__(
        self,
        compilation: Compilation,
        recipe: Recipe,
        accuracy: AccuracyJudge | None = None,
        held_out: Dataset | None = None,
    ) -> None:
        self.recipe = recipe
        self._compilation = compilation
        self.accuracy = accuracy
        self._held_out = held_out
        self._seconds = dict(compilation.record.seconds)
        self._searches: dict[type[Bound[Any]], Search[Any]] = {}
        self._apart: dict[float, Trials] = {}

    @property
    def before(self) -> EnergyReport:
        """The dense network's energy."""
        return self._dense.priced

    @property
    def plan(self) -> Plan:
        """What budgets are expected to lose, by the layers' or channel groups' curves."""
        return self._pruner.plan

    @property
    def seconds(self) -> Mapping[str, float]:
        """Time spent so far, by pass, all trials together."""
        return self._seconds

    def pruned(self, pipeline: Pipeline) -> Compilation:
        """The model pruned by one of the recipe's pipelines."""
        _, *steps = pipeline.passes
        return self._run(Pipeline(tuple(steps)), self._dense)

    def at(self, budget: float, late: float = 0.0, like: float | None = None) -> Compilation:
        """The model pruned to a budget, a fraction of the dense energy.

        The last layers' energy is changed by `late`, such a fraction too. A budget that corrects
        another, `like`, is split between channels and zeros as that one.
        """
        return self._pruner.at(Shares(budget, late, like))

    def pipeline_at(
        self,
        budget: float,
        late: float = 0.0,
        like: float | None = None,
        held_out: float | None = None,
    ) -> Pipeline:
        """What leads to a budget, as it would be typed."""
        return self._pruner.pipeline(Shares(float(f"{budget:.6g}"), late, like), held_out)

    @property
    def can_correct(self) -> bool:
        """Whether the last layers alone may be given another share of a budget."""
        return self._pruner.can_correct

    def predicted_ratio(self, budget: float, late: float = 0.0, like: float | None = None) -> float:
        """Energy that the curves predict of `at`: below the budget where densities come in steps.

        Orders other than the shared one are taken to spend the budget.
        """
        if self.recipe.order != _SHARED:
            return budget
        pruner, _ = self._pruner, self.plan  # passes work it out, which are timed on their own
        with timed(self._seconds, "predict"):
            return pruner.predicted(Shares(budget, late, like)).ratio

    @property
    def least(self) -> str:
        """What pruning cannot go below, to begin a reason with."""
        if self.recipe.structured:
            return "with the fewest channels"
        return f"with {100 * LOWEST_DENSITY:g} % of every layer's weights left"

    def holding_out(self, fraction: float) -> Trials:
        """Trials that keep out about so many of the calibration inputs and fit the others."""
        if fraction not in self._apart:
            data = self._compilation.calibration
            assert data is not None  # see the class
            fitted, held_out = data.split(fraction)
            compilation = replace(self._compilation, calibration=fitted)
            apart = Trials(compilation, self.recipe, held_out=held_out)
            apart._seconds = self._seconds
            self._apart[fraction] = apart
        return self._apart[fraction]

    @cached_property
    def agreement_judge(self) -> AgreementJudge:
        """The judge on the inputs that were held out."""
        assert self._held_out is not None  # see `holding_out`
        threads = self._compilation.conditions.engine.threads
        with timed(self._seconds, "judge"):
            return AgreementJudge.of(self._compilation.reference, self._held_out, threads)

    def search(self, bound: Bound[V]) -> Search[V]:
        """The search for a kind of bound; predictions, of all budgets, and verdicts are timed."""
        kind = type(bound)
        if kind not in self._searches:

            def judge(model: Model) -> V:
                with timed(self._seconds, "judge"):
                    return bound.judge(self, model)

            plan = self.plan  # passes work it out, which are timed on their own
            with timed(self._seconds, "predict"):
                expected_loss = partial(bound.expected_loss, self)
                self._searches[kind] = Search(self.at, plan, judge, expected_loss)
        return self._searches[kind]

    @cached_property
    def fitted_judge(self) -> AgreementJudge:
        """A judge on a few of the inputs that are fitted: it flatters, but costs little."""
        data = self._compilation.calibration
        assert data is not None  # see the class
        threads = self._compilation.conditions.engine.threads
        original = self._compilation.reference
        return AgreementJudge.on_few(original, data, threads)

    @cached_property
    def halves(self) -> tuple[AccuracyJudge, AccuracyJudge]:
        """Judges on the labelled inputs that decide and on the others.

        Raises UsageError where no inputs have labels.
        """
        if self.accuracy is None:
            raise UsageError("accuracy needs --eval with labels y")
        return self.accuracy.halves()

    @cached_property
    def _dense(self) -> Compilation:
        return self._run(self.recipe.annotation(), self._compilation)

    @cached_property
    def _pruner(self) -> Pruner:
        return pruner_of(self.recipe, self._run, self._dense)

    def _run(self, pipeline: Pipeline, compilation: Compilation) -> Compilation:
        result = pipeline.run(compilation.with_record(seconds=dict(self._seconds)))
        self._seconds.update(result.record.seconds)
        return result
