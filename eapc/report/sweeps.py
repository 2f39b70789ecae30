"""A sweep as table, document and comma-separated values: one row per goal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group

from eapc.classes import class_map
from eapc.commands.sweep import Swept
from eapc.goals import Pruned
from eapc.hardware import MeasuredMachine
from eapc.report.classes import classes_said
from eapc.report.csv import Rows, csv_text
from eapc.report.documents import (
    Document,
    accuracy_of,
    agreement_of,
    class_document,
    latency_of,
    model_name,
    path_of,
    totals,
)
from eapc.report.goals import asked_document, shown_cost, trial_document
from eapc.report.hardware_files import hardware_facts, hardware_file
from eapc.report.layout import (
    Column,
    count,
    facts,
    judged_on,
    likeness_of,
    page,
    percent,
    plain,
    seconds,
    table_of,
    title,
    written_facts,
)
from eapc.report.pruning import NOT_MEASURED
from eapc.report.tables import heading, metric_value
from eapc.report.widths import width_rows, widths_of, widths_text

_COLUMNS = (
    "goal",
    "value",
    "goal_met",
    "confirmed",
    "energy_ratio",
    "sparsity",
    "weights_bits",
    "activations_bits",
    "accuracy_metric",
    "accuracy_before",
    "accuracy",
    "accuracy_samples",
    "agreement_metric",
    "agreement",
    "agreement_samples",
    "agreement_fitted",
    "seconds",
    "reason",
    "output",
    "latency_ms",
    "latency_ratio",
    "hardware_path",
    "hardware_sha256",
    "reached",
    "bound",
    "bound_value",
    "bound_reached",
)


def sweep_table(swept: Swept, width: int, written: Iterable[Path] = ()) -> Group:
    """Everything a sweep found, for an output of `width` characters."""
    return page(
        title(heading(swept.model.name, swept.before, _measured(swept))),
        table_of(sweep_columns(swept.rows), width),
        facts([*sweep_facts(swept), *written_facts(written)]),
    )


def sweep_facts(swept: Swept) -> list[tuple[str, str]]:
    """Goals that were missed, files, and what the figures were measured on."""
    missed = [(row.name, plain(row.shortfall)) for row in swept.missed]
    written = written_facts(row.output for row in swept.rows if row.output)
    hardware = hardware_facts(swept.before.hardware, _measured(swept))
    measured_on = *_measured_on(swept.rows), *_classes(swept.rows)
    quantized = *_widths(swept), *_shared_notes(swept.rows)
    said = (*measured_on, *quantized, *map(plain, _made_up(swept)), NOT_MEASURED)
    notes = [("note", note) for note in said]
    return [*missed, *written, *hardware, ("time", seconds(swept.seconds)), *notes]


def _measured(swept: Swept) -> MeasuredMachine | None:
    """The machine whose latencies were read, if any."""
    return swept.rows[0].compilation.measured if swept.rows else None


def _classes(rows: Sequence[Pruned]) -> Iterator[str]:
    """Which classes the network was cut to, and what that alone saves."""
    kept, uncut = class_map(rows[0].model), rows[0].uncut
    if kept is not None:
        yield f"cut to classes {classes_said(kept)}"
    if uncut is not None and uncut.energy_mac_units:
        ratio = rows[0].before.energy_mac_units / uncut.energy_mac_units
        yield f"energies are of the cut network's, which has {percent(ratio)} of the uncut one's"


def _widths(swept: Swept) -> Iterator[str]:
    """What has got another width, in all rows."""
    for name, before, after, _ in width_rows(swept.before, swept.rows[0].after):
        yield f"{name}: {before} before, {after} after"


def _shared_notes(rows: Sequence[Pruned]) -> Iterator[str]:
    """What passes have to say of every row alike."""
    first, *others = (row.compilation.record.notes for row in rows)
    yield from (plain(note) for note in first if all(note in other for other in others))


def _made_up(swept: Swept) -> tuple[str, ...]:
    """What is known of inputs that were made up."""
    if not swept.rows:
        return ()
    first = swept.rows[0]
    return (*([f"made-up inputs: {first.inputs}"] if first.inputs else []), *first.assumed)


def sweep_columns(rows: Sequence[Pruned]) -> dict[Column, list[str]]:
    """What a table shows of each goal."""
    columns = {
        Column("goal", "left"): [row.name for row in rows],
        **_latency_columns(rows),
        Column("energy"): [percent(row.energy_ratio) for row in rows],
        Column("zeros"): [percent(row.sparsity) for row in rows],
    }
    if (cost := shown_cost(rows[0].goal)) is not None:
        columns[Column(cost.cost)] = [percent(row.goal.parts[0].reached(row)) for row in rows]
    accuracies = [row.accuracy for row in rows]
    if any(accuracies):
        name = plain(next(known.metric for known in accuracies if known))
        before = [metric_value(known, known.before) if known else "-" for known in accuracies]
        after = [metric_value(known, known.after) if known else "-" for known in accuracies]
        columns |= {Column(f"{name}\nbefore"): before, Column(f"{name}\nafter"): after}
    agreements = [row.agreement for row in rows]
    if metric := next((known.metric for known in agreements if known), ""):
        columns[Column(metric.replace(" ", "\n", 1))] = [
            likeness_of(known.metric, known.value) if known else "-" for known in agreements
        ]
    columns[Column("time")] = [seconds(row.seconds["total"]) for row in rows]
    columns[Column("met", "left")] = [_met(row) for row in rows]
    return columns


def _latency_columns(rows: Sequence[Pruned]) -> dict[Column, list[str]]:
    """Milliseconds, and what they are of the whole network's; nothing where none are known."""
    latencies = [row.latency for row in rows]
    if not any(latencies):
        return {}
    return {
        Column("latency,\nms"): [f"{known.after_ms:.3g}" if known else "-" for known in latencies],
        Column("latency"): [percent(known.ratio if known else None) for known in latencies],
    }


