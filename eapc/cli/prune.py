"""eapc prune: less energy for the least loss of accuracy."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from eapc.cli import options as opt
from eapc.cli.goal_options import OneGoal
from eapc.cli.image_options import LabelledImageOptions
from eapc.cli.option_groups import Common, Inputs, Layers
from eapc.cli.picture_options import PictureOptions
from eapc.cli.session import progress_bar, publish
from eapc.cli.table_options import TableOptions
from eapc.errors import GoalError
from eapc.progress import begin

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from eapc.commands.planning import DryRun
    from eapc.data import DataFiles
    from eapc.goals import Goal, Pruned
    from eapc.pipeline import Recipe
    from eapc.report.grouping import RowChoice


def prune(
    model: opt.ModelPath,
    inputs: Inputs,
    evaluation: opt.Evaluation = None,
    metric: opt.OwnMetric = None,
    *,
    aim: OneGoal,
    layers: Layers,
    output: opt.Output = None,
    pictures: PictureOptions,
    force: opt.Force = False,
    json: opt.Json = False,
    dry_run: opt.DryRun = False,
    resume: opt.Resume = False,
    memory: opt.Memory = None,
    rows: TableOptions,
    images: LabelledImageOptions,
    common: Common,
) -> None:
    """Zero weights of MODEL to save energy, and refit what is left.

    Without -o the result is MODEL.pruned.onnx beside MODEL. Without --calib inputs are made
    up. Without a goal the lowest energy is sought at which 98 % of the answers stay.
    """
    warnings = common.begin()
    with progress_bar(common.quiet) as progress:
        begin(progress, "loading", str(model))
        from eapc.commands import compiler, planning

        shown = rows.rows()
        calibration, labelled = images.sources(inputs.calib, evaluation)
        settings = inputs.settings(common, calibration, memory=memory)
        goal, recipe = aim.goal(layers.pattern, layers.bits), layers.recipe()
        target = output or compiler.default_output(model)
        pictures.check(force, [model, inputs.calib, evaluation, Path(inputs.hw), target])
        if dry_run:
            pictures.refuse("goes with a result, and --dry-run makes none")
        asked = Asked(
            goal=goal,
            recipe=recipe,
            evaluation=labelled,
            metric=metric,
            output=target,
            force=force,
        )
        if dry_run:
            plan = planning.plan(model, settings, **asked, progress=progress)
        else:
            done = compiler.prune(model, settings, **asked, resume=resume, progress=progress)
    if dry_run:
        _tell_plan(plan, warnings, json)
    else:
        _draw(pictures, done, warnings)
        _tell(done, warnings, json, pictures.paths, shown)


def _tell_plan(plan: DryRun, warnings: list[str], json: bool) -> None:
    from eapc.report.documents import plan_document
    from eapc.report.pruning import plan_table

    if plan.note:
        logger.warning(plan.note)
    publish(partial(plan_table, plan), partial(plan_document, plan, warnings), json)


def _tell(
    done: Pruned, warnings: list[str], json: bool, written: list[Path], rows: RowChoice
) -> None:
    """Print the result; GoalError where it is not what was asked for."""
    from eapc.report.documents import prune_document
    from eapc.report.pruning import prune_table

    table = partial(prune_table, done, rows=rows, written=written)
    publish(table, partial(prune_document, done, warnings), json)
    if done.shortfall:
        raise GoalError(f"goal {done.shortfall}")


def _draw(pictures: PictureOptions, done: Pruned, warnings: list[str]) -> None:
    if pictures.paths:
        from eapc.pages.pruning_charts import energy_of_layers
        from eapc.pages.pruning_page import pruning_page

        pictures.write(partial(pruning_page, done, warnings), partial(energy_of_layers, done))


class Asked(TypedDict):
    """What pruning and its plan take alike."""

    goal: Goal
    recipe: Recipe
    evaluation: DataFiles | None
    metric: str | None
    output: Path
    force: bool
