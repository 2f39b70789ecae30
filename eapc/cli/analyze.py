"""eapc analyze: the energy of every node."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from eapc.cli import options as opt
from eapc.cli.budget_options import BudgetOptions
from eapc.cli.image_options import ImageOptions
from eapc.cli.option_groups import Common, Inputs
from eapc.cli.picture_options import PictureOptions
from eapc.cli.session import publish, require_rows
from eapc.cli.table_options import TableOptions
from eapc.errors import GoalError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from eapc.commands.budgets import CostLimits, Gate
    from eapc.commands.preparation import Settings
    from eapc.hardware import HardwareModel, MeasuredMachine
    from eapc.model import Model
    from eapc.pages import Chart, Page
    from eapc.report.documents import Document
    from eapc.report.grouping import RowChoice


def analyze(
    model: opt.ModelPath,
    inputs: Inputs,
    *,
    density: opt.Density = None,
    bits: opt.Bits = None,
    share: opt.Share = None,
    json: opt.Json = False,
    csv: opt.Csv = None,
    annotate: opt.Annotate = None,
    pictures: PictureOptions,
    force: opt.Force = False,
    rows: TableOptions,
    budgets: BudgetOptions,
    images: ImageOptions,
    common: Common,
) -> None:
    """Estimate the energy of every node of MODEL on a machine, or its time on a measured one.

    Figures are per inference, in units of one multiply-accumulate (MAC). Densities come from
    the weights and from calibration inputs; without any, activations count as dense.
    """
    warnings = common.begin()
    limits = budgets.limits()
    from eapc.hardware import HardwareModel, load_machine
    from eapc.model import Model
    from eapc.report.budgets import exceeded

    shown = rows.rows()
    calibration, _ = images.sources(inputs.calib)
    settings = inputs.settings(common, calibration, density=density, bits=bits)
    read = (model, inputs.calib, Path(inputs.hw), limits.baseline)
    require_rows(csv, json, force, [*read, annotate])
    pictures.check(force, [*read, annotate, csv])
    loaded = Model.load(model)
    if annotate is not None:
        loaded.require_writable(annotate, force)
    machine = load_machine(inputs.hw)
    limits.require_units(machine)
    written = [path for path in (csv, annotate, *pictures.paths) if path is not None]
    asked = AnalysisRequest(settings, share, limits, warnings, annotate, written, shown)
    if isinstance(machine, HardwareModel):
        found = _energies(loaded, machine, asked)
    else:
        found = _times(loaded, machine, asked)
    if annotate is not None:
        found.save(annotate, force)
    if pictures.paths:
        pictures.write(found.page, found.chart)
    publish(found.table, found.document, json, csv, found.values)
    if not found.gate.is_within:
        raise GoalError(exceeded(loaded.name, found.gate))


class AnalysisRequest(NamedTuple):
    """What an analysis and a timing are asked for alike."""

    settings: Settings
    share: float | None
    limits: CostLimits
    warnings: list[str]
    annotate: Path | None
    written: list[Path]
    rows: RowChoice


class AnalysisForms(NamedTuple):
    """What was found, in every form that may be wanted, and whether it is within its limits."""

    gate: Gate
    save: Callable[[Path, bool], None]
    table: Callable[[int], RenderableType]
    document: Callable[[], Document]
    values: Callable[[], str]
    page: Callable[[], Page]
    chart: Callable[[], Chart]


def _energies(model: Model, machine: HardwareModel, asked: AnalysisRequest) -> AnalysisForms:
    """The energy of every node."""
    from eapc.commands.budgets import gate_of
    from eapc.commands.compiler import analyze
    from eapc.report.csv import analysis_csv
    from eapc.report.documents import analysis_document
    from eapc.report.tables import analysis_table

    settings, warnings = asked.settings, asked.warnings
    priced = replace(settings, hardware=machine)
    analysis = analyze(model, priced, asked.share)
    gate = gate_of(asked.limits, model, analysis.energy, priced, asked.share)

    def page() -> Page:
        from eapc.pages.analysis_page import analysis_page

        return analysis_page(analysis, warnings, settings)

    def chart() -> Chart:
        from eapc.pages.energy_charts import energy_chart

        return energy_chart(analysis.energy, "node", "operand")

    return AnalysisForms(
        gate,
        analysis.save,
        partial(
            analysis_table,
            *(analysis, settings),
            written=asked.written,
            rows=asked.rows,
            gate=gate,
        ),
        partial(analysis_document, analysis, warnings, asked.annotate, gate, settings),
        partial(analysis_csv, analysis.energy),
        page,
        chart,
    )


def _times(model: Model, machine: MeasuredMachine, asked: AnalysisRequest) -> AnalysisForms:
    """The time of every node, by what was measured."""
    from eapc.commands.budgets import gate_of
    from eapc.commands.timing import time_nodes
    from eapc.report.timings import timing_csv, timing_document, timing_table

    if asked.share is not None:
        raise UsageError("--share: decides about energies, and --hw holds measured latencies")
    timing = time_nodes(model, machine, asked.settings)
    gate = gate_of(asked.limits, model, timing, replace(asked.settings, hardware=machine))

    def page() -> Page:
        from eapc.pages.timing_page import timing_page

        return timing_page(timing, asked.warnings)

    def chart() -> Chart:
        from eapc.pages.timing_page import time_chart

        return time_chart(timing)

    return AnalysisForms(
        gate,
        timing.save,
        partial(timing_table, timing, written=asked.written, rows=asked.rows, gate=gate),
        partial(timing_document, timing, asked.warnings, asked.annotate, gate),
        partial(timing_csv, timing),
        page,
        chart,
    )
