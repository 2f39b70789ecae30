"""How results show themselves in Python: their document, rows, a line, a table for notebooks.

A document is what `--json` prints, rows are what `--csv` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from html import escape
from typing import Generic, TypeVar

from eapc.commands.comparison import Comparison
from eapc.commands.compiler import Analysis, Ran
from eapc.commands.data_description import DataDescription
from eapc.commands.finetuning import FineTuned
from eapc.commands.machine_profile import Profiled
from eapc.commands.sweep import Swept
from eapc.commands.timing import Timing
from eapc.energy import EnergyReport
from eapc.evaluation import Accuracy, Agreement
from eapc.goals import Pruned
from eapc.report.comparisons import comparison_document, comparison_rows
from eapc.report.csv import Rows, analysis_rows
from eapc.report.data import data_document
from eapc.report.documents import (
    Document,
    analysis_document,
    hardware_document,
    prune_document,
    run_document,
    to_json,
)
from eapc.report.dynamic import dynamic_document
from eapc.report.finetuning import finetune_document
from eapc.report.layout import count, engineering, likeness_of, milliseconds, percent, plain
from eapc.report.sweeps import sweep_document, sweep_rows
from eapc.report.tables import metric_value
from eapc.report.timings import timing_document, timing_rows
from eapc.routing import DynamicNetwork

Result = TypeVar("Result")

Facts = Iterable[tuple[str, str]]

_SHOWN_ROWS = 8
"""Rows of a table in a notebook; `to_dataframe` has all."""


@dataclass(frozen=True)
class View(Generic[Result]):
    """What of a result is shown: in full as document and rows, in short as facts.

    `about` is what the result is of; notebooks get `columns` of the first rows.
    """

    name: str
    about: Callable[[Result], str]
    document: Callable[[Result], Document]
    table: Callable[[Result], Rows]
    facts: Callable[[Result], Facts]
    columns: tuple[str, ...] = ()

    def json(self, result: Result) -> str:
        """The document as text."""
        return to_json(self.document(result))

    def line(self, result: Result) -> str:
        """`<Pruned digits.onnx: energy 70.0%, sparsity 41.2%>`."""
        said = ", ".join(f"{name} {text}".strip() for name, text in self.facts(result))
        return plain(f"<{self.name} {self.about(result)}: {said}>")

    def html(self, result: Result) -> str:
        """The facts, and the first rows below them."""
        facts = "".join(_row((name, text), "th") for name, text in self.facts(result) if text)
        title = escape(plain(f"{self.name} {self.about(result)}"))
        whole = f"<table><caption>{title}</caption><tbody>{facts}</tbody></table>"
        return f"<div>{whole}{self._rows_html(result)}</div>"

    def _rows_html(self, result: Result) -> str:
        if not self.columns:
            return ""
        rows = self.table(result)[1]
        head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in self.columns)
        shown = (_row(map(_cell, map(row.get, self.columns))) for row in rows[:_SHOWN_ROWS])
        more = len(rows) - _SHOWN_ROWS
        left = f"<p>and {more:,} more: to_dataframe() has all</p>" if more > 0 else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(shown)}</tbody></table>{left}"


def _row(cells: Iterable[str], first: str = "td") -> str:
    texts = [escape(plain(text)) for text in cells]
    inner = "".join(f"<td>{text}</td>" for text in texts[1:])
    return f"<tr><{first}>{texts[0]}</{first}>{inner}</tr>"


def _cell(figure: object) -> str:
    if figure is None:
        return ""
    return engineering(figure) if isinstance(figure, int | float) else str(figure)


# --- facts ---------------------------------------------------------------------------------------


def _priced(report: EnergyReport) -> Iterator[tuple[str, str]]:
    energy, latency = report.energy_mac_units, report.latency_ms
    yield "energy", f"{engineering(energy)} MAC units per inference"
    if latency is not None:
        yield "latency", milliseconds(latency)
    yield "MACs", engineering(report.macs)
    yield count(len(report.nodes), "node"), ""
    if report.unmodelled:
        yield "not modelled", count(len(report.unmodelled), "node")


def _judged(accuracy: Accuracy | None, agreement: Agreement | None) -> Iterator[tuple[str, str]]:
    if accuracy is not None:
        values = (metric_value(accuracy, v) for v in (accuracy.before, accuracy.after))
        yield accuracy.title, " to ".join(values)
    elif agreement is not None:
        yield agreement.metric, likeness_of(agreement.metric, agreement.value)


def _pruned(done: Pruned) -> Iterator[tuple[str, str]]:
    yield done.name, done.shortfall or "met"
    yield "energy", percent(done.energy_ratio)
    if done.latency is not None:
        yield "latency", percent(done.latency.ratio)
    yield "zeros", percent(done.sparsity)
    yield from _judged(done.accuracy, done.agreement)
    if done.output is not None:
        yield "written to", str(done.output)


def _swept(done: Swept) -> Iterator[tuple[str, str]]:
    for row in done.rows:
        missed = f", {row.shortfall}" if row.shortfall else ""
        yield row.name, f"energy {percent(row.energy_ratio)}{missed}"


def _compared(done: Comparison) -> Iterator[tuple[str, str]]:
    yield "energy", percent(done.energy_ratio)
    if done.latency is not None:
        yield "latency", percent(done.latency.ratio.median)
    yield "file", percent(done.after.file_bytes / done.before.file_bytes)
    yield from _judged(done.accuracy, None)
    if done.likeness is not None:
        yield done.likeness.metric, likeness_of(done.likeness.metric, done.likeness.value)


def _profiled(done: Profiled) -> Iterator[tuple[str, str]]:
    yield "layers", str(len(done.machine.layers))
    yield "sum", milliseconds(done.sum_ms)
    if done.whole_ms is not None:
        yield "whole network", milliseconds(done.whole_ms)
    if done.missing:
        yield "not timed", count(len(done.missing), "layer")


def _timed(done: Timing) -> Iterator[tuple[str, str]]:
    yield "latency", f"{milliseconds(done.latency_ms)} per inference"
    yield count(len(done.nodes), "node"), ""
    if done.unmodelled:
        yield "not covered", count(len(done.unmodelled), "node")


def _ran(done: Ran) -> Iterator[tuple[str, str]]:
    yield "pipeline", done.pipeline
    if done.compilation.energy is not None:
        yield from _priced(done.compilation.energy)


def _dynamic(done: DynamicNetwork) -> Iterator[tuple[str, str]]:
    yield "energy", percent(done.energy_ratio)
    yield "sent on", percent(done.share)
    yield from _judged(done.judged, None)


def _tuned(done: FineTuned) -> Iterator[tuple[str, str]]:
    yield "loss", f"{done.tuned.before:.3g} to {done.tuned.after:.3g}"
    yield from _judged(done.accuracy, None)


def _described(done: DataDescription) -> Iterator[tuple[str, str]]:
    yield "samples", f"{done.samples:,}"
    yield "inputs", ", ".join(f"{fed.name} {fed.dtype} {fed.shape}" for fed in done.inputs)
    if done.misfit:
        yield "does not fit", done.misfit


# --- rows ----------------------------------------------------------------------------------------


def _rows(entries: Iterable[Mapping[str, object]]) -> Rows:
    """Rows of documents; columns as the first has them."""
    rows = list(entries)
    return list(rows[0]) if rows else [], rows


def _layers(done: Pruned) -> Rows:
    return _rows(prune_document(done)["layers"])


def _points(done: Profiled) -> Rows:
    """One row per layer and channel counts; layers with one axis have no input channels."""
    columns = ("layer", "in_channels", "out_channels", "latency_ms")
    return columns, [
        dict(zip(columns, (layer.layer, read, made, taken), strict=True))
        for layer in done.machine.layers
        for read, row in zip(layer.in_channels or (None,), layer.ms, strict=True)
        for made, taken in zip(layer.out_channels, row, strict=True)
    ]


def _ran_rows(done: Ran) -> Rows:
    report = done.compilation.energy
    return ([], []) if report is None else analysis_rows(report)


_OF_NODES = ("name", "op_type", "energy_mac_units", "macs")

ANALYSIS = View[Analysis](
    name="Analysis",
    about=lambda done: f"of {done.model.name} on {done.energy.hardware.name}",
    document=analysis_document,
    table=lambda done: analysis_rows(done.energy),
    facts=lambda done: _priced(done.energy),
    columns=_OF_NODES,
)
TIMING = View[Timing](
    name="Timing",
    about=lambda done: f"of {done.model.name} on {done.machine.name}",
    document=timing_document,
    table=timing_rows,
    facts=_timed,
    columns=("name", "op_type", "latency_ms"),
)
PRUNED = View[Pruned](
    name="Pruned",
    about=lambda done: done.model.name,
    document=prune_document,
    table=_layers,
    facts=_pruned,
    columns=("name", "sparsity", "weights", "nonzero_weights"),
)
SWEPT = View[Swept](
    name="Swept",
    about=lambda done: done.model.name,
    document=sweep_document,
    table=sweep_rows,
    facts=_swept,
    columns=("goal", "value", "energy_ratio", "sparsity", "accuracy"),
)
COMPARISON = View[Comparison](
    name="Comparison",
    about=lambda done: f"of {done.before.model.name} with {done.after.model.name}",
    document=comparison_document,
    table=comparison_rows,
    facts=_compared,
    columns=("figure", "before", "after", "ratio"),
)
PROFILED = View[Profiled](
    name="Profiled",
    about=lambda done: done.machine.name,
    document=lambda done: hardware_document(done.machine),
    table=_points,
    facts=_profiled,
)
RAN = View[Ran](
    name="Ran",
    about=lambda done: done.compilation.model.name,
    document=run_document,
    table=_ran_rows,
    facts=_ran,
    columns=_OF_NODES,
)
DYNAMIC_NETWORK = View[DynamicNetwork](
    name="DynamicNetwork",
    about=lambda done: done.original.model.name,
    document=dynamic_document,
    table=lambda done: _rows(
        {"source": level["source"], "energy_ratio": level["energy_ratio"]}
        | {"accuracy": level["accuracy"]["after"]}
        for level in dynamic_document(done)["networks"]
    ),
    facts=_dynamic,
    columns=("source", "energy_ratio", "accuracy"),
)
FINE_TUNED = View[FineTuned](
    name="FineTuned",
    about=lambda done: done.model.name,
    document=finetune_document,
    table=lambda done: _rows(map(asdict, done.tuned.epochs)),
    facts=_tuned,
)
DATA_DESCRIPTION = View[DataDescription](
    name="DataDescription",
    about=lambda done: f"of {done.path}",
    document=data_document,
    table=lambda done: _rows(data_document(done)["inputs"]),
    facts=_described,
)
