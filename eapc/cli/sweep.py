"""eapc sweep: several values of one goal, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eapc.cli import goal_options as aim
from eapc.cli import options as opt
from eapc.cli.session import begin, show, write
from eapc.errors import GoalError, UsageError

if TYPE_CHECKING:
    from eapc.goal_sweep import Swept
    from eapc.goals import Goal

_STDOUT = Path("-")


def sweep(
    model: opt.ModelPath,
    hw: opt.Hardware = "eyeriss",
    batch: opt.Batch = None,
    input_shape: opt.InputShapes = None,
    calib: opt.Calibration = None,
    samples: opt.Samples = None,
    evaluation: opt.Evaluation = None,
    sparsity: aim.Sparsities = None,
    target_energy: aim.Energies = None,
    min_agreement: aim.Agreements = None,
    max_drop: aim.Drops = None,
    output: opt.Folder = None,
    force: opt.Force = False,
    json: opt.Json = False,
    csv: opt.SweepCsv = None,
    threads: opt.Threads = 0,
    seed: opt.Seed = 0,
    verbose: opt.Verbose = 0,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Prune MODEL towards several values of one goal, such as --target-energy 0.9,0.8,0.7.

    A goal that cannot be met is a row like any other; the exit code is 4 in the end. Without
    -o no model is written.
    """
    warnings = begin(verbose, quiet, debug, threads)
    if json and csv == _STDOUT:
        raise UsageError("--json and --csv -: only one can have stdout")
    goals = _goals(sparsity, target_energy, min_agreement, max_drop)
    from eapc import goal_sweep
    from eapc.report.files import require_writable

    settings = opt.settings(hw, batch, input_shape, calib, samples, threads, seed)
    if output is not None and not output.is_dir():
        raise UsageError(f"{output}: no such folder; make it first")
    if csv not in (None, _STDOUT):
        require_writable(csv, force, [model, calib, evaluation, Path(hw)])
    swept = goal_sweep.sweep(
        model, settings, goals=goals, evaluation=evaluation, folder=output, force=force
    )
    _report(swept, csv, json, warnings)


def _goals(*texts: str | None) -> list[Goal]:
    """The goals of one option's comma-separated values; `texts` are in the order of `GOALS`."""
    from eapc.goals import GOALS

    given = {option: text for option, text in zip(GOALS, texts, strict=True) if text is not None}
    if not given:
        raise UsageError(f"a sweep needs values of a goal: {', '.join(GOALS)}")
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: give values of one goal")
    ((option, text),) = given.items()
    return [GOALS[option](_number(option, part)) for part in text.split(",")]


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"{option}: expected numbers like 0.9,0.8,0.7, got '{text}'") from error


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
