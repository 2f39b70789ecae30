"""eapc sweep: several values of one goal, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eapc.cli import options as opt
from eapc.cli.bar import progress_bar
from eapc.cli.goal_options import SeveralGoals
from eapc.cli.layer_options import Layers
from eapc.cli.option_groups import Common, Inputs
from eapc.cli.session import show, write
from eapc.errors import GoalError, UsageError

if TYPE_CHECKING:
    from eapc.commands.sweep import Swept

_STDOUT = Path("-")


def sweep(
    model: opt.ModelPath,
    inputs: Inputs,
    evaluation: opt.Evaluation = None,
    *,
    aim: SeveralGoals,
    layers: Layers,
    output: opt.Folder = None,
    force: opt.Force = False,
    json: opt.Json = False,
    csv: opt.SweepCsv = None,
    resume: opt.Resume = False,
    memory: opt.Memory = None,
    common: Common,
) -> None:
    """Prune MODEL towards several values of one goal, such as --target-energy 0.9,0.8,0.7.

    A goal that cannot be met is a row like any other; the exit code is 4 in the end. Without
    -o no model is written.
    """
    warnings = common.begin()
    if json and csv == _STDOUT:
        raise UsageError("--json and --csv -: only one can have stdout")
    goals = aim.goals(layers.pattern)
    from eapc.commands import sweep as goal_sweep
    from eapc.report.files import require_writable

    settings = inputs.settings(common, memory=memory)
    if output is not None and not output.is_dir():
        raise UsageError(f"{output}: no such folder; make it first")
    if csv not in (None, _STDOUT):
        require_writable(csv, force, [model, inputs.calib, evaluation, Path(inputs.hw)])
    with progress_bar(common.quiet) as progress:
        swept = goal_sweep.sweep(
            *(model, settings),
            goals=goals,
            recipe=layers.recipe(),
            evaluation=evaluation,
            folder=output,
            force=force,
            resume=resume,
            progress=progress,
        )
    _report(swept, csv, json, warnings)


def _report(swept: Swept, csv: Path | None, json: bool, warnings: list[str]) -> None:
    from eapc.report.documents import to_json
    from eapc.report.files import write_report
    from eapc.report.sweeps import sweep_csv, sweep_document, sweep_table

    if csv is not None and csv != _STDOUT:
        write_report(csv, sweep_csv(swept))
    if csv == _STDOUT:
        write(sweep_csv(swept))
    elif json:
        write(to_json(sweep_document(swept, warnings)))
    else:
        show(lambda width: sweep_table(swept, width))
    if swept.missed:
        names = ", ".join(row.name for row in swept.missed)
        raise GoalError(f"goals not met: {names}")
