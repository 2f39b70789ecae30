"""Memory against compute: a roofline where the machine prices time, else the two energies.

Samuel Williams, Andrew Waterman and David Patterson, "Roofline: an insightful visual performance
model for multicore architectures", CACM 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eapc.energy import EnergyReport, NodeEnergy
from eapc.hardware import HardwareModel
from eapc.pages.chart import COLOURS, LINES, Chart, said
from eapc.report.layout import engineering, percent

_MOST_POINTS = 400
"""Points that a chart shows: the costliest nodes with MACs."""


def memory_chart(report: EnergyReport) -> Chart:
    """Nodes with MACs between what memory and what arithmetic sets."""
    return roofline(report) if _timed(report) else energies(report)


def energies(report: EnergyReport) -> Chart:
    """Energy of compute against that of all memories, a point per node."""
    values: list[dict[str, Any]] = [
        {
            "x": node.by_level["mac"],
            "y": node.energy_mac_units - node.by_level["mac"],
            "operator": said(node.op_type),
            "said": f"{said(node.key)}\n{said(node.op_type)}: compute "
            f"{engineering(node.by_level['mac'])}, memory "
            f"{engineering(node.energy_mac_units - node.by_level['mac'])} MAC units",
        }
        for node in _costliest(report)
        if 0 < node.by_level["mac"] < node.energy_mac_units
    ]
    points = _points("energy of compute, MAC units", "energy of memory, MAC units")
    low = min((value["x"] for value in values), default=1.0)
    high = max((value["x"] for value in values), default=1.0)
    equal = _line([(low, low), (high, high)], dashed=True)
    note = "On the dashed line memory takes as much as compute; above it, more."
    return Chart(
        "energy of memory against energy of compute", _layers(values, [equal], points), note
    )


def roofline(report: EnergyReport) -> Chart:
    """MACs per second against MACs per byte of the outermost memory, a point per node."""
    hardware = report.hardware
    values: list[dict[str, Any]] = []
    total = report.energy_mac_units or 1.0
    for node in _timed(report):
        rate, intensity = macs_per_second(node, hardware), macs_per_byte(node, hardware)
        text = f"{engineering(rate)} MACs/s, {intensity:.3g} MACs per byte of {outermost(hardware)}"
        share = percent(node.energy_mac_units / total)
        values.append(
            {
                "x": intensity,
                "y": rate,
                "operator": said(node.op_type),
                "said": f"{said(node.key)}\n{said(node.op_type)}: {text}; {share} of the energy",
            }
        )
    low, high = min(v["x"] for v in values), max(v["x"] for v in values)
    roof, what = _roof(hardware, low, high, max(v["y"] for v in values))
    points = _points(f"MACs per byte of {outermost(hardware)}", "MACs per second", ".3~g")
    note = f"Times are the least that the machine's file tells; modelled, not measured. {what}"
    return Chart("roofline of the nodes with MACs", _layers(values, [_line(roof)], points), note)


def macs_per_byte(node: NodeEnergy, hardware: HardwareModel) -> float:
    """MACs over bytes that pass the outermost memory."""
    words = node.accesses[outermost(hardware)].total
    return node.macs / (words * hardware.word_bits / 8)


def macs_per_second(node: NodeEnergy, hardware: HardwareModel) -> float:
    """MACs over the least time of the node."""
    assert node.cycles is not None
    assert hardware.clock_mhz is not None
    return node.macs / node.cycles * hardware.clock_mhz * 1e6


def outermost(hardware: HardwareModel) -> str:
    """The memory level furthest from the arithmetic."""
    return next(iter(hardware.memories))


def peak_macs_per_second(hardware: HardwareModel) -> float | None:
    """What an array reaches with all of its multipliers at work; None of other machines."""
    sizes = [getattr(hardware.machine, f"array_{axis}", None) for axis in ("rows", "columns")]
    rows, columns = sizes
    if rows is None or columns is None or hardware.clock_mhz is None:
        return None
    return float(rows * columns * hardware.clock_mhz * 1e6)


def bytes_per_second(hardware: HardwareModel) -> float | None:
    """What the outermost memory gives; None where the file does not tell."""
    bits = hardware.memories[outermost(hardware)].bits_per_cycle
    clock = hardware.clock_mhz
    return None if bits is None or clock is None else bits / 8 * clock * 1e6


Corners = Sequence[tuple[float, float]]


def _roof(hardware: HardwareModel, low: float, high: float, best: float) -> tuple[Corners, str]:
    """The corners of the roof over a range of intensities, and what it stands for."""
    peak, width = peak_macs_per_second(hardware), bytes_per_second(hardware)
    top = peak or best
    flat = "The flat line is all multipliers at work" if peak else "The flat line is the best node"
    if width is None:
        return [(low, top), (high, top)], f"{flat}; {outermost(hardware)} never waits here."
    knee = top / width
    start = min(low, knee / 2)
    corners = [(start, start * width), (knee, top), (max(high, 2 * knee), top)]
    return corners, f"{flat}, the slope what {outermost(hardware)} can bring."


def _timed(report: EnergyReport) -> list[NodeEnergy]:
    if report.hardware.clock_mhz is None:
        return []
    return [
        node
        for node in _costliest(report)
        if node.cycles and node.accesses[outermost(report.hardware)].total > 0
    ]


def _costliest(report: EnergyReport) -> list[NodeEnergy]:
    found = [node for node in report.nodes if node.macs > 0]
    return sorted(found, key=lambda node: -node.energy_mac_units)[:_MOST_POINTS]


def _layers(values: list[dict[str, Any]], lines: list[Any], points: Any) -> dict[str, Any]:
    return {"height": 320, "layer": [*lines, {"data": {"values": values}, **points}]}


def _points(across: str, up: str, number: str = ".3~s") -> dict[str, Any]:
    def axis(field: str, title: str, number: str) -> dict[str, Any]:
        scale = {"type": "log", "nice": False, "padding": 12}
        axis = {"title": title, "format": number}
        return {"field": field, "type": "quantitative", "scale": scale, "axis": axis}

    return {
        "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.85},
        "encoding": {
            "x": axis("x", across, number),
            "y": axis("y", up, ".3~s"),
            "color": {
                "field": "operator",
                "type": "nominal",
                "scale": {"range": list(COLOURS[1:])},
            },
            "shape": {"field": "operator", "type": "nominal"},
            "description": {"field": "said"},
        },
    }


def _line(corners: Corners, dashed: bool = False) -> dict[str, Any]:
    return {
        "data": {"values": [{"x": x, "y": y} for x, y in corners]},
        "mark": {
            "type": "line",
            "color": LINES,
            "strokeWidth": 2,
            "strokeDash": [5, 4] if dashed else [1, 0],
            "aria": False,
        },
        "encoding": {
            "x": {"field": "x", "type": "quantitative"},
            "y": {"field": "y", "type": "quantitative"},
        },
    }
