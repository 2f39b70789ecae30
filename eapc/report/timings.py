"""Measured latencies as people and programs read them: table, JSON, CSV; a machine in brief."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eapc.commands.machine_profile import Profiled
from eapc.commands.timing import NodeLatency, Timing
from eapc.hardware import MeasuredMachine
from eapc.report.documents import Document, model_name, path_of
from eapc.report.layout import UNLIMITED, Column, facts, plain, spaced, table, title
from eapc.report.numbers import count, percent
from eapc.report.tables import tally, unmodelled_table

_ALWAYS_SHOWN = 40
_TAIL_SHARE = 0.0005

_COLUMNS = (
    Column("node", "left", least=12),
    Column("operator", "left", least=12, cut="end"),
    Column("ms"),
    Column("share"),
    Column("running\nshare"),
    Column("channels"),
)
_CSV_COLUMNS = (
    "key",
    "name",
    "op_type",
    "latency_ms",
    "latency_share",
    "in_channels",
    "out_channels",
    "fused_into",
    "unmodelled",
)


def timing_table(timing: Timing, width: int, written: Sequence[Path] = ()) -> Group:
    """Every node by its time, the sum, and what is not covered, in `width` characters."""
    machine = timing.machine
    heading = f"{timing.model.name} on {machine.name}, per inference at batch {timing.batch}"
    missing, known = timing.unmodelled, len(timing.nodes)
    said = f"{known:,} of {count(known + len(missing), 'node')}"
    entries: list[tuple[str, RenderableType]] = [
        ("time", f"{timing.latency_ms:.4g} ms, {timing.overhead_ms:.2g} ms of it for each run"),
        ("measured", plain(f"{machine.date}, {_conditions(machine)}")),
        ("covered", f"{said}; the total leaves out the others:" if missing else said),
        *((("", unmodelled_table(missing, width)),) if missing else ()),
        *(("note", plain(note)) for note in timing.notes),
        *(("written", plain(str(path))) for path in written),
    ]
    return Group(*spaced([title(heading), *_nodes(timing, width), facts(entries)]))


def _nodes(timing: Timing, width: int) -> Iterator[RenderableType]:
    ranked = sorted(timing.nodes, key=lambda node: (-node.latency_ms, node.key))
    costly = [node for node in ranked if node.latency_ms > 0]
    notable = [n for n in costly if n.latency_ms >= _TAIL_SHARE * timing.latency_ms]
    shown = costly[: max(len(notable), _ALWAYS_SHOWN)] if width < UNLIMITED else ranked
    yield _node_table(shown, timing.latency_ms, width)
    rest = ranked[len(shown) :]
    if rest:
        kinds = tally(node.op_type for node in rest)
        yield Text(f"{count(len(rest), 'node')} not shown: {kinds}", style="dim")


def _node_table(nodes: Sequence[NodeLatency], total: float, width: int) -> Table:
    rows, running = [], 0.0
    for node in nodes:
        running += node.latency_ms
        rows.append(
            (
                node.key,
                f"+ {node.op_type}" if node.fused_into else node.op_type,
                f"{node.latency_ms:.4g}",
                percent(node.latency_ms / total),
                percent(running / total),
                _channels(node),
            )
        )
    fused = {place for place, node in enumerate(nodes) if node.fused_into}
    return table(_COLUMNS, rows, width, dimmed=fused)


def _channels(node: NodeLatency) -> str:
    if not node.out_channels:
        return ""
    return (
        f"{node.in_channels} > {node.out_channels}" if node.in_channels else f"{node.out_channels}"
    )


def timing_document(
    timing: Timing, warnings: Sequence[str] = (), output: Path | None = None
) -> Document:
    """`eapc.analyze/1` of a measured machine: latencies, and null for every energy."""
    return {
        "schema": "eapc.analyze/1",
        "model": model_name(timing.model),
        "hardware": timing.machine.name,
        "batch": timing.batch,
        "totals": {
            "energy_mac_units": None,
            "energy_pj": None,
            "latency_ms": timing.latency_ms,
            "overhead_ms": timing.overhead_ms,
            "modelled_nodes": len(timing.nodes),
            "unmodelled_nodes": len(timing.unmodelled),
        },
        "nodes": [
            {**asdict(node), "energy_mac_units": None, "fused_into": node.fused_into or None}
            for node in timing.nodes
        ],
        "unmodelled": [asdict(entry) for entry in timing.unmodelled],
        "output": path_of(output),
        "warnings": [*timing.notes, *warnings],
    }


def timing_csv(timing: Timing) -> str:
    """A heading and one row per node; nodes that no measurement covers have the reason."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, _CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for node in timing.nodes:
        writer.writerow({**asdict(node), "latency_share": node.latency_ms / timing.latency_ms})
    for entry in timing.unmodelled:
        row = {"key": entry.key, "name": entry.name, "op_type": entry.op_type}
        writer.writerow({**row, "unmodelled": entry.reason})
    return stream.getvalue()


def profile_table(profiled: Profiled, seconds: float, written: Path) -> Group:
    """What was measured, how it adds up, and what could not be."""
    machine = profiled.machine
    points = sum(len(layer.ms) * len(layer.out_channels) for layer in machine.layers)
    layers = count(len(machine.layers), "distinct layer")
    entries: list[tuple[str, RenderableType]] = [
        ("measured", f"{layers} at {points:,} channel counts in {seconds:.0f} s"),
        ("conditions", plain(_conditions(machine))),
        ("steps", f"{machine.steps['in']} input and {machine.steps['out']} output channels wide"),
        ("sum of layers", _against_whole(profiled)),
        *(("not timed", plain(f"{key}: {reason}")) for key, reason in profiled.missing),
        *(("note", plain(note)) for note in profiled.notes),
        ("written", plain(str(written))),
    ]
    return Group(*spaced([title(machine.name), facts(entries)]))


def _against_whole(profiled: Profiled) -> str:
    text = f"{profiled.sum_ms:.4g} ms"
    if not profiled.whole_ms:
        return text
    share = percent(profiled.sum_ms / profiled.whole_ms)
    return f"{text}, {share} of the {profiled.whole_ms:.4g} ms that the whole network takes"


def _conditions(machine: MeasuredMachine) -> str:
    threads = count(machine.threads, "thread")
    return f"{machine.runtime}, {threads}, {machine.cpu}, the quickest of {machine.repeats} runs"


def machine_summary(machine: MeasuredMachine) -> list[str]:
    """A measured machine in a few lines."""
    steps = f"steps of {machine.steps['in']} input and {machine.steps['out']} output channels"
    points = sum(len(layer.ms) * len(layer.out_channels) for layer in machine.layers)
    return [
        f"{machine.name}: {machine.description}",
        f"measured {machine.date}: {_conditions(machine)}, batch {machine.batch}",
        f"{count(len(machine.layers), 'layer')} at {points:,} channel counts, {steps}",
    ]
