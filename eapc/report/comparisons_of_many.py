"""One model beside several others, as table, document and comma-separated values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Group
from rich.text import Text

from eapc.commands.budgets import NO_GATE, Gate
from eapc.commands.comparison import Comparison
from eapc.report.budgets import budget_facts
from eapc.report.comparisons import (
    comparison_document,
    figures_of,
    integer_facts,
    integer_nodes,
    measured_latency,
)
from eapc.report.csv import csv_text
from eapc.report.documents import Document
from eapc.report.grouping import ALL_ROWS, RowChoice, change_table
from eapc.report.hardware_files import hardware_facts
from eapc.report.layout import (
    Column,
    count,
    facts,
    likeness_of,
    page,
    percent,
    plain,
    table,
    title,
    written_facts,
)
from eapc.report.names import apart
from eapc.report.tables import heading, metric_value
from eapc.report.uncertainty import energy_uncertainty, ratio_uncertainty

_LABEL_WIDTH, _RATIO_WIDTH, _LEAST_HEAD, _GAP = 35, 9, 8, 2
"""Columns of a terminal: for what a figure is called, a ratio, a model's name at least, between."""


def many_table(
    compared: Sequence[Comparison],
    width: int,
    rows: RowChoice = ALL_ROWS,
    gates: Sequence[Gate] = (),
    written: Iterable[Path] = (),
) -> Group:
    """A column of values for each model and, but for the first, of ratios to the first's.

    Where `rows` asks for them, energies of nodes, blocks or operators follow, model by model.
    """
    first = compared[0].before
    room = (width - _LABEL_WIDTH - _RATIO_WIDTH * len(compared)) // (1 + len(compared))
    models = [first.model.name, *(each.after.model.name for each in compared)]
    heads = apart(models, max(_LEAST_HEAD, room - _GAP))
    columns = [Column("", "left"), Column(heads[models[0]])]
    for name in models[1:]:
        columns += [Column(heads[name]), Column("ratio")]
    names = ", ".join(each.after.model.name for each in compared)
    return page(
        title(heading(f"{first.model.name} beside {names}", first.energy)),
        table(tuple(columns), list(many_rows(compared)), width),
        *(_changes(each, rows, width) for each in compared if rows.is_given),
        facts([*many_facts(compared, gates), *written_facts(written)]),
    )


def _changes(each: Comparison, rows: RowChoice, width: int) -> Group:
    """What one model has of the first one's energy, by what `rows` asks for."""
    name = Text(plain(each.after.model.name), style="bold")
    return Group(name, *change_table(each.before.energy, each.after.energy, rows, width))


def many_rows(compared: Sequence[Comparison]) -> Iterator[tuple[str, ...]]:
    """A figure, the first model's, then each other's with its ratio to the first."""
    for figures in zip(*map(figures_of, compared), strict=False):
        first = figures[0]
        cells = [first.label, first.shown(first.before)]
        for figure in figures:
            cells += [figure.shown(figure.after), percent(figure.ratio)]
        yield tuple(cells)
    nodes = [integer_nodes(each.after.integers) for each in compared]
    own = integer_nodes(compared[0].before.integers)
    if own or any(nodes):
        cells = ["nodes on integers", own or "none"]
        yield tuple(cells + [cell for found in nodes for cell in (found or "none", "")])
    if (accuracy := compared[0].accuracy) is not None:
        name = f"{plain(accuracy.title)} on {count(accuracy.samples, 'input')}"
        cells = [name, metric_value(accuracy, accuracy.before)]
        for each in compared:
            assert each.accuracy is not None  # all are judged, or none
            cells += [metric_value(each.accuracy, each.accuracy.after), ""]
        yield tuple(cells)
    if (likeness := compared[0].likeness) is not None:
        kind = "made-up input" if compared[0].made_up else "input"
        name = likeness.metric.removeprefix("relative ")
        cells = [f"{name} on {count(likeness.samples, kind)}", ""]
        for each in compared:
            assert each.likeness is not None  # all are judged, or none
            cells += [likeness_of(each.likeness.metric, each.likeness.value), ""]
        yield tuple(cells)


def many_facts(
    compared: Sequence[Comparison], gates: Sequence[Gate] = ()
) -> Iterator[tuple[str, str]]:
    """How sure the figures are, what they were measured on, and the budgets they are held to."""
    gates = gates or [NO_GATE] * len(compared)
    first = compared[0].before
    for each, gate in zip(compared, gates, strict=True):
        yield "beside", plain(each.after.model.name)
        yield from budget_facts(gate)
        yield from ratio_uncertainty(first.energy, each.after.energy)
        if each.latency is not None:
            yield "latency", measured_latency(each.latency)
        if each.metered is not None and each.metered.ratio is not None:
            ratio = each.metered.ratio
            low, high = percent(ratio.low), percent(ratio.high)
            yield "measured energy", f"{percent(ratio.median)}, {low} to {high}, 95 % confidence"
    yield "uncertainty", energy_uncertainty(first.energy.hardware)
    yield from hardware_facts(first.energy.hardware)
    yield from integer_facts((first, *(each.after for each in compared)))
    yield from (("note", plain(note)) for note in compared[0].notes)
    here = ", latency measured on this computer" if compared[0].latency is not None else ""
    yield "note", f"energy is modelled for the machine named above{here}"


def many_document(
    compared: Sequence[Comparison], warnings: Sequence[str] = (), gates: Sequence[Gate] = ()
) -> Document:
    """`eapc.compare-many/1`: a document of `eapc.compare/1` for each but the first."""
    gates = gates or [NO_GATE] * len(compared)
    return {
        "schema": "eapc.compare-many/1",
        "compared": [
            comparison_document(each, gate=gate) for each, gate in zip(compared, gates, strict=True)
        ],
        "warnings": list(warnings),
    }


def many_csv(compared: Sequence[Comparison]) -> str:
    """A heading and a row per figure and model: its value, and the ratio to the first model's."""
    columns = ("figure", "model", "value", "ratio")
    rows: list[tuple[object, ...]] = []
    for figures in zip(*map(figures_of, compared), strict=False):
        rows.append((figures[0].key, compared[0].before.model.name, figures[0].before, 1.0))
        for each, figure in zip(compared, figures, strict=True):
            rows.append((figure.key, each.after.model.name, figure.after, figure.ratio))
    return csv_text(columns, (dict(zip(columns, row, strict=True)) for row in rows))
