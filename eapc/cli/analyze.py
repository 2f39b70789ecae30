"""eapc analyze: the energy of every node."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eapc.cli import options as opt
from eapc.cli.budget_options import BudgetOptions
from eapc.cli.image_options import ImageOptions
from eapc.cli.option_groups import Common, Inputs
from eapc.cli.picture_options import PictureOptions
from eapc.cli.session import publish, require_rows
from eapc.cli.table_options import TableOptions
from eapc.errors import GoalError, UsageError

if TYPE_CHECKING:
    from eapc.commands.compiler import Analysis
    from eapc.commands.preparation import Settings
    from eapc.commands.timing import Timing


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
    from eapc.commands.budgets import gate_of
    from eapc.commands.compiler import analyze as analyze_energies
    from eapc.commands.timing import time_nodes
    from eapc.hardware import HardwareModel, load_machine
    from eapc.model import Model
    from eapc.report import csv as energy_rows
    from eapc.report import documents, tables, timings
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
    priced = replace(settings, hardware=machine)
    written = [path for path in (csv, annotate, *pictures.paths) if path is not None]
    if isinstance(machine, HardwareModel):
        analysis = analyze_energies(loaded, priced, share)
        gate = gate_of(limits, loaded, analysis.energy, priced, share)
        save = analysis.save
        table = partial(
            tables.analysis_table, analysis, settings, written=written, rows=shown, gate=gate
        )
        document = partial(
            documents.analysis_document, analysis, warnings, annotate, gate, settings
        )
        values = partial(energy_rows.analysis_csv, analysis.energy)
        draw = partial(_draw, pictures, analysis, warnings, settings)
    else:
        if share is not None:
            raise UsageError("--share: decides about energies, and --hw holds measured latencies")
        timing = time_nodes(loaded, machine, settings)
        gate = gate_of(limits, loaded, timing, priced)
        save = timing.save
        table = partial(timings.timing_table, timing, written=written, rows=shown, gate=gate)
        document = partial(timings.timing_document, timing, warnings, annotate, gate)
        values = partial(timings.timing_csv, timing)
        draw = partial(_draw_times, pictures, timing, warnings)
    if annotate is not None:
        save(annotate, force)
    draw()
    publish(table, document, json, csv, values)
    if not gate.is_within:
        raise GoalError(exceeded(loaded.name, gate))


def _draw(
    pictures: PictureOptions, analysis: Analysis, warnings: list[str], settings: Settings
) -> None:
    if pictures.paths:
        from eapc.pages.analysis_page import analysis_page
        from eapc.pages.energy_charts import energy_chart

        chart = partial(energy_chart, analysis.energy, "node", "operand")
        pictures.write(partial(analysis_page, analysis, warnings, settings), chart)


def _draw_times(pictures: PictureOptions, timing: Timing, warnings: list[str]) -> None:
    if pictures.paths:
        from eapc.pages.timing_page import time_chart, timing_page

        pictures.write(partial(timing_page, timing, warnings), partial(time_chart, timing))
