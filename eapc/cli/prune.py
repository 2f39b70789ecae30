"""eapc prune: less energy for the least loss of accuracy."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from eapc.cli import options as opt
from eapc.cli.bar import progress_bar
from eapc.cli.goal_options import OneGoal
from eapc.cli.layer_options import Layers
from eapc.cli.option_groups import Common, Inputs, spread
from eapc.cli.session import show, write
from eapc.errors import GoalError

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from eapc.commands.preparation import Settings
    from eapc.commands.results import Pruned
    from eapc.goals import Goal
    from eapc.pipeline import Recipe


@spread
def prune(
    model: opt.ModelPath,
    inputs: Inputs,
    evaluation: opt.Evaluation = None,
    *,
    aim: OneGoal,
    layers: Layers,
    output: opt.Output = None,
    force: opt.Force = False,
    json: opt.Json = False,
    dry_run: opt.DryRun = False,
    resume: opt.Resume = False,
    memory: opt.Memory = None,
    common: Common,
) -> None:
    """Zero weights of MODEL to save energy, and refit what is left.

    Without -o the result is MODEL.pruned.onnx beside MODEL. Without --calib inputs are made
    up. Without a goal the lowest energy is sought at which 98 % of the answers stay.
    """
    warnings = common.begin()
    from eapc.commands import compiler

    settings = inputs.settings(common, memory=memory)
    goal, recipe = aim.goal(layers.pattern), layers.recipe()
    target = output or compiler.default_output(model)
    quiet = common.quiet
    if dry_run:
        _plan(model, settings, goal, recipe, evaluation, target, force, json, quiet, warnings)
        return
    with progress_bar(quiet) as progress:
        done = compiler.prune(
            *(model, settings),
            goal=goal,
            recipe=recipe,
            evaluation=evaluation,
            output=target,
            force=force,
            resume=resume,
            progress=progress,
        )
    _report(done, json, warnings)


def _plan(
    model: Path,
    settings: Settings,
    goal: Goal,
    recipe: Recipe,
    evaluation: Path | None,
    output: Path,
    force: bool,
    json: bool,
    quiet: bool,
    warnings: list[str],
) -> None:
    """Load everything, so that what is wrong shows, and print what would be done."""
    from eapc.commands import compiler, planning
    from eapc.model import Model
    from eapc.report.documents import plan_document, to_json
    from eapc.report.pruning import plan_table

    compiler.require_labels(goal, evaluation)
    loaded = Model.load(model)
    if evaluation is not None:
        compiler.load_dataset(evaluation, loaded.inputs)
    loaded.require_writable(output, force)
    compiler.pipeline_of(goal, recipe).check(loaded)
    with progress_bar(quiet) as progress:
        plan = planning.plan(loaded, settings, goal=goal, recipe=recipe, progress=progress)
    if plan.note:
        logger.warning(plan.note)
    if json:
        write(to_json(plan_document(plan, warnings)))
    else:
        show(lambda width: plan_table(plan, width))


def _report(done: Pruned, json: bool, warnings: list[str]) -> None:
    from eapc.report.documents import prune_document, to_json
    from eapc.report.pruning import prune_table

    if json:
        write(to_json(prune_document(done, warnings)))
    else:
        show(lambda width: prune_table(done, width))
    if not done.goal_met:
        raise GoalError(f"goal not met: {done.reason}")
