"""Two models side by side, as table, document and comma-separated values.

Energy is modelled for a machine and latency measured on this computer: each says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rich.console import Group, RenderableType

from eapc.commands.budgets import NO_GATE, Gate
from eapc.commands.comparison import Comparison, Side
from eapc.commands.turns import RuntimeEnergy, RuntimeLatency
from eapc.evaluation import TOP1
from eapc.profiling import IntegerUse
from eapc.report.budgets import budget_facts, ratio_budget_document
from eapc.report.classes import classes_said, map_document
from eapc.report.csv import Rows, csv_text
from eapc.report.documents import Document, accuracy_of, model_name, totals
from eapc.report.grouping import ALL_ROWS, RowChoice, change_table
from eapc.report.hardware_files import hardware_facts, hardware_file
from eapc.report.layout import (
    Column,
    count,
    engineering,
    facts,
    joules,
    likeness_of,
    metered,
    milliseconds,
    page,
    percent,
    plain,
    table,
    title,
    written_facts,
)
from eapc.report.tables import accuracy_row, coverage, heading
from eapc.report.uncertainty import (
    energy_uncertainty,
    interval_document,
    ratio_uncertainty,
    validation_document,
)


@dataclass(frozen=True)
class Figure:
    """A figure of both models: its key, how a table calls and writes it."""

    key: str
    label: str
    before: float
    after: float
    shown: Callable[[float], str] = engineering
    measured_ratio: float | None = None
    comparable: bool = True

    @property
    def ratio(self) -> float | None:
        """After over before, unless it was measured by itself; None where before is nothing."""
        if not self.comparable:
            return None
        if self.measured_ratio is not None:
            return self.measured_ratio
        return self.after / self.before if self.before else None


def figures_of(compared: Comparison) -> Iterator[Figure]:
    """What both models have of everything that is better smaller."""
    before, after = compared.before, compared.after
    one, two = before.energy, after.energy
    yield Figure("parameters", "parameters", before.parameters, after.parameters)
    yield Figure("nonzero_weights", "non-zero weights", one.nonzero_weights, two.nonzero_weights)
    yield Figure(
        "file_bytes",
        "file size",
        before.file_bytes,
        after.file_bytes,
        partial(engineering, unit="B"),
    )
    yield Figure("macs", "MACs", one.macs, two.macs)
    both = "MACs, both operands non-zero"
    yield Figure("nonskipped_macs", both, one.nonskipped_macs, two.nonskipped_macs)
    energies = one.energy_mac_units, two.energy_mac_units
    yield Figure("energy_mac_units", "modelled energy, MAC units", *energies)
    if one.energy_pj is not None and two.energy_pj is not None:
        yield Figure("energy_pj", "modelled energy", one.energy_pj, two.energy_pj, joules)
    if (latency := compared.latency) is not None:
        times = latency.before_ms, latency.after_ms
        ratio = latency.ratio.median
        yield Figure("measured_latency_ms", "measured latency", *times, milliseconds, ratio)
    if (energy := compared.metered) is not None:
        yield _metered_figure(energy)


def _metered_figure(energy: RuntimeEnergy) -> Figure:
    """Joules of running both here; without a ratio where before may be nothing."""
    ratio = energy.ratio
    return Figure(
        "measured_energy_j",
        "measured energy above idle",
        energy.before_j.median,
        energy.after_j.median,
        partial(engineering, unit="J"),
        None if ratio is None else ratio.median,
        comparable=ratio is not None,
    )


def comparison_table(
    compared: Comparison,
    width: int,
    rows: RowChoice = ALL_ROWS,
    gate: Gate = NO_GATE,
    written: Iterable[Path] = (),
) -> Group:
    """Everything known of two models, for an output of `width` characters.

    Energies of single nodes, blocks or operators are in it where `rows` asks for them.
    """
    before, after = compared.before.energy, compared.after.energy
    changes = [Group(*change_table(before, after, rows, width))] if rows.is_given else []
    models = f"{compared.before.model.name} and {compared.after.model.name}"
    columns = (Column("", "left"), Column("before"), Column("after"), Column("ratio"))
    return page(
        title(heading(models, compared.before.energy)),
        table(columns, list(shown_figures(compared)), width),
        *changes,
        facts([*budget_facts(gate), *comparison_facts(compared, width), *written_facts(written)]),
    )


def shown_figures(compared: Comparison) -> Iterator[tuple[str, str, str, str]]:
    """(figure, before, after, how they compare)."""
    for figure in figures_of(compared):
        amounts = figure.shown(figure.before), figure.shown(figure.after)
        yield figure.label, *amounts, percent(figure.ratio)
    before, after = (integer_nodes(each.integers) for each in (compared.before, compared.after))
    if before or after:
        yield "nodes on integers", before or "none", after or "none", ""
    yield from accuracy_row(compared.accuracy)


def integer_nodes(use: IntegerUse) -> str:
    """`28 of 29`: how many of the nodes that could run on integers do; empty for float files."""
    fused, able = use.counts
    return f"{fused} of {able}" if able else ""


def integer_facts(sides: Sequence[Side]) -> Iterator[tuple[str, str]]:
    """By operator, for each file that has codes."""
    for side in sides:
        if side.integers.able:
            yield "on integers", plain(f"{side.model.name}: {side.integers}")


def comparison_facts(compared: Comparison, width: int) -> Iterator[tuple[str, RenderableType]]:
    """How sure the figures are and what they were measured on, in `width` characters."""
    before, after = compared.before.energy, compared.after.energy
    yield from ratio_uncertainty(before, after)
    yield "uncertainty", energy_uncertainty(before.hardware)
    yield from hardware_facts(before.hardware)
    if compared.classes is not None:
        yield "answers", f"of both on the classes kept: {classes_said(compared.classes)}"
    if (latency := compared.latency) is not None:
        yield "latency", measured_latency(latency)
    if (energy := compared.metered) is not None:
        yield "energy", plain(_metered(energy))
        yield "energy ratio", plain(_metered_ratio(energy, compared))
    if (likeness := compared.likeness) is not None:
        value = likeness_of(likeness.metric, likeness.value)
        kind = "made-up input" if compared.made_up else "input"
        name = likeness.metric.removeprefix("relative ")
        yield name, f"{value} on {count(likeness.samples, kind)}"
    if compared.inputs:
        yield "made-up inputs", plain(compared.inputs)
    for side in (compared.before, compared.after):
        if side.energy.unmodelled:
            yield "energy of", plain(side.model.name)
            yield from coverage(side.energy, width)
    yield from integer_facts((compared.before, compared.after))
    yield from (("note", plain(note)) for note in compared.notes)
    measured = "latency measured" if compared.latency is not None else ""
    measured = "the rest measured" if compared.metered is not None else measured
    here = f", {measured} on this computer" if measured else ""
    yield "note", f"energy is modelled for the machine named above{here}"


def measured_latency(latency: RuntimeLatency) -> str:
    """Under what conditions, and how sure the ratio is."""
    ratio = latency.ratio
    return (
        f"onnxruntime, {count(latency.threads, 'thread')}, batch {latency.batch}; medians of "
        f"{count(latency.repeats, 'round')} of both in turns; the ratio lies between "
        f"{percent(ratio.low)} and {percent(ratio.high)} with 95 % confidence"
    )


def _metered(energy: RuntimeEnergy) -> str:
    """By which meter and how, and how sure the joules are."""
    before, after = metered(energy.before_j, "J"), metered(energy.after_j, "J")
    return (
        f"{energy.meter}, {count(energy.threads, 'thread')}, batch {energy.batch}: {before} and "
        f"{after} per inference with 95 % confidence, above {metered(energy.idle_w, 'W')} of "
        f"idling; medians of {count(energy.rounds, 'round')} of both in turns, "
        f"{energy.window_s:.2g} s and longer each"
    )


def _metered_ratio(energy: RuntimeEnergy, compared: Comparison) -> str:
    """The measured ratio beside the modelled one."""
    machine = compared.before.energy.hardware.name
    modelled = f"modelled for {machine}: {percent(compared.energy_ratio)}"
    if (ratio := energy.ratio) is None:
        return f"not known, before takes too little above idling; {modelled}"
    low, high = percent(ratio.low), percent(ratio.high)
    return f"measured {percent(ratio.median)}, {low} to {high} with 95 % confidence; {modelled}"


def comparison_document(
    compared: Comparison, warnings: Sequence[str] = (), gate: Gate = NO_GATE
) -> Document:
    """`eapc.compare/1`: both models, ratios of after to before, null where before is nothing."""
    report, latency = compared.before.energy, compared.latency
    return {
        "schema": "eapc.compare/1",
        "hardware": report.hardware.name,
        **hardware_file(report.hardware),
        "validation": validation_document(report.hardware.validation),
        "batch": report.batch,
        "before": _side(compared.before),
        "after": _side(compared.after),
        "ratios": {figure.key: figure.ratio for figure in figures_of(compared)},
        "energy_ratio_interval": interval_document(compared.energy_ratio_interval),
        **ratio_budget_document(gate),
        "measured_latency": None
        if latency is None
        else {"runtime": "onnxruntime"} | asdict(latency),
        "measured_energy": _metered_document(compared.metered),
        "accuracy": accuracy_of(compared.accuracy),
        "likeness": None if compared.likeness is None else asdict(compared.likeness),
        "made_up_inputs": compared.made_up,
        "synthesised_inputs": compared.inputs or None,
        **({} if compared.classes is None else {"classes": map_document(compared.classes)}),
        "warnings": [*compared.notes, *warnings],
    }


def _metered_document(energy: RuntimeEnergy | None) -> Document | None:
    if energy is None:
        return None
    amounts = {key: getattr(energy, key).model_dump() for key in ("before_j", "after_j", "idle_w")}
    return {"runtime": "onnxruntime"} | asdict(energy) | amounts


def _side(side: Side) -> Document:
    return {
        "model": model_name(side.model),
        "parameters": side.parameters,
        "file_bytes": side.file_bytes,
        "integer_nodes": {"able": dict(side.integers.able), "fused": dict(side.integers.fused)},
        "modelled": totals(side.energy),
    }


def comparison_csv(compared: Comparison) -> str:
    """A heading and the `comparison_rows`."""
    return csv_text(*comparison_rows(compared))


def comparison_rows(compared: Comparison) -> Rows:
    """One row per figure: before, after and their ratio, empty where unknown."""
    columns = ("figure", "before", "after", "ratio")
    rows: list[tuple[object, ...]] = [
        (figure.key, figure.before, figure.after, figure.ratio) for figure in figures_of(compared)
    ]
    if (accuracy := compared.accuracy) is not None:
        name = "accuracy" if accuracy.metric == TOP1 else accuracy.metric
        rows.append((name, accuracy.before, accuracy.after, None))
    if (likeness := compared.likeness) is not None:
        rows.append((likeness.metric, None, likeness.value, None))
    return columns, [dict(zip(columns, row, strict=True)) for row in rows]
