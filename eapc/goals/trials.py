"""Trials: one model pruned again and again; what does not depend on the goal is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property

from eapc.allocation import LOWEST_DENSITY, Plan
from eapc.data import Dataset
from eapc.energy import EnergyReport
from eapc.errors import UsageError
from eapc.evaluation import Accuracy, AccuracyJudge, Agreement, AgreementJudge
from eapc.goals.pruners import Pruner, pruner_of
from eapc.goals.search import Search, V
from eapc.goals.shares import Shares
from eapc.model import Model
from eapc.pipeline import Compilation, Pipeline, Recipe
from eapc.progress import timed

HELD_OUT = 0.2
"""Fraction of the calibration inputs that decides and is never fitted."""

MAX_OUTPUT_ERROR = 0.05
"""Where agreement has no meaning: the largest relative output error."""

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

    @property
    def before(self) -> EnergyReport:
        """The dense network's energy."""
        return _energy(self._dense)

    @property
    def plan(self) -> Plan:
        """What budgets are expected to lose, by the layers' or channel groups' curves."""
        return self._pruner.plan

    @property
    def seconds(self) -> Mapping[str, float]:
        """Time spent so far, by pass, all trials together."""
        return self._seconds

    def pruned(self, options: str) -> Compilation:
        """The model pruned with these options of the recipe's pass, such as `sparsity=0.5`."""
        _, *steps = self.recipe.pipeline(options).passes
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

    def ratio(self, result: Compilation) -> float:
        """What a result takes of the objective, over what the dense network takes."""
        if self.recipe.objective == "latency":
            assert result.record.latency is not None  # channels alone save time
            return result.record.latency.ratio
        before = self.before.energy_mac_units
        return _energy(result).energy_mac_units / before if before else 1.0

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

    def shortfall(self, goal: float, ratio: float) -> str:
        """Why a budget could not be met."""
        if self.recipe.structured:
            return (
                f"with the fewest channels the network still takes {ratio:.3f} of the "
                f"{self.recipe.objective or 'energy'}, not {goal:g}"
            )
        kept = f"{100 * LOWEST_DENSITY:g} % of every layer's weights"
        return (
            f"with {kept} left the network still takes {ratio:.3f} of the energy, not {goal:g}: "
            "zeroing weights does not save the moving of feature maps"
        )

    @cached_property
    def holding_out(self) -> Trials:
        """Trials that are fitted on most of the calibration inputs and keep out the others."""
        assert self._compilation.calibration is not None  # see the class
        fitted, held_out = self._compilation.calibration.split(HELD_OUT)
        compilation = replace(self._compilation, calibration=fitted)
        return Trials(compilation, self.recipe, held_out=held_out)

    @cached_property
    def agreement_judge(self) -> AgreementJudge:
        """The judge on the inputs that were held out."""
        assert self._held_out is not None  # see `holding_out`
        threads = self._compilation.conditions.threads
        with timed(self._seconds, "judge"):
            return AgreementJudge.of(self._compilation.reference, self._held_out, threads)

    @cached_property
    def by_agreement(self) -> Search[Agreement]:
        """The search that decides by agreement on the inputs that were held out."""
        judge = self.agreement_judge

        def agreement(model: Model) -> Agreement:
            return judge.agreement(model, 1.0, MAX_OUTPUT_ERROR)

        return self._search(agreement, judge.expected_loss)

    @cached_property
    def fitted_judge(self) -> AgreementJudge:
        """A judge on a few of the inputs that are fitted: it flatters, but costs little."""
        data = self._compilation.calibration
        assert data is not None  # see the class
        threads = self._compilation.conditions.threads
        original = self._compilation.reference
        return AgreementJudge.on_few(original, data, threads)

    @cached_property
    def halves(self) -> tuple[AccuracyJudge, AccuracyJudge]:
        """Judges on the labelled inputs that decide and on the others.

        Raises UsageError where no inputs have labels.
        """
        if self.accuracy is None:
            raise UsageError(NEEDS_LABELS)
        return self.accuracy.halves()

    @cached_property
    def by_accuracy(self) -> Search[Accuracy]:
        """The search that decides by accuracy on half of the labelled inputs."""
        judge, _ = self.halves
        return self._search(judge.accuracy, judge.expected_loss)

    @cached_property
    def _dense(self) -> Compilation:
        return self._run(self.recipe.annotation(), self._compilation)

    @cached_property
    def _pruner(self) -> Pruner:
        return pruner_of(self.recipe, self._run, self._dense)

    def _run(self, pipeline: Pipeline, compilation: Compilation) -> Compilation:
        result = pipeline.run(compilation.with_record(seconds=self._seconds))
        self._seconds = dict(result.record.seconds)
        return result

    def _search(
        self, judge: Callable[[Model], V], expected_loss: Callable[[float], float]
    ) -> Search[V]:
        """A search whose predictions, of all budgets, and verdicts are timed."""

        def timed_judge(model: Model) -> V:
            with timed(self._seconds, "judge"):
                return judge(model)

        plan = self.plan  # passes work it out, which are timed on their own
        with timed(self._seconds, "predict"):
            return Search(self.at, plan, timed_judge, expected_loss)


NEEDS_LABELS = "--max-drop: needs --eval with labels y: it decides by accuracy"


def _energy(compilation: Compilation) -> EnergyReport:
    assert compilation.energy is not None  # the pipelines here end in annotate-energy
    return compilation.energy
