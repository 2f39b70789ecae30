"""Networks side by side: layer by layer, and figure by figure as ratios to the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eapc.commands.comparison import Comparison
from eapc.energy import EnergyReport
from eapc.pages.chart import COLOURS, NAME_AXIS, TEXT, Chart, Spec, said
from eapc.pages.energy_charts import energy_bars
from eapc.report.comparisons import figures_of
from eapc.report.grouping import By
from eapc.report.layout import count, engineering, percent

_FIRST = COLOURS[6]
_SIDES = (COLOURS[1], COLOURS[0], COLOURS[3], COLOURS[4], COLOURS[2], COLOURS[5])
"""The first network is grey, each of the others has a colour."""

_MOST_BARS = 60
_THINNEST = 0.002
"""Of the longest bar; shorter ones cannot be seen."""

_SIGN, _LETTER = 34, 7
"""Pixels of a legend's entry: its sign with the space around, and each letter."""


@dataclass(frozen=True)
class GroupCosts:
    """A group of nodes, and what it takes in each network; 0 where it is not there."""

    name: str
    amounts: tuple[float, ...]


def layer_chart(reports: Mapping[str, EnergyReport], grouping: By = "node") -> Chart:
    """The energy of each group in each network, a bar beside the other, the costliest first."""
    pairs = pairs_of(list(reports.values()), grouping)
    title = f"energy by {grouping}, {' and '.join(reports)}"
    return Chart(title, beside(pairs, list(reports), "energy, MAC units", grouping))


def pairs_of(reports: Sequence[EnergyReport], grouping: By) -> list[GroupCosts]:
    """Groups by what they take in the network where that is most."""
    sides = [
        {bar.name: bar.total for bar in energy_bars(report, grouping, "operand")}
        for report in reports
    ]
    names = dict.fromkeys(name for side in sides for name in side)
    pairs = [GroupCosts(name, tuple(side.get(name, 0.0) for side in sides)) for name in names]
    return sorted(pairs, key=lambda pair: -max(pair.amounts))


