"""Goals of pruning, and the search for the lowest energy that meets one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol

from eapc.allocation import LOWEST_DENSITY
from eapc.data import Dataset
from eapc.energy import EnergyReport
from eapc.errors import UsageError
from eapc.evaluation import Agreement, agreement
from eapc.pipeline import Compilation, Pipeline
from eapc.recipe import Recipe
from eapc.runtime import collect_outputs

logger = logging.getLogger(__name__)

HELD_OUT = 0.2
"""Fraction of the calibration inputs that decides and is never fitted."""

MAX_OUTPUT_ERROR = 0.05
"""Where agreement has no meaning: the largest relative output error."""

_ENERGY_TOLERANCE = 0.002
_BUDGET_CORRECTIONS = 4
_SEARCH_STEPS = 6
_SEARCH_RESOLUTION = 0.008
"""Budgets closer than this, a fraction of the dense energy, are not worth another trial."""


@dataclass(frozen=True)
class Outcome:
    """The best result, and whether it meets the goal."""

    before: EnergyReport
    result: Compilation
    pipeline: Pipeline
    agreement: Agreement | None
    is_met: bool
    reason: str = ""


class Goal(Protocol):
    """What pruning is to reach; `note` says what a search will change in the pipeline."""

    @property
    def note(self) -> str:
        """Empty where the pipeline is run as it stands."""

    def pipeline(self, recipe: Recipe) -> Pipeline:
        """The pipeline that pursues the goal, as it would be typed."""

    def pursue(self, compilation: Compilation, recipe: Recipe) -> Outcome:
        """The best result for the goal; `compilation` holds calibration data."""


def _energy(compilation: Compilation) -> EnergyReport:
    assert compilation.energy is not None  # the pipelines here end in annotate-energy
    return compilation.energy


def _require_fraction(option: str, value: float, closed_below: bool, closed_above: bool) -> None:
    above = value > 0 or (closed_below and value == 0)
    below = value < 1 or (closed_above and value == 1)
    if not (above and below):
        span = f"{'[' if closed_below else '('}0, 1{']' if closed_above else ')'}"
        raise UsageError(f"{option}: expected a fraction in {span}, got {value}")


@dataclass(frozen=True)
class Sparsity:
    """The same fraction of zeros in every layer."""

    value: float

    note: ClassVar[str] = ""

    def __post_init__(self) -> None:
        _require_fraction("--sparsity", self.value, closed_below=True, closed_above=False)

    def pipeline(self, recipe: Recipe) -> Pipeline:
        """Uniform pruning."""
        return recipe.pipeline(f"sparsity={self.value}")

    def pursue(self, compilation: Compilation, recipe: Recipe) -> Outcome:
        """Prune once; all calibration inputs are fitted."""
        return _pruned_once(compilation, self.pipeline(recipe))


@dataclass(frozen=True)
class Densities:
    """Layers as dense as a YAML file says: {node, weight or operator type, or glob: density}."""

    path: Path

    note: ClassVar[str] = ""

    def __post_init__(self) -> None:
        text = str(self.path)
        if any(mark in text for mark in ",{}") or " ".join(text.split()) != text:
            raise UsageError(f"--densities: a pipeline cannot name '{self.path}'; rename the file")

    def pipeline(self, recipe: Recipe) -> Pipeline:
        """Pruning to the densities given; layers that the file does not name stay dense."""
        return recipe.pipeline(f"densities={self.path}")

    def pursue(self, compilation: Compilation, recipe: Recipe) -> Outcome:
        """Prune once; all calibration inputs are fitted."""
        return _pruned_once(compilation, self.pipeline(recipe))


def _pruned_once(compilation: Compilation, pipeline: Pipeline) -> Outcome:
    annotate, *steps = pipeline.passes
    dense = Pipeline((annotate,)).run(compilation)
    result = Pipeline(tuple(steps)).run(dense)
    return Outcome(_energy(dense), result, pipeline, None, True)


@dataclass(frozen=True)
class TargetEnergy:
    """Energy at most this fraction of the dense network's, measured on the pruned one."""

    value: float

    note: ClassVar[str] = "where measured energy exceeds the goal, lower budgets are tried"

    def __post_init__(self) -> None:
        _require_fraction("--target-energy", self.value, closed_below=False, closed_above=True)

    def pipeline(self, recipe: Recipe) -> Pipeline:
        """Pruning to the budget itself; the search may have to aim lower."""
        return recipe.pipeline(f"energy={self.value}")

    def pursue(self, compilation: Compilation, recipe: Recipe) -> Outcome:
        """Prune to the budget; if the measured energy exceeds it, aim lower by the excess."""
        trials = _Trials(compilation, recipe)
        budget, best = self.value, None
        for _ in range(_BUDGET_CORRECTIONS):
            result = trials.at(budget)
            ratio = trials.ratio(result)
            logger.info("budget %.4f of the energy gave %.4f", budget, ratio)
            if best is None or self._is_better(ratio, trials.ratio(best[1])):
                best = (budget, result)
            if self.value - _ENERGY_TOLERANCE <= ratio <= self.value:
                break
            if budget <= trials.lowest and ratio > self.value:
                break
            budget = min(1.0, max(budget + (self.value - _ENERGY_TOLERANCE / 2 - ratio), 1e-3))
        assert best is not None  # the loop ran
        return self._outcome(trials, *best)

    def _is_better(self, ratio: float, other: float) -> bool:
        """Below the goal the one that gives up less, above it the one that comes closer."""
        if ratio <= self.value < other:
            return True
        if ratio <= self.value:
            return ratio > other
        return self.value < ratio < other

    def _outcome(self, trials: _Trials, budget: float, result: Compilation) -> Outcome:
        ratio = trials.ratio(result)
        is_met = ratio <= self.value
        reason = "" if is_met else trials.shortfall(self.value, ratio)
        text = trials.recipe.pipeline(f"energy={budget:.6g}")
        result = result.with_record(seconds=trials.seconds)
        return Outcome(trials.before, result, text, None, is_met, reason)