def _met(row: Pruned) -> str:
    if not row.goal_met:
        return "no"
    return "yes" if row.confirmed else "not confirmed"


def _measured_on(rows: Sequence[Pruned]) -> list[str]:
    """On how many inputs each figure was measured, and which flatter."""
    accuracies = {(row.accuracy.title, row.accuracy.samples) for row in rows if row.accuracy}
    notes = [f"{title} is on {count(samples, 'input')}" for title, samples in sorted(accuracies)]
    agreements = {(row.agreement.samples, row.fitted) for row in rows if row.agreement}
    for samples, fitted in sorted(agreements):
        notes.append(f"agreement is on {judged_on(samples, fitted)}")
    return notes


def sweep_document(swept: Swept, warnings: Sequence[str] = ()) -> Document:
    """`eapc.sweep/1`: the dense network, then a row per goal."""
    return {
        "schema": "eapc.sweep/1",
        "model": model_name(swept.model),
        "hardware": swept.before.hardware.name,
        **hardware_file(swept.before.hardware, _measured(swept)),
        "batch": swept.before.batch,
        "before": totals(swept.before),
        "bits": widths_of(swept.before),
        "rows": [_document(row) for row in swept.rows],
        **class_document(swept.rows[0]),
        "synthesised": swept.synthesised,
        "synthesised_inputs": (swept.rows[0].inputs or None) if swept.rows else None,
        "assumed_sizes": list(swept.rows[0].assumed) if swept.rows else [],
        "seconds": swept.seconds,
        "warnings": list(warnings),
    }


def _document(row: Pruned) -> Document:
    first = row.goal.parts[0]
    return {
        "goal": first.option.removeprefix("--"),
        "value": str(value) if isinstance(value := first.value, Path) else value,
        "asked": asked_document(row),
        "trials": [trial_document(trial) for trial in row.trials],
        "goal_met": row.goal_met,
        "confirmed": row.confirmed,
        "reason": row.reason or row.doubt or None,
        "latency": latency_of(row.latency),
        "energy_ratio": row.energy_ratio,
        "sparsity": row.sparsity,
        "bits": widths_of(row.after),
        "accuracy": accuracy_of(row.accuracy),
        "agreement": agreement_of(row.agreement),
        "agreement_fitted": row.fitted,
        "notes": list(row.compilation.record.notes),
        "output": path_of(row.output),
        "seconds": row.seconds["total"],
    }


def sweep_csv(swept: Swept) -> str:
    """A heading and one row per goal; what is not known is empty."""
    return csv_text(*sweep_rows(swept))


def sweep_rows(swept: Swept) -> Rows:
    """One row per goal."""
    return _COLUMNS, list(map(_figures, swept.rows))


def _figures(row: Pruned) -> dict[str, Any]:
    accuracy, agreement = row.accuracy, row.agreement
    figures = _document(row) | {"accuracy": None, "agreement": None}
    first, *bounds = figures["asked"]
    figures["reached"] = first["reached"]
    for bound in bounds:
        name = bound["option"].removeprefix("--")
        told = {"bound": name, "bound_value": bound["value"], "bound_reached": bound["reached"]}
        figures |= told
    figures |= {f"{name}_bits": widths_text(bits) for name, bits in widths_of(row.after).items()}
    if (latency := row.latency) is not None:
        figures |= {"latency_ms": latency.after_ms, "latency_ratio": latency.ratio}
    machine = row.compilation.machine
    if (source := machine.source) is not None:
        figures |= {"hardware_path": source.path, "hardware_sha256": source.digest}
    if accuracy is not None:
        figures |= {
            "accuracy_metric": accuracy.metric,
            "accuracy_before": accuracy.before,
            "accuracy": accuracy.after,
            "accuracy_samples": accuracy.samples,
        }
    if agreement is not None:
        figures |= {
            "agreement_metric": agreement.metric,
            "agreement": agreement.value,
            "agreement_samples": agreement.samples,
        }
    return figures
