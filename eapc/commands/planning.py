"""What pruning would do, before any layer is refitted: densities, channels, what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eapc.commands.preparation import (
    Begun,
    DataSource,
    MetricSource,
    Settings,
    checked,
    targets_of,
)
from eapc.goals import Budget, Goal, Pruned, pruner_of
from eapc.model import Model
from eapc.pipeline import Compilation, Pass, Pipeline, Recipe
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
    pipeline, expected = begun.pipeline(goal), None
    if goal.is_known(begun.recipe) and not recipe.zeros:
        begun, expected = _expected(begun, settings, goal)
        pipeline = expected.steps
    return DryRun(begun.compilation.model, str(pipeline), goal.note, expected)


def _expected(begun: Begun, settings: Settings, goal: Goal) -> tuple[Begun, Pruned]:
    """What is known before layers are refitted, and what it is known by."""
    recipe = begun.recipe
    steps = _before_refitting(goal.steps(recipe))
    if begun.held_out(goal) or any(step.needs_calibration for step in steps):
        begun = begun.with_inputs(settings.samples)
    held_out = begun.held_out(goal)
    dense = recipe.whole((), held_out).run(begun.compilation)
    whole = _steps(goal, recipe, dense)
    done = _run(_before_refitting(whole), dense)
    return begun, Pruned(goal, done, dense.priced, recipe.whole(whole, held_out))


def _before_refitting(steps: Sequence[Pass]) -> tuple[Pass, ...]:
    return tuple(step for step in steps if not step.refits)


def _steps(goal: Goal, recipe: Recipe, dense: Compilation) -> tuple[Pass, ...]:
    """What a goal does to a network; budgets of a quantized file are told by quantizing it."""
    targets = targets_of((goal,))
    if recipe.widths is None or not targets:
        return goal.steps(recipe)
    return pruner_of(recipe, _run, dense).steps(Budget(targets[0].limit(dense.model)))


def _run(steps: Sequence[Pass], compilation: Compilation) -> Compilation:
    return Pipeline(tuple(steps)).run(compilation)
