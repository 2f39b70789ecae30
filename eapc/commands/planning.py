"""What pruning would do, before any layer is refitted: densities, channels, what they come to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from eapc.commands.preparation import Begun, DataSource, MetricSource, Settings, checked
from eapc.goals import Goal, Pruned
from eapc.model import Model
from eapc.pipeline import Pipeline, Recipe
from eapc.progress import Progress, silent


@dataclass(frozen=True)
class DryRun:
    """The pipeline that would run, and what it comes to before layers are refitted.

    `expected` is None where the goal's budget is searched. Refitting does not change a latency.
    """

    model: Model
    pipeline: str
    note: str
    expected: Pruned | None


def plan(
    model: str | Path | Model,
    settings: Settings | None = None,
    *,
    goal: Goal,
    recipe: Recipe | None = None,
    evaluation: DataSource | None = None,
    metric: MetricSource | None = None,
    output: str | Path | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> DryRun:
    """What `prune` would do; an energy goal's error curves are computed, nothing is written."""
    settings, recipe = settings or Settings(), recipe or Recipe()
    outputs = () if output is None else (output,)
    begun = checked(model, settings, (goal,), recipe, evaluation, outputs, force, metric)
    begun = replace(begun, compilation=replace(begun.compilation, progress=progress))
    expected = None
    if not (goal.is_searched or recipe.zeros):
        begun, expected = _expected(begun, settings, goal)
    return DryRun(begun.compilation.model, str(begun.pipeline(goal)), goal.note, expected)


def _expected(begun: Begun, settings: Settings, goal: Goal) -> tuple[Begun, Pruned]:
    """What is known before layers are refitted, and what it is known by."""
    recipe = begun.recipe
    steps = tuple(step for step in goal.steps(recipe) if not step.refits)
    if begun.held_out(goal) or any(step.needs_calibration for step in steps):
        begun = begun.with_inputs(settings.samples)
    dense = recipe.whole((), begun.held_out(goal)).run(begun.compilation)
    done = Pipeline(steps).run(dense)
    return begun, Pruned(goal, done, dense.priced, begun.pipeline(goal))
