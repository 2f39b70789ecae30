"""eapc compare: two models side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eapc.cli import options as opt
from eapc.cli.option_groups import Common, Inputs
from eapc.cli.session import show, write
from eapc.errors import UsageError

if TYPE_CHECKING:
    from eapc.commands.comparison import Comparison

_STDOUT = Path("-")


def compare(
    before: opt.BeforePath,
    after: opt.AfterPath,
    inputs: Inputs,
    evaluation: opt.Evaluation = None,
    *,
    density: opt.Density = None,
    bits: opt.Bits = None,
    latency: opt.MeasureLatency = True,
    repeats: opt.Repeats = None,
    json: opt.Json = False,
    csv: opt.CompareCsv = None,
    force: opt.Force = False,
    common: Common,
) -> None:
    """Compare size, modelled energy, measured latency and answers of BEFORE and AFTER.

    The models may differ in all but their inputs and outputs. Without --eval it is told how
    far the outputs agree.
    """
    warnings = common.begin()
    if json and csv == _STDOUT:
        raise UsageError("--json and --csv -: only one can have stdout")
    if repeats is not None and not latency:
        raise UsageError("--repeats: measures latency, and --no-latency leaves it out")
    from eapc.commands import comparison
    from eapc.report.files import require_writable

    settings = inputs.settings(common, density=density, bits=bits)
    if csv not in (None, _STDOUT):
        require_writable(csv, force, [before, after, inputs.calib, evaluation, Path(inputs.hw)])
    compared = comparison.compare(
        *(before, after, settings), evaluation=evaluation, latency=latency, repeats=repeats
    )
    _report(compared, csv, json, warnings)


def _report(compared: Comparison, csv: Path | None, json: bool, warnings: list[str]) -> None:
    from eapc.report.comparisons import comparison_csv, comparison_document, comparison_table
    from eapc.report.documents import to_json
    from eapc.report.files import write_report

    if csv is not None and csv != _STDOUT:
        write_report(csv, comparison_csv(compared))
    if csv == _STDOUT:
        write(comparison_csv(compared))
    elif json:
        write(to_json(comparison_document(compared, warnings)))
    else:
        show(lambda width: comparison_table(compared, width))
