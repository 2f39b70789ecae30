"""Measured latencies as people and programs read them: table, JSON, CSV; a machine in brief."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Group, RenderableType

from eapc.commands.budgets import NO_GATE, Gate
from eapc.commands.machine_profile import Profiled
from eapc.commands.timing import NodeLatency, Timing
from eapc.energy import NamedNode, blocks_of
from eapc.hardware import MeasuredMachine
from eapc.report.budgets import budget_document, budget_facts
from eapc.report.csv import Rows, csv_text
from eapc.report.documents import Document, model_name, path_of
from eapc.report.grouping import ALL_ROWS, By, NodeGroup, RowChoice, by_cost, group_table, grouped
from eapc.report.hardware_files import hardware_facts, hardware_file
from eapc.report.layout import (
    Column,
    count,
    facts,
    metered,
    page,
    percent,
    plain,
    title,
    written_facts,
)
from eapc.report.tables import cost_table, coverage, left_out

_COLUMNS = (
    Column("node", "left", least=12),
    Column("operator", "left", least=12, cut="end"),
    Column("ms"),
    Column("share"),
    Column("running\nshare", spare=True),
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


def timing_table(
    timing: Timing,
    width: int,
    written: Sequence[Path] = (),
    rows: RowChoice = ALL_ROWS,
    gate: Gate = NO_GATE,
) -> Group:
    """Every node by its time, the sum, and what is not covered, in `width` characters."""
    machine = timing.machine
    heading = f"{timing.model.name} on {machine.name}, per inference at batch {timing.batch}"
    entries: list[tuple[str, RenderableType]] = [
        ("time", f"{timing.latency_ms:.4g} ms, {timing.overhead_ms:.2g} ms of it for each run"),
        *_energy(timing),
        *budget_facts(gate),
        ("measured", plain(f"{machine.date}, {_conditions(machine)}")),
        *hardware_facts(machine),
        *coverage(timing, width, "covered"),
        *(("note", plain(note)) for note in timing.notes),
        *written_facts(written),
    ]
    return page(title(heading), Group(*_rows(timing, width, rows)), facts(entries))


def _rows(timing: Timing, width: int, rows: RowChoice) -> Iterator[RenderableType]:
    """A row per node, block or operator, and what has none."""
    total, by = timing.latency_ms, rows.by or "node"
    if by == "node":
        shown, rest = by_cost(timing.nodes, _latency, total, width, rows.top)
        yield cost_table(_COLUMNS, shown, _latency, total, _cells, width)
        if rest:
            yield left_out(rest)
        return
    yield from group_table(
        time_groups(timing, by), total, by, width, rows.top, ("ms", "{:.4g}".format)
    )


def time_groups(timing: Timing, by: By) -> list[NodeGroup]:
    """The nodes of a timing by block or operator, with their ms; channels are work of their own."""
    if by == "block":
        names = blocks_of(NamedNode(n.key, n.fused_into, n.out_channels > 0) for n in timing.nodes)
    else:
        names = {n.key: n.op_type if by == "operator" else n.key for n in timing.nodes}
    return grouped((names[node.key], node.latency_ms, 0.0) for node in timing.nodes)


def _energy(timing: Timing) -> Iterator[tuple[str, RenderableType]]:
    """What the time comes to at the joules per time that one network took."""
    power, energy = timing.machine.power, timing.energy_j
    if power is None or energy is None:
        return
    share = f"as many joules per time as {power.network} took by {power.meter}"
    text = f"{metered(energy, 'J')} above idle, {share}; 95 % confidence in what was metered"
    yield "energy", plain(text)


def _latency(node: NodeLatency) -> float:
    return node.latency_ms


def _cells(node: NodeLatency) -> tuple[str, ...]:
    """The operator, marked where it is fused, the time and the channels."""
    operator = f"+ {node.op_type}" if node.fused_into else node.op_type
    channels = " > ".join(str(each) for each in (node.in_channels, node.out_channels) if each)
    return operator, f"{node.latency_ms:.4g}", channels if node.out_channels else ""


def timing_document(
    timing: Timing,
    warnings: Sequence[str] = (),
    output: Path | None = None,
    gate: Gate = NO_GATE,
) -> Document:
    """`eapc.analyze/1` of a measured machine: latencies, and null for every node's energy."""
    energy = timing.energy_j
    return {
        "schema": "eapc.analyze/1",
        "model": model_name(timing.model),
        "hardware": timing.machine.name,
        **hardware_file(timing.machine),
        "batch": timing.batch,
        "totals": {
            "energy_mac_units": None,
            "energy_pj": None if energy is None else 1e12 * energy.median,
            "energy_pj_low": None if energy is None else 1e12 * energy.low,
            "energy_pj_high": None if energy is None else 1e12 * energy.high,
            "latency_ms": timing.latency_ms,
            "overhead_ms": timing.overhead_ms,
            "modelled_nodes": len(timing.nodes),
            "unmodelled_nodes": len(timing.unmodelled),
        },
        **budget_document(gate),
        "nodes": [
            {**asdict(node), "energy_mac_units": None, "fused_into": node.fused_into or None}
            for node in timing.nodes
        ],
        "unmodelled": [asdict(entry) for entry in timing.unmodelled],
        "output": path_of(output),
        "warnings": [*timing.notes, *warnings],
    }


