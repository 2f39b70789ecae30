"""eapc compare: two models side by side."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eapc.cli import options as opt
from eapc.cli.budget_options import RatioBudgetOptions
from eapc.cli.image_options import LabelledImageOptions
from eapc.cli.option_groups import Common, Inputs
from eapc.cli.picture_options import PictureOptions
from eapc.cli.session import progress_bar, publish, require_rows
from eapc.cli.table_options import TableOptions
from eapc.errors import GoalError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from eapc.commands.budgets import Gate
    from eapc.commands.comparison import Comparison
    from eapc.report.documents import Document


def compare(
    before: opt.BeforePath,
    after: opt.AfterPath,
    more: opt.MorePaths = None,
    *,
    inputs: Inputs,
    evaluation: opt.Evaluation = None,
    metric: opt.OwnMetric = None,
    density: opt.Density = None,
    bits: opt.Bits = None,
    latency: opt.MeasureLatency = True,
    repeats: opt.Repeats = None,
    energy: opt.MeasureEnergy = False,
    json: opt.Json = False,
    csv: opt.CompareCsv = None,
    pictures: PictureOptions,
    force: opt.Force = False,
    rows: TableOptions,
    budgets: RatioBudgetOptions,
    images: LabelledImageOptions,
    common: Common,
) -> None:
    """Compare size, modelled energy, measured latency and answers of BEFORE and AFTER.

    The models may differ in all but their inputs and outputs. Without --eval it is told how
    far the outputs agree. More files stand beside BEFORE in columns of their own.
    """
    warnings = common.begin()
    if repeats is not None and not latency:
        raise UsageError("--repeats: measures latency, and --no-latency leaves it out")
    limits = budgets.limits(is_timed=latency)
    from eapc.commands import comparison
    from eapc.profiling import open_meter
    from eapc.report.budgets import all_exceeded

    shown = rows.rows()
    meter = open_meter() if energy else None
    calibration, labelled = images.sources(inputs.calib, evaluation)
    settings = inputs.settings(common, calibration, density=density, bits=bits)
    models = [before, after, *(more or ())]
    read = [*models, inputs.calib, evaluation, Path(inputs.hw), opt.metric_file(metric)]
    require_rows(csv, json, force, read)
    pictures.check(force, [*read, csv])
    with progress_bar(common.quiet, "comparing", " ".join(map(str, models))):
        compared = comparison.compare_all(
            *(models, settings),
            evaluation=labelled,
            metric=metric,
            latency=latency,
            repeats=repeats,
            meter=meter,
        )
    gates = limits.check(compared)
    _draw(pictures, compared, warnings)
    written = [path for path in (csv, *pictures.paths) if path is not None]
    table, document, values = _forms(compared, gates, warnings)
    publish(partial(table, rows=shown, written=written), document, json, csv, values)
    if not all(gate.is_within for gate in gates):
        raise GoalError(all_exceeded([each.after.model.name for each in compared], gates))


def _forms(
    compared: Sequence[Comparison], gates: Sequence[Gate], warnings: list[str]
) -> tuple[Callable[..., RenderableType], Callable[[], Document], Callable[[], str]]:
    """Table, document and rows of one comparison, or of several side by side."""
    from eapc.report.comparisons import comparison_csv, comparison_document, comparison_table
    from eapc.report.comparisons_of_many import many_csv, many_document, many_table

    if len(compared) > 1:
        return (
            partial(many_table, compared, gates=gates),
            partial(many_document, compared, warnings, gates),
            partial(many_csv, compared),
        )
    return (
        partial(comparison_table, compared[0], gate=gates[0]),
        partial(comparison_document, compared[0], warnings, gates[0]),
        partial(comparison_csv, compared[0]),
    )


def _draw(pictures: PictureOptions, compared: Sequence[Comparison], warnings: list[str]) -> None:
    if pictures.paths:
        from eapc.pages.comparison_charts import layer_chart
        from eapc.pages.comparison_page import comparison_page, labels_of, reports_of

        sides = dict(zip(labels_of(compared), reports_of(compared), strict=True))
        pictures.write(partial(comparison_page, compared, warnings), partial(layer_chart, sides))
