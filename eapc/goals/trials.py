"""Trials: one model pruned again and again; what does not depend on the goal is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from eapc.data import Dataset
from eapc.energy import EnergyReport
from eapc.errors import UsageError
from eapc.evaluation import AccuracyJudge, AgreementJudge
from eapc.goals.bound import ALIKE, Bound, V
from eapc.goals.goal import Budget, Goal
from eapc.goals.min_agreement import MAX_OUTPUT_ERROR
from eapc.goals.pruners import Pruner, pruner_of
from eapc.goals.result import Pruned, costs_of
from eapc.goals.search import BudgetSearch
from eapc.model import Model
from eapc.pipeline import Compilation, LayerRecord, Pass, Pipeline, Recipe
from eapc.progress import timed
from eapc.solvers import parse_pattern

_SHARED = "shared"


class Trials:
    """Prunes one model on one set of inputs, as often as goals ask for it.

    `compilation` holds calibration data; `accuracy` judges on evaluation inputs. The dense
    network's energy, the layers' curves, the original's outputs and the verdicts of searches are
    worked out once, when they are first asked for. Goals that keep inputs out of the fit have
    trials of their own, see `of`: `held_out` are these inputs.
    """

    def __init__(
        self,
        compilation: Compilation,
        recipe: Recipe,
        accuracy: AccuracyJudge | None = None,
    ) -> None:
        self.recipe = recipe
        self._compilation = compilation
        self.accuracy = accuracy
        self._fraction: float | None = None
        self.held_out: Dataset | None = None
        self._seconds = dict(compilation.record.seconds)
        self._searches: dict[type[Bound[Any]], BudgetSearch[Any]] = {}
        self._apart: dict[float, Trials] = {}

    @property
    def before(self) -> EnergyReport:
        """The dense network's energy."""
        return self._dense.priced

    @property
    def seconds(self) -> Mapping[str, float]:
        """Time spent so far, by pass, all trials together."""
        return self._seconds

    def pruned(self, steps: Sequence[Pass]) -> Compilation:
        """The model pruned by the recipe's steps."""
        return self._run(steps, self._dense)

    def whole_quantized(self, pruned: Pruned) -> Pruned:
        """What comes of quantizing alone, in place of a result; its outputs are to be judged."""
        trials, steps = self.of(pruned.goal), self.recipe.quantizing
        return replace(
            pruned,
            compilation=trials.pruned(steps),
            steps=trials.whole(steps),
            accuracy=None,
            decided=None,
            agreement=None,
        )

    def whole(self, steps: Sequence[Pass]) -> Pipeline:
        """The pipeline that takes these steps from the start, on the inputs that are fitted."""
        return self.recipe.whole(steps, self._fraction)

    def pipeline_at(self, budget: Budget) -> Pipeline:
        """What leads to a budget, as it would be typed."""
        return self.whole(self.pruner.steps(budget._replace(ratio=float(f"{budget.ratio:.6g}"))))

    def predicted_ratio(self, budget: Budget) -> float:
        """Cost that the curves predict of a budget: below it where densities come in steps.

        Orders other than the shared one are taken to spend the budget.
        """
        if self.recipe.order != _SHARED:
            return min(budget.ratio, self.pruner.highest)
        _ = self.pruner.plan  # passes work it out, which are timed on their own
        with timed(self._seconds, "predict"):
            return self.pruner.predicted(budget).ratio

    @property
    def is_blind(self) -> bool:
        """Whether the inputs are all the same, so that nothing tells what the outputs lose."""
        data = self._compilation.calibration
        return data is not None and data.are_alike

    @property
    def calibration(self) -> Dataset:
        """The inputs that are fitted."""
        data = self._compilation.calibration
        assert data is not None  # see the class
        return data

    def of(self, goal: Goal) -> Trials:
        """The trials that a goal takes: with some of the inputs kept out where it asks for that.

        Raises DataError where a search has too few.
        """
        if self.held_out is not None:
            return self
        fraction = goal.kept_out(self.calibration, self.accuracy is not None)
        return self if fraction is None else self._holding_out(fraction)

    def _holding_out(self, fraction: float) -> Trials:
        """Trials that keep out about so many of the calibration inputs and fit the others."""
        if fraction not in self._apart:
            fitted, held_out = self.calibration.split(fraction)
            apart = Trials(replace(self._compilation, calibration=fitted), self.recipe)
            apart._fraction, apart.held_out = fraction, held_out
            apart._seconds = self._seconds
            self._apart[fraction] = apart
        return self._apart[fraction]

    @cached_property
    def agreement_judge(self) -> AgreementJudge:
        """The judge on the inputs that were held out; they alone decide searches."""
        assert self.held_out is not None  # see `of`
        threads = self._compilation.conditions.engine.threads
        with timed(self._seconds, "judge"):
            return AgreementJudge.of(self._compilation.reference, self.held_out, threads)

    def search(self, bound: Bound[V]) -> BudgetSearch[V]:
        """The search for a kind of bound; predictions, of all budgets, and verdicts are timed."""
        kind = type(bound)
        if kind not in self._searches:

            def judge(model: Model) -> V:
                with timed(self._seconds, "judge"):
                    return bound.judge(self, model)

            def prune(ratio: float) -> Compilation:
                return self.pruner.at(Budget(ratio))

            plan = self.pruner.plan  # passes work it out, which are timed on their own
            with timed(self._seconds, "predict"):
                expected_loss = partial(bound.expected_loss, self)
                self._searches[kind] = BudgetSearch(
                    prune,
                    plan,
                    judge,
                    expected_loss,
                    self.costs,
                    self.pruner.highest,
                    self.objective,
                )
        return self._searches[kind]

    @property
    def objective(self) -> str:
        """What budgets are of."""
        return self.recipe.objective or "energy"

    def costs(self, result: Compilation) -> Mapping[str, float]:
        """What a result takes over what the dense network takes, by name."""
        return {self.objective: 1.0, **costs_of(result, self.before)}

    def few_rows(self, pruned: Pruned) -> str:
        """What to say of a result whose inputs do not determine its layers' weights; else empty."""
        goal, has_labels = pruned.goal, self.accuracy is not None
        fitted, held_out = len(self.of(goal).calibration), goal.kept_out(None, has_labels)
        return few_rows(pruned.layers, fitted, held_out or 0.0)

    @property
    def is_fitting_all(self) -> bool:
        """Whether no input is kept out of the fit."""
        return self.held_out is None

    @cached_property
    def telling_judge(self) -> AgreementJudge:
        """A judge on all inputs that were held out.

        Where there are none it is one on a few of those that are fitted, which flatters.
        """
        threads = self._compilation.conditions.engine.threads
        original, fitted = self._compilation.reference, self.calibration
        if self.held_out is None:
            return AgreementJudge.on_few(original, fitted, threads)
        return AgreementJudge.beside(original, self.held_out, fitted, threads)

    @cached_property
    def halves(self) -> tuple[AccuracyJudge, AccuracyJudge]:
        """Judges on the labelled inputs that decide and on the others.

        Raises UsageError where no inputs have labels.
        """
        if self.accuracy is None:
            raise UsageError("accuracy needs --eval with labels y, or --metric")
        return self.accuracy.halves()

    @cached_property
    def _dense(self) -> Compilation:
        return self._run(self.recipe.annotation().passes, self._compilation)

    @cached_property
    def pruner(self) -> Pruner:
        """What prunes the model to any budget of the recipe's objective."""
        return pruner_of(self.recipe, self._run, self._dense)

    def _run(self, steps: Sequence[Pass], compilation: Compilation) -> Compilation:
        result = Pipeline(tuple(steps)).run(compilation.with_record(seconds=dict(self._seconds)))
        self._seconds.update(result.record.seconds)
        return result