@dataclass(frozen=True)
class MinAgreement:
    """The lowest energy whose outputs still agree with the original's on held-out inputs.

    Top-1 agreement of at least `value` for classifiers, relative output error of at most
    `MAX_OUTPUT_ERROR` for other networks and on synthesised inputs.
    """

    value: float = 0.98

    note: ClassVar[str] = "energy=1.0 stands for the lowest budget that is found to agree"

    def __post_init__(self) -> None:
        _require_fraction("--min-agreement", self.value, closed_below=True, closed_above=True)

    def pipeline(self, recipe: Recipe) -> Pipeline:
        """The pipeline of one trial; the search chooses the energy."""
        return recipe.pipeline("energy=1.0", HELD_OUT)

    def pursue(self, compilation: Compilation, recipe: Recipe) -> Outcome:
        """Bisect the energy budget on a fifth of the inputs, kept out of the fit."""
        assert compilation.calibration is not None  # see Goal
        fitted, held_out = compilation.calibration.split(HELD_OUT)
        trials = _Trials(replace(compilation, calibration=fitted), recipe)
        judge = _Judge(self.value, compilation, held_out)
        best: tuple[float, Compilation] | None = None
        low, high = trials.lowest, 1.0
        for _ in range(_SEARCH_STEPS):
            if high - low < _SEARCH_RESOLUTION:
                break
            budget = round((low + high) / 2, 4)
            result = trials.at(budget)
            if judge.agreement(result).is_met:
                best, high = (budget, result), budget
            else:
                low = budget
        budget, result = best or (1.0, trials.at(1.0))
        verdict = judge.agreement(result)
        reason = "" if verdict.is_met else "no energy below the original's keeps the outputs"
        return Outcome(
            trials.before,
            result.with_record(seconds=trials.seconds),
            recipe.pipeline(f"energy={budget:.6g}", HELD_OUT),
            verdict,
            verdict.is_met,
            reason,
        )


class _Judge:
    """Holds results against the original's outputs on inputs that were not fitted."""

    def __init__(self, min_agreement: float, compilation: Compilation, held_out: Dataset) -> None:
        self._min_agreement = min_agreement
        self._held_out = held_out
        self._threads = compilation.conditions.threads
        self._reference = collect_outputs(compilation.model.original, held_out, self._threads)

    def agreement(self, result: Compilation) -> Agreement:
        """The agreement of a result's outputs with the original's."""
        outputs = collect_outputs(result.model, self._held_out, self._threads)
        by_error = self._held_out.synthesised
        verdict = agreement(
            self._reference, outputs, self._min_agreement, MAX_OUTPUT_ERROR, by_error
        )
        logger.info("held-out inputs: %s %.4f", verdict.metric, verdict.value)
        return verdict


DEFAULT_GOAL = MinAgreement()


class _Trials:
    """Prunes one model to different budgets; what does not depend on the budget is kept."""

    def __init__(self, compilation: Compilation, recipe: Recipe) -> None:
        self.recipe = recipe
        self._dense = recipe.annotation().run(compilation)
        self.before = _energy(self._dense)

    def at(self, budget: float) -> Compilation:
        """The model pruned to a budget, a fraction of the dense energy."""
        _, *steps = self.recipe.pipeline(f"energy={budget!r}").passes
        result = Pipeline(tuple(steps)).run(self._dense)
        self._dense = self._dense.with_record(
            curves=result.record.curves, seconds=result.record.seconds
        )
        return result

    @property
    def seconds(self) -> Mapping[str, float]:
        """Time spent so far, by pass, all trials together."""
        return self._dense.record.seconds

    def ratio(self, result: Compilation) -> float:
        """Measured energy of a result over that of the dense network."""
        return _energy(result).energy_mac_units / self.before.energy_mac_units

    @property
    def lowest(self) -> float:
        """The lowest budget that zeroing weights can reach."""
        if self._dense.record.curves is None:
            self.at(1.0)
        curves = self._dense.record.curves
        assert curves is not None  # prune-weights computes them for a budget
        return curves.lowest_ratio

    def shortfall(self, goal: float, ratio: float) -> str:
        """Why a budget could not be met."""
        kept = f"{100 * LOWEST_DENSITY:g} % of every layer's weights"
        return (
            f"with {kept} left the network still takes {ratio:.3f} of the energy, not {goal:g}: "
            "zeroing weights does not save the moving of feature maps"
        )
