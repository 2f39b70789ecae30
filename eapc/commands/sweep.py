"""Several goals for one model, with everything that they share worked out once."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eapc.classes import ChosenClasses
from eapc.commands.class_choice import with_classes
from eapc.commands.integer_latency import no_slower_than_whole
from eapc.commands.preparation import Begun, DataSource, MetricSource, Settings, checked
from eapc.commands.results import Written, resumable, save
from eapc.energy import EnergyReport
from eapc.errors import UsageError
from eapc.goals import Goal, Pruned, Trials, measured, warning
from eapc.model import Model
from eapc.pipeline import Recipe
from eapc.progress import Progress, silent, timed
from eapc.showing import Shown

logger = logging.getLogger(__name__)

SweepRow = Pruned


@dataclass(frozen=True, repr=False)
class Swept(Shown):
    """A model pruned towards several goals, one row each in the order asked for.

    A row's seconds are the goal's own.
    """

    model: Model
    before: EnergyReport
    rows: tuple[SweepRow, ...]
    synthesised: bool
    seconds: float

    @property
    def missed(self) -> tuple[SweepRow, ...]:
        """The rows whose goal could not be met, or is not confirmed."""
        return tuple(row for row in self.rows if row.shortfall)

    @property
    def is_unsure(self) -> bool:
        """Whether a goal was met and is not confirmed."""
        return any(row.goal_met for row in self.missed)


def sweep(
    model: str | Path | Model,
    settings: Settings | None = None,
    *,
    goals: Sequence[Goal],
    recipe: Recipe | None = None,
    evaluation: DataSource | None = None,
    metric: MetricSource | None = None,
    classes: ChosenClasses | None = None,
    folder: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> Swept:
    """Prune a model towards each goal; each row is what `prune` gives for that goal alone.

    With `folder` each result is verified and written there, by the name of its goal. A goal
    out of reach is a row, no error: see `Swept.missed`. Finished layers are kept in
    `MODEL.sweep.partial` in the folder until all is done; with `resume` those of a run that was
    killed are used. `classes` as for `prune`. Raises UsageError where goals are missing or given
    twice.
    """
    settings, recipe = settings or Settings(), with_classes(recipe or Recipe(), classes)
    start = time.perf_counter()
    _check(goals, folder, resume)
    outputs = _outputs(model, goals, folder)
    to_write = () if resume else tuple(outputs.values())
    begun = checked(model, settings, goals, recipe, evaluation, to_write, force, metric)
    begun = begun.with_inputs(settings.samples, progress)
    kept = None if folder is None else Path(folder) / f"{_stem(model)}.sweep"
    rows = pursue_all(begun, goals, outputs, kept, force, resume, progress)
    data = begun.compilation.calibration
    made_up = data is not None and data.synthesised
    spent = time.perf_counter() - start
    return Swept(begun.compilation.model, rows[0].before, rows, made_up, spent)


def pursue_all(
    begun: Begun,
    goals: Sequence[Goal],
    outputs: Mapping[Goal, Path],
    kept: str | Path | None,
    force: bool,
    resume: bool,
    progress: Progress,
) -> tuple[Pruned, ...]:
    """Each goal's result, written where it has an output; till then parts are beside `kept`."""
    watched = replace(begun.compilation, progress=progress)
    text = f"{goals!r} {[str(begun.pipeline(goal)) for goal in goals]}"
    with resumable(watched, text, kept, resume) as started:
        written = Written(started.finished("written"))
        for output in outputs.values():
            started.model.require_writable(output, force or written.holds(output))
        trials = begun.trials(started)
        found = (_pursued(goal, outputs.get(goal), trials, force, written) for goal in goals)
        return tuple(begun.beside_uncut(pruned) for pruned in found)


def _check(goals: Sequence[Goal], folder: str | Path | None, resume: bool) -> None:
    if not goals:
        raise UsageError("a sweep needs at least one goal")
    if resume and folder is None:
        raise UsageError("--resume: needs -o FOLDER: that is where finished layers are kept")
    names = [str(goal) for goal in goals]
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
        name = f"{_stem(model)}.{'.'.join(map(_file_name, goal.parts))}.onnx"
        if (output := Path(folder) / name) in outputs.values():
            raise UsageError(f"{goal}: a goal before it is written as {name} too; rename it")
        outputs[goal] = output
    return outputs


def _file_name(part: Goal) -> str:
    """`target-energy-0.7`."""
    value = part.value.stem if isinstance(part.value, Path) else part.value
    return f"{part.option.removeprefix('--')}-{value}"


def _stem(model: str | Path | Model) -> str:
    path = model.path if isinstance(model, Model) else Path(model)
    return "model" if path is None else path.stem


def _pursued(
    goal: Goal, output: Path | None, trials: Trials, force: bool, written: Written
) -> Pruned:
    start, known = time.perf_counter(), dict(trials.seconds)
    pruned = no_slower_than_whole(goal.pursue(trials), trials)
    stages = trials.seconds.items()
    seconds = {name: taken - known.get(name, 0.0) for name, taken in stages}
    with timed(seconds, "evaluate"):
        pruned = measured(pruned, trials)
    if output is not None:
        trials.tell("verifying and writing", output.name)
        with timed(seconds, "verify-and-save"):
            save(pruned.compilation, output, force or written.holds(output))
            written.note(output)
    for said in filter(None, (trials.few_rows(pruned), warning(pruned, trials.recipe.pattern))):
        logger.warning(said)
    seconds["total"] = time.perf_counter() - start
    logger.info("%s: energy %.4f in %.1f s", goal, pruned.energy_ratio, seconds["total"])
    return replace(pruned.spending(seconds), output=output)