# --- what is left of the outputs -----------------------------------------------------------------


_LOST_ANSWERS = 0.1
_LOST_OUTPUTS = 5 * MAX_OUTPUT_ERROR
"""From here on a user is warned: five times what the default goal allows of either."""


_NONE_KEPT_OUT = (
    "all calibration inputs were fitted, so that none tells what the outputs lose; more of them do"
)


def measured(pruned: Pruned, trials: Trials) -> Pruned:
    """The result with what is left of its outputs, by labels where there are any.

    Else by agreement with the original on the inputs that the goal has kept out of the fit, or on
    inputs of the fit where there are none.
    """
    found = _measured(pruned, trials)
    judged = found.accuracy or found.agreement
    return found if judged is None else found.with_loss(judged.loss)


def _measured(pruned: Pruned, trials: Trials) -> Pruned:
    if trials.is_blind:
        pruned = replace(pruned, doubt=ALIKE)
    if pruned.accuracy is None and trials.accuracy is not None:
        pruned = replace(pruned, accuracy=trials.accuracy.accuracy(pruned.model))
    if pruned.accuracy or pruned.agreement:
        return pruned
    trials = trials.of(pruned.goal)
    agreement = trials.telling_judge.agreement(pruned.model, 1 - _LOST_ANSWERS, _LOST_OUTPUTS)
    if trials.is_fitting_all and pruned.goal_met and not pruned.doubt:
        pruned = replace(pruned, doubt=_NONE_KEPT_OUT)
    return replace(pruned, agreement=agreement, fitted=trials.is_fitting_all)


