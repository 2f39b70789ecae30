"""Where the energy of a network goes: by node, block or operator, stacked by what takes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from eapc.energy import OPERANDS, EnergyReport
from eapc.pages.chart import NAME_AXIS, Chart, colours, said
from eapc.report.grouping import By, group_names
from eapc.report.layout import count, engineering, percent

Stack = Literal["operand", "memory level"]

GROUPINGS: tuple[By, ...] = ("node", "block", "operator")
STACKS: tuple[Stack, ...] = ("operand", "memory level")

LARGEST = 30
"""Bars of a chart; what the others come to stands beside the axis."""

_TAIL_SHARE = 0.0005
"""Bars below this fraction of all would not be seen."""


@dataclass(frozen=True)
class StackedBar:
    """A bar: its name and what each part of it comes to."""

    name: str
    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        """The whole bar."""
        return sum(self.parts.values())


def energy_chart(report: EnergyReport, grouping: By, stack: Stack) -> Chart:
    """The energy of a network in MAC units, the costliest first."""
    names = parts_of(report, stack)
    bars = energy_bars(report, grouping, stack)
    title = f"energy by {grouping}, stacked by {stack}"
    return Chart(title, stacked(bars, names, "energy, MAC units", grouping))


def parts_of(report: EnergyReport, stack: Stack) -> tuple[str, ...]:
    """What a bar is made of: operands, or memory levels from the outermost in."""
    return ("compute", *OPERANDS) if stack == "operand" else ("mac", *report.hardware.memories)


def energy_bars(report: EnergyReport, grouping: By, stack: Stack) -> list[StackedBar]:
    """A bar for each group that costs anything, the costliest first."""
    sums: dict[str, dict[str, float]] = {}
    names = group_names(report.nodes, grouping)
    for node in report.nodes:
        own = sums.setdefault(names[node.key], {})
        found = node.by_operand if stack == "operand" else node.by_level
        for part, energy in found.items():
            own[part] = own.get(part, 0.0) + energy
    bars = (StackedBar(name, parts) for name, parts in sums.items())
    return sorted((bar for bar in bars if bar.total > 0), key=lambda bar: -bar.total)


def stacked(
    bars: Sequence[StackedBar], names: tuple[str, ...], axis: str, noun: str, most: int = LARGEST
) -> dict[str, object]:
    """Horizontal bars, each in parts of a colour of their own; the axis tells of those left out."""
    total = sum(bar.total for bar in bars) or 1.0
    notable = sum(bar.total >= _TAIL_SHARE * total for bar in bars[:most])
    shown, rest = bars[:notable], bars[notable:]
    titles = [axis]
    if rest:
        amount = sum(bar.total for bar in rest)
        others = f"{count(len(rest), f'other {noun}')}: {engineering(amount)}"
        titles.append(f"{others}, {percent(amount / total)} of all")
    return {
        "height": {"step": 20},
        "data": {"values": [value for bar in shown for value in _values(bar, names, total)]},
        "mark": {"type": "bar", "height": {"band": 0.8}},
        "encoding": {
            "y": {"field": "bar", "type": "nominal", "sort": None, "axis": NAME_AXIS},
            "x": {
                "field": "amount",
                "type": "quantitative",
                "stack": "zero",
                "axis": {"title": titles, "format": "~s"},
            },
            "color": {"field": "part", "type": "nominal", "scale": colours(names)},
            "order": {"field": "at"},
            "description": {"field": "said"},
        },
    }


def _values(bar: StackedBar, names: tuple[str, ...], total: float) -> Iterator[dict[str, object]]:
    """The parts of a bar that are not nothing, with what to say of each."""
    name = said(bar.name)
    whole = f"together {engineering(bar.total)} ({percent(bar.total / total)})"
    for place, part in enumerate(names):
        amount = bar.parts.get(part, 0.0)
        if amount > 0:
            own = f"{part}: {engineering(amount)} ({percent(amount / total)} of all)"
            text = f"{name}\n{own}; {whole}"
            yield {"bar": name, "part": part, "at": place, "amount": amount, "said": text}
