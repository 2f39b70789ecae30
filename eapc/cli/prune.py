"""eapc prune: less energy for the least loss of accuracy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eapc.cli import goal_options as aim
from eapc.cli import layer_options as how
from eapc.cli import options as opt
from eapc.cli.bar import progress_bar
from eapc.cli.session import begin, show, write
from eapc.errors import GoalError, UsageError

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from eapc.compiler import Pruned, Settings
    from eapc.goals import Goal
    from eapc.recipe import Recipe


def prune(
    model: opt.ModelPath,
    hw: opt.Hardware = "eyeriss",
    batch: opt.Batch = None,
    input_shape: opt.InputShapes = None,
    calib: opt.Calibration = None,
    samples: opt.Samples = None,
    evaluation: opt.Evaluation = None,
    sparsity: aim.SparsityGoal = None,
    target_energy: aim.EnergyGoal = None,
    min_agreement: aim.AgreementGoal = None,
    max_drop: aim.DropGoal = None,
    densities: aim.DensitiesGoal = None,
    method: how.Method = "admm",
    thorough: how.Thorough = False,
    pattern: how.Pattern = "unstructured",
    include: how.Include = None,
    exclude: how.Exclude = None,
    order: how.Order = "shared",
    output: opt.Output = None,
    force: opt.Force = False,
    json: opt.Json = False,
    dry_run: opt.DryRun = False,
    resume: opt.Resume = False,
    threads: opt.Threads = 0,
    memory: opt.Memory = None,
    seed: opt.Seed = 0,
    verbose: opt.Verbose = 0,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Zero weights of MODEL to save energy, and refit what is left.

    Without -o the result is MODEL.pruned.onnx beside MODEL. Without --calib inputs are made
    up. Without a goal the lowest energy is sought at which 98 % of the answers stay.
    """
    warnings = begin(verbose, quiet, debug, threads)
    from eapc import compiler
    from eapc.recipe import Recipe

    settings = opt.settings(hw, batch, input_shape, calib, samples, threads, seed, memory=memory)
    goal = _goal(sparsity, target_energy, min_agreement, max_drop, densities, pattern)
    recipe = Recipe(
        method=method,
        thorough=thorough,
        pattern=pattern,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        order=order,
    )
    target = output or compiler.default_output(model)
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


def _goal(
    sparsity: float | None,
    target_energy: float | None,
    min_agreement: float | None,
    max_drop: float | None,
    densities: Path | None,
    pattern: str,
) -> Goal:
    from eapc.goals import DEFAULT_GOAL, GOALS, Densities, Sparsity
    from eapc.solvers import parse_pattern

    values = (sparsity, target_energy, min_agreement, max_drop, densities)
    kinds: Iterable[tuple[Callable[[Any], Goal], object]] = zip(
        (*GOALS.values(), Densities), values, strict=True
    )
    goals = [kind(value) for kind, value in kinds if value is not None]
    given = [goal.option for goal in goals]
    if len(goals) > 1:
        raise UsageError(f"{' and '.join(given)}: give one goal at a time")
    density = parse_pattern(pattern).fixed_density
    if density is None:
        return goals[0] if goals else DEFAULT_GOAL
    if given not in ([], ["--sparsity"]):
        raise UsageError(
            f"{given[0]}: --pattern {pattern} fixes the share of zeros; "
            f"leave the goal out, or give --sparsity {1 - density:.4g}"
        )
    return goals[0] if goals else Sparsity(1 - density)


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
    from eapc import compiler, planning
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