def warning(pruned: Pruned, pattern: str) -> str:
    """One line where a file is of little use, above all where a goal was obeyed at any cost.

    It names the pattern in place of the goal where the pattern fixes the share of zeros.
    """
    remedy, said = pruned.goal.remedy, _lost(pruned)
    if said and not pruned.goal_met:
        return f"{pruned.goal} is not met, and the outputs are spoiled: {said}"
    if not (remedy and said):
        return ""
    if parse_pattern(pattern).fixed_density is not None:
        said = f"--pattern {pattern} spoils the outputs: {said}"
        return f"{said}; a pattern of fewer zeros keeps more"
    return f"{pruned.goal} spoils the outputs: {said}; {remedy}"


def few_rows(layers: Sequence[LayerRecord], fitted: int, held_out: float = 0.0) -> str:
    """One line where calibration data, so many inputs, do not determine a layer's weights.

    Empty where they do. The inputs that would do are those to give, a fraction of `held_out` of
    them being kept out of the fit.
    """
    short = [layer for layer in layers if layer.rows_per_input < 1]
    if not short:
        return ""
    worst = min(short, key=lambda layer: layer.rows_per_input)
    needed = fitted / worst.rows_per_input if worst.rows else 0
    enough = math.ceil(round(needed / (1 - held_out), 6))
    of = f"{len(short)} of {len(layers)} layers have fewer rows to be fitted on than inputs"
    return (
        f"{of}, such as '{worst.name}' ({worst.rows} for {worst.inputs}): about {enough} "
        "calibration inputs would do"
    )


def _lost(pruned: Pruned) -> str:
    """What was lost, where that is a lot."""
    if (accuracy := pruned.accuracy) is not None:
        whole = 1 if accuracy.is_share else abs(accuracy.before)
        if not whole or accuracy.loss <= _LOST_ANSWERS * whole:
            return ""
        before, after = map(accuracy.shown, (accuracy.before, accuracy.after))
        return f"{accuracy.title} fell from {before} to {after}"
    agreement = pruned.agreement
    most = _LOST_ANSWERS if agreement and agreement.is_share else _LOST_OUTPUTS
    if agreement is None or agreement.loss <= most:
        return ""
    inputs = "one input" if agreement.samples == 1 else f"{agreement.samples} inputs"
    where = f"on {inputs} {'that took part in' if pruned.fitted else 'kept out of'} the fit"
    if agreement.is_share:
        return f"only {agreement.value:.1%} of the answers {where} are still the original's"
    if not math.isfinite(agreement.value):
        return f"they are no longer finite or no longer as many {where}"
    return f"their relative error {where} is {agreement.value:.2g}"
