"""eapc analyze: the energy of every node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eapc.cli import options as opt
from eapc.cli.option_groups import Common, Inputs, spread
from eapc.cli.session import show, write
from eapc.errors import UsageError

if TYPE_CHECKING:
    from eapc.compiler import Analysis, Settings

_STDOUT = Path("-")


@spread
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
    """Estimate the energy of every node of MODEL on a machine.

    Figures are per inference, in units of one multiply-accumulate (MAC). Densities come from
    the weights and from calibration inputs; without any, activations count as dense.
    """
    warnings = common.begin()
    if json and csv == _STDOUT:
        raise UsageError("--json and --csv -: only one can have stdout")
    from eapc import compiler
    from eapc.model import Model
    from eapc.report.files import require_writable

    settings = inputs.settings(common, density=density, bits=bits)
    if csv not in (None, _STDOUT):
        require_writable(csv, force, [model, inputs.calib, Path(inputs.hw), annotate])
    loaded = Model.load(model)
    if annotate is not None:
        loaded.require_writable(annotate, force)
    found = compiler.analyze(loaded, settings)
    if annotate is not None:
        found.save(annotate, force)
    _report(found, settings, csv, annotate, json, warnings)


def _report(
    found: Analysis,
    settings: Settings,
    csv: Path | None,
    annotated: Path | None,
    json: bool,
    warnings: list[str],
) -> None:
    from eapc.report.csv import analysis_csv
    from eapc.report.documents import analysis_document, to_json
    from eapc.report.files import write_report
    from eapc.report.tables import analysis_table

    if csv == _STDOUT:
        write(analysis_csv(found.energy))
        return
    if csv is not None:
        write_report(csv, analysis_csv(found.energy))
    if json:
        write(to_json(analysis_document(found, warnings, annotated)))
    else:
        written = [path for path in (csv, annotated) if path is not None]
        show(lambda width: analysis_table(found, settings, width, written))
