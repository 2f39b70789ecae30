"""Several goals for one model, with everything that they share worked out once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eapc.compiler import save
from eapc.energy import EnergyReport
from eapc.errors import UsageError
from eapc.evaluation import Accuracy, Agreement
from eapc.goals import Goal, Trials, measure, typed
from eapc.model import Model
from eapc.preparation import DataSource, Settings, begin
from eapc.recipe import Recipe
from eapc.solvers import blas_threads

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepRow:
    """What became of one goal.

    `energy_ratio` is energy after over energy before, `sparsity` the fraction of all weights
    that are zero. `accuracy` is known where inputs have labels. `agreement` is that on inputs
    that were held out, or, where there are no labels either, on inputs that were fitted:
    then `fitted` is True and the figure flatters. `seconds` are the goal's own.
    """

    goal: Goal
    energy_ratio: float
    sparsity: float
    accuracy: Accuracy | None
    agreement: Agreement | None
    fitted: bool
    goal_met: bool
    reason: str
    seconds: float
    output: Path | None = None

    @property
    def name(self) -> str:
        """The goal as it is typed: `--target-energy 0.7`."""
        return typed(self.goal)


@dataclass(frozen=True)
class Swept:
    """A model pruned towards several goals, one row each in the order asked for."""

    model: Model
    before: EnergyReport
    rows: tuple[SweepRow, ...]
    synthesised: bool
    seconds: float

    @property
    def missed(self) -> tuple[SweepRow, ...]:
        """The rows whose goal could not be met."""
        return tuple(row for row in self.rows if not row.goal_met)


def sweep(
    model: str | Path | Model,
    settings: Settings | None = None,
    *,
    goals: Sequence[Goal],
    recipe: Recipe | None = None,
    evaluation: DataSource | None = None,
    folder: str | Path | None = None,
    force: bool = False,
) -> Swept:
    """Prune a model towards each goal; each row is what `prune` gives for that goal alone.

    With `folder` each result is verified and written there, by the name of its goal. A goal
    out of reach is a row, no error: see `Swept.missed`. Raises UsageError where goals are
    missing or given twice.
    """
    settings, recipe = settings or Settings(), recipe or Recipe()
    start = time.perf_counter()
    _check(goals)
    outputs = [None if folder is None else _output(model, goal, Path(folder)) for goal in goals]
    written = [path for path in outputs if path is not None]
    begun = begin(model, settings, goals, recipe, evaluation, written, force)
    with blas_threads(settings.threads):
        trials = begun.trials()
        rows = tuple(_rows(goals, outputs, trials, force))
    spent = time.perf_counter() - start
    return Swept(begun.compilation.model, trials.before, rows, begun.synthesised, spent)


def _check(goals: Sequence[Goal]) -> None:
    if not goals:
        raise UsageError("a sweep needs at least one goal")
    names = [typed(goal) for goal in goals]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{name} is given twice")


def _output(model: str | Path | Model, goal: Goal, folder: Path) -> Path:
    """`MODEL.target-energy-0.7.onnx` in the folder."""
    path = model.path if isinstance(model, Model) else Path(model)
    stem = path.stem if path is not None else "model"
    value = goal.value.stem if isinstance(goal.value, Path) else goal.value
    return folder / f"{stem}.{goal.option.removeprefix('--')}-{value}.onnx"


def _rows(
    goals: Sequence[Goal], outputs: Sequence[Path | None], trials: Trials, force: bool
) -> Iterator[SweepRow]:
    for goal, output in zip(goals, outputs, strict=True):
        row = _row(goal, output, trials, force)
        logger.info("%s: energy %.4f in %.1f s", row.name, row.energy_ratio, row.seconds)
        yield row


def _row(goal: Goal, output: Path | None, trials: Trials, force: bool) -> SweepRow:
    start = time.perf_counter()
    outcome = goal.pursue(trials)
    quality = measure(outcome, trials)
    if (warning := quality.warning(goal, trials.recipe.pattern)) and outcome.is_met:
        logger.warning(warning)
    if output is not None:
        save(outcome.result, output, force)
    after = outcome.result.energy
    assert after is not None  # every pruning pipeline ends in annotate-energy
    before = outcome.before.energy_mac_units
    return SweepRow(
        goal=goal,
        energy_ratio=after.energy_mac_units / before if before else 1.0,
        sparsity=1 - after.nonzero_weights / after.weights if after.weights else 0.0,
        accuracy=quality.accuracy,
        agreement=quality.agreement,
        fitted=quality.fitted,
        goal_met=outcome.is_met,
        reason=outcome.reason,
        seconds=time.perf_counter() - start,
        output=output,
    )
