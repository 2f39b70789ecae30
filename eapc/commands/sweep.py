"""Several goals for one model, with everything that they share worked out once."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eapc.commands.compiler import save
from eapc.commands.preparation import DataSource, Settings, begin
from eapc.commands.resuming import Written, resumable
from eapc.energy import EnergyReport
from eapc.errors import UsageError
from eapc.evaluation import Accuracy, Agreement
from eapc.goals import Goal, Trials, measure, typed
from eapc.model import Model
from eapc.pipeline import Recipe
from eapc.progress import Progress, silent
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
    resume: bool = False,
    progress: Progress = silent,
) -> Swept:
    """Prune a model towards each goal; each row is what `prune` gives for that goal alone.

    With `folder` each result is verified and written there, by the name of its goal. A goal
    out of reach is a row, no error: see `Swept.missed`. Finished layers are kept in
    `MODEL.sweep.partial` in the folder until all is done; with `resume` those of a run that was
    killed are used. Raises UsageError where goals are missing or given twice.
    """
    settings, recipe = settings or Settings(), recipe or Recipe()
    start = time.perf_counter()
    _check(goals, folder, resume)
    outputs = _outputs(model, goals, folder)
    checked = () if resume else tuple(outputs.values())
    begun = begin(model, settings, goals, recipe, evaluation, checked, force)
    watched = replace(begun.compilation, progress=progress)
    kept = None if folder is None else Path(folder) / f"{_stem(model)}.sweep"
    text = f"sweep {goals!r} {[str(goal.pipeline(recipe)) for goal in goals]}"
    with blas_threads(settings.threads), resumable(watched, text, kept, resume) as started:
        written = Written(started.finished("written"))
        for output in outputs.values():
            started.model.require_writable(output, force or written.holds(output))
        trials = replace(begun, compilation=started).trials()
        rows = tuple(_row(goal, outputs.get(goal), trials, force, written) for goal in goals)
    spent = time.perf_counter() - start
    return Swept(begun.compilation.model, trials.before, rows, begun.synthesised, spent)


def _check(goals: Sequence[Goal], folder: str | Path | None, resume: bool) -> None:
    if not goals:
        raise UsageError("a sweep needs at least one goal")
    if resume and folder is None:
        raise UsageError("--resume: needs -o FOLDER: that is where finished layers are kept")
    names = [typed(goal) for goal in goals]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{name} is given twice")


def _outputs(
    model: str | Path | Model, goals: Sequence[Goal], folder: str | Path | None
) -> dict[Goal, Path]:
    """`MODEL.target-energy-0.7.onnx` in the folder; nothing without one."""
    if folder is None:
        return {}
    outputs: dict[Goal, Path] = {}
    for goal in goals:
        value = goal.value.stem if isinstance(goal.value, Path) else goal.value
        name = f"{_stem(model)}.{goal.option.removeprefix('--')}-{value}.onnx"
        if (output := Path(folder) / name) in outputs.values():
            raise UsageError(f"{typed(goal)}: a goal before it is written as {name} too; rename it")
        outputs[goal] = output
    return outputs


def _stem(model: str | Path | Model) -> str:
    path = model.path if isinstance(model, Model) else Path(model)
    return "model" if path is None else path.stem


def _row(
    goal: Goal, output: Path | None, trials: Trials, force: bool, written: Written
) -> SweepRow:
    start = time.perf_counter()
    outcome = goal.pursue(trials)
    quality = measure(outcome, trials)
    if (warning := quality.warning(goal, trials.recipe.pattern)) and outcome.is_met:
        logger.warning(warning)
    if output is not None:
        save(outcome.result, output, force or written.holds(output))
        written.note(output)
    after = outcome.result.energy
    assert after is not None  # every pruning pipeline ends in annotate-energy
    before = outcome.before.energy_mac_units
    row = SweepRow(
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
    logger.info("%s: energy %.4f in %.1f s", row.name, row.energy_ratio, row.seconds)
    return row
