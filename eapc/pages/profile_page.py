"""The page of a profile: the staircase of every layer, and its edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eapc.commands.machine_profile import Profiled
from eapc.hardware import MeasuredLayer, MeasuredMachine
from eapc.pages.chart import Chart
from eapc.pages.energy_charts import StackedBar, stacked
from eapc.pages.page import Entry, Page, PageSection, Sheet, Switch
from eapc.pages.staircase_chart import axes_of, costliest_first, staircase_chart
from eapc.report.layout import count, milliseconds

_MOST_LAYERS = 40
"""Layers whose staircases are drawn; the table has all."""


def profile_page(profiled: Profiled, facts: Sequence[tuple[str, str]]) -> Page:
    """Everything that was measured; `facts` is what the terminal says."""
    machine = profiled.machine
    sections = [
        *staircases(machine),
        PageSection("Where the time goes", [time_chart(machine)]),
        PageSection("Every layer", [layer_table(machine)]),
        *_missing(profiled),
    ]
    return Page(f"{machine.name}: {machine.description}", facts, sections)


def profile_chart(machine: MeasuredMachine) -> Chart:
    """The staircase of the costliest layer; where no layer has one, the time of each layer."""
    for layer in costliest_first(machine):
        return staircase_chart(machine, layer, next(iter(axes_of(layer).values())))
    return time_chart(machine)


def staircases(machine: MeasuredMachine) -> Iterator[PageSection]:
    """The staircases of the costliest layers, one shown at a time."""
    layers = costliest_first(machine)
    shown = {
        layer.layer: Switch(
            "over",
            {name: staircase_chart(machine, layer, axis) for name, axis in axes_of(layer).items()},
        )
        for layer in layers[:_MOST_LAYERS]
    }
    if shown:
        left = len(layers) - len(shown)
        note = f"{count(left, 'quicker layer')} left out; the table has all." if left else ""
        yield PageSection("Staircases", [Switch("layer", shown)], note)
    else:
        note = "No layer was timed at more than one channel count: give it more --minutes."
        yield PageSection("Staircases", [], note)


def time_chart(machine: MeasuredMachine) -> Chart:
    """The latency of each layer at its largest counts."""
    bars = [
        StackedBar(layer.layer, {"time": layer.cleaned[-1][-1] / 1e3}) for layer in machine.layers
    ]
    ranked = sorted(bars, key=lambda bar: -bar.total)
    note = "Each distinct layer once, with as many channels as the network has."
    spec = stacked(ranked, ("time",), "time, s", "layer")
    return Chart("time of each distinct layer", spec, note)


def layer_table(machine: MeasuredMachine) -> Sheet:
    """A row per layer, the slowest first, with the edges of its steps."""
    columns = ["layer", "edges, output channels", "edges, input channels", "time"]
    columns += ["output channels", "input channels", "timed at"]
    ranked = sorted(machine.layers, key=lambda layer: -layer.cleaned[-1][-1])
    rows = [_row(machine, layer) for layer in ranked]
    return Sheet("every layer", columns, rows, names=3)


def _row(machine: MeasuredMachine, layer: MeasuredLayer) -> list[Entry]:
    edges = [", ".join(map(str, machine.step_edges(layer.layer, axis))) for axis in ("out", "in")]
    most = layer.cleaned[-1][-1]
    ins, outs = layer.in_channels, layer.out_channels
    points = max(1, len(ins)) * len(outs)
    return [
        *map(Entry, (layer.layer, *edges)),
        Entry(milliseconds(most), most),
        Entry(str(outs[-1]), outs[-1]),
        Entry(str(ins[-1]), ins[-1]) if ins else Entry(""),
        Entry(count(points, "count"), points),
    ]


def _missing(profiled: Profiled) -> Iterator[PageSection]:
    if profiled.missing:
        rows = [[Entry(key), Entry(reason)] for key, reason in profiled.missing]
        table = Sheet("layers that were not timed", ["node", "reason"], rows, names=2)
        yield PageSection(f"Not timed: {count(len(rows), 'node')}", [table])