def beside(pairs: Sequence[GroupCosts], labels: Sequence[str], axis: str, noun: str) -> Spec:
    """Horizontal bars in groups, one for each label; the axis tells of groups left out."""
    shown = worth_showing(pairs, _MOST_BARS // len(labels))
    if rest := len(pairs) - len(shown):
        axis = f"{axis} ({count(rest, f'smaller {noun}')} left out)"
    values = [
        {
            "group": said(pair.name),
            "side": said(label),
            "amount": amount,
            "said": f"{said(pair.name)}\n{said(label)}: {engineering(amount)}{_ratio(pair, place)}",
        }
        for pair in shown
        for place, (label, amount) in enumerate(zip(labels, pair.amounts, strict=True))
    ]
    names = [said(label) for label in labels]
    upright = {"field": "group", "type": "nominal", "sort": None, "axis": NAME_AXIS}
    across = {"title": axis, "format": "~s"}
    return {
        "height": {"step": 11},
        "data": {"values": values},
        "mark": {"type": "bar"},
        "encoding": {
            "y": {**upright, "scale": {"paddingInner": 0.25}},
            "yOffset": {"field": "side", "sort": names},
            "x": {"field": "amount", "type": "quantitative", "axis": across},
            "color": _coloured(names, [_FIRST, *_SIDES]),
            "description": {"field": "said"},
        },
    }


def worth_showing(pairs: Sequence[GroupCosts], most: int) -> list[GroupCosts]:
    """The first so many pairs, without those whose bars would be thinner than a line."""
    total = max((max(pair.amounts) for pair in pairs), default=0.0)
    return [pair for pair in pairs[:most] if max(pair.amounts) >= _THINNEST * total]


def ratio_chart(compared: Sequence[Comparison], labels: Sequence[str]) -> Chart:
    """Each figure over the first network's, with the interval that holds it where one is known."""
    values = [
        {"label": said(label), "side": said(name), "ratio": each.ratio, "said": each.said}
        for name, one in zip(labels, compared, strict=True)
        for label, each in ratios_of(one).items()
    ]
    names = [said(label) for label in labels]
    bars = {"type": "bar", "height": {"band": 0.7}}
    step = {"step": 24 if len(names) == 1 else 14}
    one = _rule([{"ratio": 1.0}], {"x": _across("ratio")}, strokeDash=[5, 4])
    spec = {
        "height": step,
        "layer": [
            {"data": {"values": values}, "mark": bars, "encoding": _upright(names)},
            one,
            *_spans(compared, labels),
        ],
    }
    note = "The dashed line is the first network; a thin line holds the ratio with 95 % confidence."
    return Chart("ratios to the first network", spec, note)


@dataclass(frozen=True)
class FigureRatio:
    """A figure of one network over the first's."""

    ratio: float
    said: str
    interval: tuple[float, float] | None = None


def ratios_of(compared: Comparison) -> dict[str, FigureRatio]:
    """The known ratios by what they are of; energy in pJ is the energy in MAC units again."""
    intervals = _intervals(compared)
    return {
        figure.label: FigureRatio(
            figure.ratio,
            f"{figure.label}: {percent(figure.ratio)}, "
            f"{figure.shown(figure.before)} and {figure.shown(figure.after)}",
            intervals.get(figure.key),
        )
        for figure in figures_of(compared)
        if figure.ratio is not None and figure.key != "energy_pj"
    }


def _intervals(compared: Comparison) -> dict[str, tuple[float, float]]:
    """Bounds with 95 % confidence, by the figure's key."""
    found = {}
    if (interval := compared.energy_ratio_interval) is not None and interval.changed_share:
        found["energy_mac_units"] = (interval.low, interval.high)
    if (latency := compared.latency) is not None:
        found["measured_latency_ms"] = (latency.ratio.low, latency.ratio.high)
    if (energy := compared.metered) is not None and energy.ratio is not None:
        found["measured_energy_j"] = (energy.ratio.low, energy.ratio.high)
    return found


def _spans(compared: Sequence[Comparison], labels: Sequence[str]) -> list[dict[str, Any]]:
    values = [
        {"label": said(label), "side": said(name), "low": low, "high": high}
        for name, one in zip(labels, compared, strict=True)
        for label, share in ratios_of(one).items()
        if share.interval is not None
        for low, high in [share.interval]
    ]
    names = [said(label) for label in labels]
    places = {key: each for key, each in _upright(names).items() if key in ("y", "yOffset")}
    across = {"x": _across("low"), "x2": {"field": "high"}}
    return [_rule(values, {**places, **across}, strokeWidth=2)] if values else []


def _rule(values: list[Any], encoding: dict[str, Any], **look: Any) -> dict[str, Any]:
    mark = {"type": "rule", "color": TEXT, "aria": False, **look}
    return {"data": {"values": values}, "mark": mark, "encoding": encoding}


def _across(field: str) -> dict[str, Any]:
    axis = {"title": "of the first network's", "format": ".0%"}
    return {"field": field, "type": "quantitative", "axis": axis, "scale": {"zero": True}}


def _upright(names: list[str]) -> dict[str, Any]:
    upright = {"field": "label", "type": "nominal", "sort": None, "axis": NAME_AXIS}
    offset = {"yOffset": {"field": "side", "sort": names}} if len(names) > 1 else {}
    return {
        "y": upright,
        **offset,
        "x": _across("ratio"),
        "color": _coloured(names, _SIDES),
        "description": {"field": "said"},
    }


def _ratio(pair: GroupCosts, place: int) -> str:
    first = pair.amounts[0]
    return f", {percent(pair.amounts[place] / first)} of the first" if place and first else ""


def _coloured(names: list[str], colours: Sequence[str]) -> dict[str, Any]:
    """A colour for each name; the legend has as many columns as there is room for."""
    scale = {"domain": names, "range": [colours[i % len(colours)] for i in range(len(names))]}
    wide = _SIGN + _LETTER * max(map(len, names))
    columns = {"expr": f"max(1, floor(letters * 19 / {wide}))"}
    legend = {"columns": columns, "labelLimit": 330} if len(names) > 1 else None
    return {"field": "side", "type": "nominal", "scale": scale, "legend": legend}
