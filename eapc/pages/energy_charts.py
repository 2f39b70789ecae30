"""Where the energy of a network goes: by node, block or operator, stacked by what takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from eapc.energy import OPERANDS, EnergyReport, NodeEnergy
from eapc.pages.blocks import blocks_of
from eapc.pages.chart import NAME_AXIS, Chart, colours, said
from eapc.report.layout import count, engineering, percent

Grouping = Literal["node", "block", "operator"]
Stack = Literal["operand", "memory level"]

GROUPINGS: tuple[Grouping, ...] = ("node", "block", "operator")
STACKS: tuple[Stack, ...] = ("operand", "memory level")

LARGEST = 30
"""Bars of a chart; the others are one bar together."""


@dataclass(frozen=True)
class Bar:
    """A bar: its name and what each part of it comes to."""

    name: str
    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        """The whole bar."""
        return sum(self.parts.values())


def energy_chart(report: EnergyReport, grouping: Grouping, stack: Stack) -> Chart:
    """The energy of a network in MAC units, the costliest first; all bars are its total."""
    names = parts_of(report, stack)
    bars = largest(energy_bars(report, grouping, stack), grouping)
    title = f"energy by {grouping}, stacked by {stack}"
    return Chart(title, stacked(bars, names, "energy, MAC units", report.energy_mac_units))


def parts_of(report: EnergyReport, stack: Stack) -> tuple[str, ...]:
    """What a bar is made of: operands, or memory levels from the outermost in."""
    return ("compute", *OPERANDS) if stack == "operand" else ("mac", *report.hardware.memories)


def energy_bars(report: EnergyReport, grouping: Grouping, stack: Stack) -> list[Bar]:
    """A bar for each group that costs anything, the costliest first."""
    sums: dict[str, dict[str, float]] = {}
    for name, node in zip(_groups(report.nodes, grouping), report.nodes, strict=True):
        own = sums.setdefault(name, {})
        found = node.by_operand if stack == "operand" else node.by_level
        for part, energy in found.items():
            own[part] = own.get(part, 0.0) + energy
    bars = (Bar(name, parts) for name, parts in sums.items())
    return sorted((bar for bar in bars if bar.total > 0), key=lambda bar: -bar.total)


def largest(bars: Sequence[Bar], noun: str, most: int = LARGEST) -> list[Bar]:
    """The first bars, and one for all others together."""
    rest = bars[most:]
    if len(rest) < 2:
        return list(bars)
    sums: dict[str, float] = {}
    for bar in rest:
        for part, energy in bar.parts.items():
            sums[part] = sums.get(part, 0.0) + energy
    return [*bars[:most], Bar(f"({count(len(rest), f'other {noun}')})", sums)]


def stacked(
    bars: Iterable[Bar], names: tuple[str, ...], axis: str, total: float
) -> dict[str, object]:
    """Horizontal bars, each in parts of a colour of their own."""
    values = [
        {
            "bar": said(bar.name),
            "part": name,
            "at": place,
            "amount": amount,
            "said": f"{said(bar.name)}\n{name}: {engineering(amount)} "
            f"({percent(amount / (total or 1.0))} of all); "
            f"together {engineering(bar.total)} ({percent(bar.total / (total or 1.0))})",
        }
        for bar in bars
        for place, name in enumerate(names)
        if (amount := bar.parts.get(name, 0.0)) > 0
    ]
    return {
        "height": {"step": 20},
        "data": {"values": values},
        "mark": {"type": "bar", "height": {"band": 0.8}},
        "encoding": {
            "y": {"field": "bar", "type": "nominal", "sort": None, "axis": NAME_AXIS},
            "x": {
                "field": "amount",
                "type": "quantitative",
                "stack": "zero",
                "axis": {"title": axis, "format": "~s"},
            },
            "color": {"field": "part", "type": "nominal", "scale": colours(names)},
            "order": {"field": "at"},
            "description": {"field": "said"},
        },
    }


def _groups(nodes: Sequence[NodeEnergy], grouping: Grouping) -> list[str]:
    if grouping == "node":
        return [node.key for node in nodes]
    if grouping == "operator":
        return [node.op_type for node in nodes]
    return blocks_of([node.name or node.key for node in nodes])
