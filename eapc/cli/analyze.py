"""eapc analyze: the energy of every node."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eapc.cli import options as opt
from eapc.cli.option_groups import Common, Inputs
from eapc.cli.session import show, write
from eapc.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from eapc.commands.compiler import Analysis
    from eapc.commands.preparation import Settings
    from eapc.commands.timing import Timing
    from eapc.report.documents import Document

_STDOUT = Path("-")


def analyze(
    model: opt.ModelPath,
    inputs: Inputs,
    *,
    density: opt.Density = None,
    bits: opt.Bits = None,
    json: opt.Json = False,
    csv: opt.Csv = None,
    annotate: opt.Annotate = None,
    force: opt.Force = False,
    common: Common,
) -> None:
    """Estimate the energy of every node of MODEL on a machine, or its time on a measured one.

    Figures are per inference, in units of one multiply-accumulate (MAC). Densities come from
    the weights and from calibration inputs; without any, activations count as dense.
    """
    warnings = common.begin()
    if json and csv == _STDOUT:
        raise UsageError("--json and --csv -: only one can have stdout")
    from eapc.commands import compiler, timing
    from eapc.hardware import HardwareModel, load_machine
    from eapc.model import Model
    from eapc.report.files import require_writable

    settings = inputs.settings(common, density=density, bits=bits)
    if csv not in (None, _STDOUT):
        require_writable(csv, force, [model, inputs.calib, Path(inputs.hw), annotate])
    loaded = Model.load(model)
    if annotate is not None:
        loaded.require_writable(annotate, force)
    machine = load_machine(inputs.hw)
    found: Analysis | Timing
    if isinstance(machine, HardwareModel):
        found = compiler.analyze(loaded, settings)
    else:
        found = timing.time_nodes(loaded, machine, settings)
    if annotate is not None:
        found.save(annotate, force)
    _report(found, settings, csv, annotate, json, warnings)


def _report(
    found: Analysis | Timing,
    settings: Settings,
    csv: Path | None,
    annotated: Path | None,
    json: bool,
    warnings: list[str],
) -> None:
    from eapc.report.documents import to_json
    from eapc.report.files import write_report

    rows, document, table = _forms(found, settings)
    if csv == _STDOUT:
        write(rows())
        return
    if csv is not None:
        write_report(csv, rows())
    if json:
        write(to_json(document(warnings, annotated)))
    else:
        written = [path for path in (csv, annotated) if path is not None]
        show(lambda width: table(width, written))


def _forms(
    found: Analysis | Timing, settings: Settings
) -> tuple[
    Callable[[], str],
    Callable[[list[str], Path | None], Document],
    Callable[[int, list[Path]], RenderableType],
]:
    """What was found as CSV, as a document and as a table."""
    from eapc.commands.timing import Timing
    from eapc.report import csv, documents, tables, timings

    if isinstance(found, Timing):
        return (
            partial(timings.timing_csv, found),
            partial(timings.timing_document, found),
            partial(timings.timing_table, found),
        )
    return (
        partial(csv.analysis_csv, found.energy),
        partial(documents.analysis_document, found),
        partial(tables.analysis_table, found, settings),
    )
