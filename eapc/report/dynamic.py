"""A dynamic network as table and document: share sent on, expected energy, accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.console import Group, RenderableType

from eapc.evaluation import Accuracy
from eapc.report.documents import Document, accuracy_of, model_name, path_of, totals
from eapc.report.hardware_files import hardware_facts, hardware_file
from eapc.report.layout import (
    Column,
    count,
    engineering,
    facts,
    page,
    percent,
    plain,
    seconds,
    table,
    title,
)
from eapc.report.tables import coverage, heading
from eapc.routing import DynamicNetwork, Level


def dynamic_table(done: DynamicNetwork, width: int) -> Group:
    """Everything known of a dynamic network, for an output of `width` characters."""
    columns = (
        Column("network", "left", least=12),
        Column("energy,\nMAC units"),
        Column("energy"),
        Column(f"{done.judged.title},\n{count(done.judged.samples, 'input')}"),
        Column("points lost,\n95 %"),
    )
    return page(
        title(heading(done.original.model.name, done.original.energy)),
        table(columns, list(_rows(done)), width),
        facts(_facts(done, width)),
    )


def _rows(done: DynamicNetwork) -> Iterator[tuple[str, ...]]:
    for level in done.singles:
        role = {done.mild.source: ", mild", done.aggressive.source: ", aggressive"}
        name = f"{level.source}{role.get(level.source, '')}"
        yield _row(done, name, level.energy.energy_mac_units, level.judged)
    yield _row(done, "dynamic, expected", done.energy_mac_units, done.judged)


def _row(done: DynamicNetwork, name: str, energy: float, judged: Accuracy) -> tuple[str, ...]:
    low, high = (100 * end for end in judged.loss_interval)
    lost = f"{low:.1f} to {high:.1f}"
    return name, engineering(energy), percent(done.ratio(energy)), percent(judged.after), lost


def _facts(done: DynamicNetwork, width: int) -> Iterator[tuple[str, RenderableType]]:
    low, high = done.share_interval
    judged = count(done.judged.samples, "input")
    yield "goal", plain(done.shortfall) or "met"
    yield (
        "sent on",
        f"{percent(done.share)} of {judged} that decided nothing, {percent(low)} to "
        f"{percent(high)} with 95 % confidence",
    )
    cheap, dear = (percent(done.ratio(done.energy_at(end))) for end in (low, high))
    parts = [percent(done.ratio(r.energy_mac_units)) for r in (done.first, done.second)]
    yield (
        "expected energy",
        f"{parts[0]} + {percent(done.share)} x {parts[1]} of the original's, {cheap} to {dear}",
    )
    yield "selector", f"{done.selection.selector.name}{_auc(done)}"
    fit, choose, _ = done.parts
    yield "decided on", f"{count(fit, 'input')} for the selector, {choose:,} for its threshold"
    yield "verdict", plain(done.verdict)
    for report in (done.first, done.second):
        yield from coverage(report, width) if report.unmodelled else ()
    yield from hardware_facts(done.original.energy.hardware)
    if done.output is not None:
        yield "written", plain(str(done.output))
    yield "time", seconds(done.seconds.get("total", 0.0))
    if done.rival:
        yield "note", done.rival
    if done.one_by_one:
        yield "note", "one input at a time: a run takes the mild network or does not"
    else:
        yield "note", "of a batch, the inputs that are sent on run through the mild network alone"


def _auc(done: DynamicNetwork) -> str:
    """How well the selector tells what the mild network mends, where that was compared."""
    auc = done.selection.auc
    if auc is None:
        return ": too few inputs gain to compare selectors"
    others = max((c.auc for c in done.selection.candidates if c.auc > auc), default=None)
    best = "the best" if others is None else f"the best {others:.2f}"
    return f", area under the curve {auc:.2f}, {best} of {len(done.selection.candidates)} tried"


def dynamic_document(done: DynamicNetwork, warnings: Sequence[str] = ()) -> Document:
    """`eapc.dynamic/1`: the networks, the selector, the share sent on, what it all comes to."""
    low, high = done.share_interval
    best = done.best_single
    return {
        "schema": "eapc.dynamic/1",
        "model": model_name(done.original.model),
        "hardware": done.original.energy.hardware.name,
        **hardware_file(done.original.energy.hardware),
        "batch": done.original.energy.batch,
        "networks": [_network(done, level) for level in done.singles],
        "mild": done.mild.source,
        "aggressive": done.aggressive.source,
        "selector": {
            "name": done.selection.selector.name,
            "auc": done.selection.auc,
            "candidates": [asdict(each) for each in done.selection.candidates],
            "threshold": done.cut.value,
        },
        "max_drop": done.max_drop,
        "samples": dict(zip(("fit", "threshold", "judging"), done.parts, strict=True)),
        "share": {"value": done.share, "interval_95": [low, high], "chosen_at": done.cut.share},
        "expected_energy": {
            "energy_mac_units": done.energy_mac_units,
            "energy_ratio": done.energy_ratio,
            "energy_ratio_interval_95": [done.ratio(done.energy_at(end)) for end in (low, high)],
            "first": totals(done.first),
            "second": totals(done.second),
        },
        "accuracy": accuracy_of(done.judged),
        "best_single": None if best is None else best.source,
        "single_is_better": done.single_is_better,
        "verdict": done.verdict,
        "rival": done.rival or None,
        "goal_met": done.cut.is_kept,
        "confirmed": not done.shortfall,
        "reason": done.shortfall or None,
        "one_by_one": done.one_by_one,
        "output": path_of(done.output),
        "seconds": dict(done.seconds),
        "warnings": list(warnings),
    }


def _network(done: DynamicNetwork, level: Level) -> Document:
    return {
        "source": level.source,
        "modelled": totals(level.energy),
        "energy_ratio": done.ratio(level.energy.energy_mac_units),
        "accuracy": accuracy_of(level.judged),
    }
