"""eapc analyze: the energy of every node."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from eapc.cli import options as opt
from eapc.cli.budget_options import BudgetOptions
from eapc.cli.image_options import ImageOptions
from eapc.cli.option_groups import Common, Inputs
from eapc.cli.session import publish, require_rows
from eapc.errors import GoalError, UsageError


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
    force: opt.Force = False,
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

    calibration, _ = images.sources(inputs.calib)
    settings = inputs.settings(common, calibration, density=density, bits=bits)
    read = (model, inputs.calib, Path(inputs.hw), limits.baseline)
    require_rows(csv, json, force, [*read, annotate])
    loaded = Model.load(model)
    if annotate is not None:
        loaded.require_writable(annotate, force)
    machine = load_machine(inputs.hw)
    limits.require_units(machine)
    priced = replace(settings, hardware=machine)
    written = [path for path in (csv, annotate) if path is not None]
    if isinstance(machine, HardwareModel):
        analysis = analyze_energies(loaded, priced, share)
        gate = gate_of(limits, loaded, analysis.energy, priced, share)
        save = analysis.save
        table = partial(tables.analysis_table, analysis, settings, gate=gate, written=written)
        document = partial(
            documents.analysis_document, analysis, warnings, annotate, gate, settings
        )
        rows = partial(energy_rows.analysis_csv, analysis.energy)
    else:
        if share is not None:
            raise UsageError("--share: decides about energies, and --hw holds measured latencies")
        timing = time_nodes(loaded, machine, settings)
        gate = gate_of(limits, loaded, timing, priced)
        save = timing.save
        table = partial(timings.timing_table, timing, gate=gate, written=written)
        document = partial(timings.timing_document, timing, warnings, annotate, gate)
        rows = partial(timings.timing_csv, timing)
    if annotate is not None:
        save(annotate, force)
    publish(table, document, json, csv, rows)
    if not gate.is_within:
        raise GoalError(exceeded(loaded.name, gate))
