"""eapc sweep: several values of one goal, side by side."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eapc.cli import options as opt
from eapc.cli.goal_options import SeveralGoals
from eapc.cli.image_options import LabelledImageOptions
from eapc.cli.option_groups import Common, Inputs, Layers
from eapc.cli.picture_options import PictureOptions
from eapc.cli.session import progress_bar, publish, require_rows
from eapc.errors import GoalError, UsageError
from eapc.progress import begin

if TYPE_CHECKING:
    from eapc.commands.sweep import Swept


def sweep(
    model: opt.ModelPath,
    inputs: Inputs,
    evaluation: opt.Evaluation = None,
    metric: opt.OwnMetric = None,
    *,
    aim: SeveralGoals,
    layers: Layers,
    output: opt.Folder = None,
    force: opt.Force = False,
    json: opt.Json = False,
    csv: opt.SweepCsv = None,
    pictures: PictureOptions,
    resume: opt.Resume = False,
    memory: opt.Memory = None,
    images: LabelledImageOptions,
    common: Common,
) -> None:
    """Prune MODEL towards several values of one goal, such as --target-energy 0.9,0.8,0.7.

    A goal that cannot be met is a row like any other; the exit code is 4 in the end. Without
    -o no model is written.
    """
    warnings = common.begin()
    if output is not None and not output.is_dir():
        raise UsageError(f"{output}: no such folder; make it first")
    with progress_bar(common.quiet) as progress:
        begin(progress, "loading", str(model))
        goals = aim.goals(layers.pattern)
        from eapc.commands import sweep as goal_sweep
        from eapc.report import sweeps

        calibration, labelled = images.sources(inputs.calib, evaluation)
        settings = inputs.settings(common, calibration, memory=memory)
        read = [model, inputs.calib, evaluation, Path(inputs.hw), opt.metric_file(metric)]
        require_rows(csv, json, force, read)
        pictures.check(force, [*read, csv])
        swept = goal_sweep.sweep(
            *(model, settings),
            goals=goals,
            recipe=layers.recipe(),
            evaluation=labelled,
            metric=metric,
            folder=output,
            force=force,
            resume=resume,
            progress=progress,
        )
    _draw(pictures, swept, warnings)
    written = [path for path in (csv, *pictures.paths) if path is not None]
    publish(
        partial(sweeps.sweep_table, swept, written=written),
        partial(sweeps.sweep_document, swept, warnings),
        json,
        csv,
        partial(sweeps.sweep_csv, swept),
    )
    if swept.missed:
        names = ", ".join(row.name for row in swept.missed)
        raise GoalError(f"goals not met{' or not confirmed' * swept.is_unsure}: {names}")


def _draw(pictures: PictureOptions, swept: Swept, warnings: list[str]) -> None:
    if pictures.paths:
        from eapc.pages.sweep_page import sweep_chart, sweep_page

        pictures.write(partial(sweep_page, swept, warnings), partial(sweep_chart, swept))
