"""A fine-tuned model as people read it, and as one document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group

from eapc.commands.finetuning import FineTuned
from eapc.report.documents import (
    Document,
    accuracy_of,
    model_name,
    path_of,
    totals,
    training_of,
)
from eapc.report.hardware_files import hardware_facts, hardware_file
from eapc.report.layout import Column, facts, page, percent, plain, seconds, table, title
from eapc.report.pruning import trained
from eapc.report.tables import heading, metric_value


def finetune_table(done: FineTuned, width: int) -> Group:
    """Losses, accuracy and energy before and after, for an output of `width` characters."""
    columns = (Column("", "left"), Column("before"), Column("after"))
    entries = [
        *trained(done.tuned),
        *hardware_facts(done.after.hardware),
        ("pipeline", plain(done.pipeline)),
        *([("output", plain(str(done.output)))] if done.output else []),
        ("time", seconds(done.seconds)),
    ]
    return page(
        title(heading(done.model.name, done.after)),
        table(columns, list(_changes(done)), width),
        facts(entries),
    )


def _changes(done: FineTuned) -> Iterator[tuple[str, str, str]]:
    before, after = done.before, done.after
    ratio = after.energy_mac_units / before.energy_mac_units if before.energy_mac_units else 1.0
    yield "energy", "100.0%", percent(ratio)
    yield "weights not 0", f"{before.nonzero_weights:,}", f"{after.nonzero_weights:,}"
    if done.pruned and done.accuracy:
        name, pruned, tuned = done.accuracy.title, done.pruned, done.accuracy
        yield name, metric_value(pruned, pruned.after), metric_value(tuned, tuned.after)
        yield "  of the original", metric_value(tuned, tuned.before), ""


def finetune_document(done: FineTuned, warnings: Sequence[str] = ()) -> Document:
    """`eapc.finetune/1`: losses are relative squared errors of the outputs, or cross-entropy."""
    return {
        "schema": "eapc.finetune/1",
        "model": model_name(done.model),
        **hardware_file(done.after.hardware),
        "pipeline": done.pipeline,
        "before": totals(done.before),
        "after": totals(done.after),
        "training": training_of(done.tuned),
        "pruned_accuracy": accuracy_of(done.pruned),
        "accuracy": accuracy_of(done.accuracy),
        "output": path_of(done.output),
        "seconds": done.seconds,
        "warnings": list(warnings),
    }
