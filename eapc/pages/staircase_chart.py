"""The staircase of a layer: its latency over a channel count, with the edges of its steps.

Why it is one: see `eapc.hardware.measured`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from eapc.hardware import Axis, MeasuredLayer, MeasuredMachine
from eapc.pages.chart import CHOSEN, COLOURS, LINES, Chart, said
from eapc.report.layout import milliseconds

AXES: dict[str, Axis] = {"output channels": "out", "input channels": "in"}
"""Axes by what they are called."""

_LABEL_GAP = 0.06
"""Edges closer than this share of the axis to the labelled one above get no label."""

_LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "as it is read": (LINES, {"type": "line", "interpolate": "step-before"}),
    "each count timed": (COLOURS[0], {"type": "point", "size": 16, "opacity": 1}),
    "measured": (COLOURS[1], {"type": "point", "size": 120, "opacity": 1}),
    "edge of a step": (CHOSEN, {"type": "point", "size": 45, "filled": True, "opacity": 1}),
}
"""Colour and mark of what is drawn, by what the legend says."""

Stair = tuple[int, float]
"""A channel count and the milliseconds at it."""


def costliest_first(machine: MeasuredMachine) -> list[MeasuredLayer]:
    """The layers that were timed at several counts of an axis, by latency at their largest."""
    several = (layer for layer in machine.layers if axes_of(layer))
    return sorted(several, key=lambda layer: -layer.cleaned[-1][-1])


def axes_of(layer: MeasuredLayer) -> dict[str, Axis]:
    """The axes over which a layer was timed at more than one count."""
    return {name: axis for name, axis in AXES.items() if len(layer.counts(axis)) > 1}


def staircase_chart(machine: MeasuredMachine, layer: MeasuredLayer, axis: Axis = "out") -> Chart:
    """Milliseconds of a layer over one channel count, the other at its largest."""
    stairs = {
        "as it is read": steps(machine, layer, axis),
        "each count timed": scanned(machine, layer, axis),
        "measured": measured(layer, axis),
        "edge of a step": edges(machine, layer, axis),
    }
    known = [name for name in _LOOKS if stairs[name]]
    layers = [_marks(name, stairs[name], known) for name in known]
    name = next(name for name, each in AXES.items() if each == axis)
    spec = {
        "height": 300,
        "encoding": {
            "x": _axis("count", name, zero=False),
            "y": _axis("ms", "latency, ms", zero=True),
        },
        "layer": [*layers, _labels(stairs["edge of a step"])],
    }
    return Chart(f"{said(layer.layer)}: latency over {name}", spec, _note(layer, axis))


def steps(machine: MeasuredMachine, layer: MeasuredLayer, axis: Axis) -> list[Stair]:
    """What a network is read to take, at the end of each step and with one channel."""
    counts, wide = layer.counts(axis), machine.steps[axis]
    ends = sorted({1, *counts, *range(wide, counts[-1], wide)})
    return _read(machine, layer, axis, ends)


def edges(machine: MeasuredMachine, layer: MeasuredLayer, axis: Axis) -> list[Stair]:
    """The largest counts before latency rises."""
    return _read(machine, layer, axis, machine.step_edges(layer.layer, axis))


def measured(layer: MeasuredLayer, axis: Axis) -> list[Stair]:
    """What was timed, before any cleaning."""
    times = layer.ms[-1] if axis == "out" else [row[-1] for row in layer.ms]
    return list(zip(layer.counts(axis), times, strict=True))


def scanned(machine: MeasuredMachine, layer: MeasuredLayer, axis: Axis) -> list[Stair]:
    """What single counts took, where the layer was scanned."""
    scans = (scan for scan in machine.scans if (scan.layer, scan.axis) == (layer.layer, axis))
    return [each for scan in scans for each in zip(scan.channels, scan.ms, strict=True)]


def labelled(counts: Iterable[int]) -> set[int]:
    """The edges that have room for a label, the largest first."""
    kept: list[int] = []
    for each in sorted(counts, reverse=True):
        if not kept or kept[-1] - each >= _LABEL_GAP * kept[0]:
            kept.append(each)
    return set(kept)


def _read(
    machine: MeasuredMachine, layer: MeasuredLayer, axis: Axis, counts: Iterable[int]
) -> list[Stair]:
    other = layer.counts("in" if axis == "out" else "out")
    most = other[-1] if other else 0
    pairs = [(each, (each, most) if axis == "in" else (most, each)) for each in counts]
    return [(each, machine.node_ms(layer.layer, *pair)) for each, pair in pairs]


def _marks(name: str, stairs: Sequence[Stair], known: list[str]) -> dict[str, Any]:
    """Marks in the colour that the legend names, which lists what there is."""
    scale = {"domain": known, "range": [_LOOKS[each][0] for each in known]}
    values = [
        {**_place(each), "said": f"{each[0]} channels: {milliseconds(each[1])}, {name}"}
        for each in stairs
    ]
    encoding = {
        "color": {"datum": name, "type": "nominal", "scale": scale},
        "description": {"field": "said"},
    }
    return {"data": {"values": values}, "mark": _LOOKS[name][1], "encoding": encoding}


def _labels(edges: Sequence[Stair]) -> dict[str, Any]:
    shown = labelled(count for count, _ in edges)
    return {
        "data": {"values": [_place(each) for each in edges if each[0] in shown]},
        "mark": {"type": "text", "align": "right", "dx": -6, "dy": -8, "aria": False},
        "encoding": {"text": {"field": "count", "type": "quantitative"}},
    }


def _place(stair: Stair) -> dict[str, float]:
    return {"count": stair[0], "ms": float(f"{stair[1]:.5g}")}


def _axis(field: str, title: str, zero: bool) -> dict[str, Any]:
    axis = {"title": title, "format": "~r" if zero else "d"}
    scale = {"zero": zero, "nice": zero, "padding": 0 if zero else 8}
    return {"field": field, "type": "quantitative", "axis": axis, "scale": scale}


def _note(layer: MeasuredLayer, axis: Axis) -> str:
    others = layer.counts("in" if axis == "out" else "out")
    name = "input" if axis == "out" else "output"
    held = f" All with {others[-1]} {name} channels." if others else ""
    return f"Past an edge, one channel more takes longer.{held}"