def timing_csv(timing: Timing) -> str:
    """A heading and the `timing_rows`."""
    return csv_text(*timing_rows(timing))


def timing_rows(timing: Timing) -> Rows:
    """One row per node; nodes that no measurement covers have the reason."""
    nodes = (
        {**asdict(node), "latency_share": node.latency_ms / timing.latency_ms}
        for node in timing.nodes
    )
    missing = ({**asdict(entry), "unmodelled": entry.reason} for entry in timing.unmodelled)
    return _CSV_COLUMNS, [*nodes, *missing]


def profile_table(
    profiled: Profiled, seconds: float, output: Path, written: Iterable[Path] = ()
) -> Group:
    """What was measured, how it adds up, and what could not be."""
    entries = [*profile_facts(profiled, seconds, output), *written_facts(written)]
    return page(title(profiled.machine.name), facts(entries))


def profile_facts(profiled: Profiled, seconds: float, output: Path) -> Iterator[tuple[str, str]]:
    """The same as facts, for pages too."""
    machine = profiled.machine
    points = sum(len(layer.ms) * len(layer.out_channels) for layer in machine.layers)
    layers = count(len(machine.layers), "distinct layer")
    wide = f"{machine.steps['in']} input and {machine.steps['out']} output channels wide"
    yield "measured", f"{layers} at {points:,} channel counts in {seconds:.0f} s"
    yield "conditions", plain(_conditions(machine))
    yield "steps", wide
    yield "sum of layers", _against_whole(profiled)
    yield from _power(machine)
    yield from (("not timed", plain(f"{key}: {reason}")) for key, reason in profiled.missing)
    yield from (("note", plain(note)) for note in profiled.notes)
    yield "written", plain(str(output))


def _power(machine: MeasuredMachine) -> Iterator[tuple[str, str]]:
    if (power := machine.power) is not None:
        yield "meter", plain(f"{power.meter}; 95 % confidence in brackets")
        yield "idle power", plain(metered(power.idle_w, "W"))
        yield "active power", plain(f"{metered(power.active_w, 'W')} above idle")
        yield "energy", plain(f"{metered(power.inference_j, 'J')} per inference, above idle")


def _against_whole(profiled: Profiled) -> str:
    text, whole = f"{profiled.sum_ms:.4g} ms", profiled.whole_ms
    if not whole:
        return text
    share = percent(profiled.sum_ms / whole)
    return f"{text}, {share} of the {whole:.4g} ms that the whole network takes"


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
        *(f"{name}: {text}" for name, text in _power(machine)),
    ]
