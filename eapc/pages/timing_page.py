"""The page of an analysis on a measured machine: where the time goes."""

from __future__ import annotations

from collections.abc import Iterable

from eapc.commands.timing import Timing
from eapc.pages.analysis_page import coverage, machine_fact, unmodelled_section
from eapc.pages.chart import Chart
from eapc.pages.energy_charts import GROUPINGS, StackedBar, stacked
from eapc.pages.network_chart import drawing
from eapc.pages.page import Entry, Page, PageSection, Part, Sheet, Switch
from eapc.report.grouping import By
from eapc.report.hardware_files import hardware_facts
from eapc.report.layout import milliseconds, percent
from eapc.report.timings import time_groups

OVERHEAD = "(a run by itself)"


def timing_page(timing: Timing, warnings: Iterable[str] = ()) -> Page:
    """Everything that a machine's measurements tell of a network."""
    name, machine = timing.model.name, timing.machine.name
    facts = [
        ("time", f"{timing.latency_ms:.3g} ms, as layers were measured one by one"),
        machine_fact(timing.machine),
        *hardware_facts(timing.machine),
        ("batch", str(timing.batch)),
        ("covered", coverage(timing)),
        *(("note", note) for note in timing.notes),
        *(("warning", warning) for warning in warnings),
    ]
    charts: dict[str, Part] = {grouping: time_chart(timing, grouping) for grouping in GROUPINGS}
    sections = [
        PageSection("Where the time goes", [Switch("grouped by", charts)]),
        PageSection("The network", [_drawing(timing)]),
        PageSection("Every node", [_table(timing)]),
        *unmodelled_section(timing.unmodelled),
    ]
    return Page(f"{name} on {machine}, per inference at batch {timing.batch}", facts, sections)


def time_chart(timing: Timing, grouping: By = "node") -> Chart:
    """The time of a network in seconds, the slowest first."""
    bars = time_bars(timing, grouping)
    return Chart(f"time by {grouping}", stacked(bars, ("time",), "time, s", grouping))


def time_bars(timing: Timing, grouping: By) -> list[StackedBar]:
    """Seconds of each group that takes any, and of a run by itself, the most first."""
    took = [(group.key, group.cost) for group in time_groups(timing, grouping)]
    took.append((OVERHEAD, timing.overhead_ms))
    bars = [StackedBar(name, {"time": ms / 1e3}) for name, ms in took if ms > 0]
    return sorted(bars, key=lambda bar: -bar.total)


def _drawing(timing: Timing) -> Part:
    costs = {node.key: node.latency_ms for node in timing.nodes}
    total = timing.latency_ms or 1.0
    reasons = {node.key: node.reason for node in timing.unmodelled}

    def said(amount: float) -> str:
        return f"{milliseconds(amount)}, {percent(amount / total)} of the time"

    return drawing("time of the network", timing.model, costs, said, reasons)


def _table(timing: Timing) -> Sheet:
    total = timing.latency_ms or 1.0
    rows = [
        [
            Entry(node.key),
            Entry(f"{node.op_type}{' (fused)' if node.fused_into else ''}"),
            Entry(milliseconds(node.latency_ms), node.latency_ms),
            Entry(percent(node.latency_ms / total), node.latency_ms),
        ]
        for node in sorted(timing.nodes, key=lambda node: (-node.latency_ms, node.key))
    ]
    return Sheet("time of every node", ["node", "operator", "time", "share"], rows, names=2)
