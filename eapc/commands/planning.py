"""What pruning would do, before any layer is refitted: densities, channels, what they come to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from eapc.commands.preparation import DataSource, MetricSource, Settings, checked, with_inputs
from eapc.goals import Goal, Pruned
from eapc.model import Model
from eapc.pipeline import Compilation, Pipeline, Recipe
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
    compilation = replace(begun.compilation, progress=progress)
    expected = None
    if not (goal.is_searched or recipe.zeros):
        expected = _expected(compilation, settings, goal, begun.recipe)
    return DryRun(compilation.model, str(goal.pipeline(begun.recipe)), goal.note, expected)


def _expected(compilation: Compilation, settings: Settings, goal: Goal, recipe: Recipe) -> Pruned:
    steps = tuple(step for step in recipe.steps(goal.options(recipe)) if not step.refits)
    if any(step.needs_calibration for step in steps):
        compilation = with_inputs(compilation, settings.samples)
    dense = recipe.annotation().run(compilation)
    done = Pipeline(steps).run(dense)
    return Pruned(goal, done, dense.priced, goal.pipeline(recipe))
