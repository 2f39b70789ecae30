"""What a search or a sweep has tried: cost against loss, a point each, the chosen one marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eapc.goals import Trial
from eapc.pages.chart import CHOSEN, COLOURS, LINES, Chart, said
from eapc.report.layout import percent

COST_NAMES = {
    "energy": "energy",
    "latency": "latency",
    "size": "size on disk",
    "weights": "non-zero weights",
    "macs": "MACs",
}
"""Costs as they are called, by their key in `Trial.costs`, the most asked for first."""

KINDS = ("chosen", "within the goal", "outside the goal")
"""What a point may be, with a colour and a shape each."""


@dataclass(frozen=True)
class Point:
    """A network that was tried, by what it costs and loses; `name` is what to call it."""

    name: str
    cost: float
    loss: float
    kind: str = KINDS[1]


def points_of(trials: Sequence[Trial], cost: str) -> list[Point]:
    """The trials of which this cost and the loss are known."""
    return [
        Point(f"trial {number}", trial.costs[cost], trial.loss, _kind(trial))
        for number, trial in enumerate(trials, 1)
        if cost in trial.costs and trial.loss is not None and math.isfinite(trial.loss)
    ]


def trial_charts(trials: Sequence[Trial]) -> dict[str, Chart]:
    """A chart for each cost, by its name, that more than one trial is known of."""
    known = {cost: points_of(trials, cost) for trial in trials for cost in trial.costs}
    return {
        (name := COST_NAMES.get(cost, cost)): tradeoff_chart(points, name)
        for cost, points in known.items()
        if len(points) > 1
    }


def tradeoff_chart(points: Sequence[Point], cost: str, loss: str = "loss") -> Chart:
    """Points by cost, a ratio to the dense network's, and loss."""
    values = [
        {
            "x": point.cost,
            "y": point.loss,
            "kind": point.kind,
            "said": f"{said(point.name)}, {point.kind}\n"
            f"{percent(point.cost)} of the {cost}, {loss} {point.loss:.4g}",
        }
        for point in points
    ]
    return Chart(f"{loss} against {cost}", _spec(values, cost, loss))


def _spec(values: list[dict[str, Any]], cost: str, loss: str) -> dict[str, Any]:
    kinds = [kind for kind in KINDS if any(value["kind"] == kind for value in values)]
    looks = {
        KINDS[0]: (CHOSEN, "diamond"),
        KINDS[1]: (COLOURS[1], "circle"),
        KINDS[2]: (LINES, "cross"),
    }

    def by_kind(look: int) -> dict[str, Any]:
        found = [looks[kind][look] for kind in kinds]
        return {"field": "kind", "type": "nominal", "scale": {"domain": kinds, "range": found}}

    def axis(field: str, title: str, number: str) -> dict[str, Any]:
        scale = {"zero": False, "padding": 16}
        shown = {"title": title, "format": number}
        return {"field": field, "type": "quantitative", "scale": scale, "axis": shown}

    return {
        "height": 300,
        "data": {"values": values},
        "mark": {"type": "point", "filled": True, "opacity": 1},
        "encoding": {
            "x": axis("x", f"{cost}, of the dense network's", "%"),
            "y": axis("y", loss, "~g"),
            "color": by_kind(0),
            "shape": by_kind(1),
            "size": {
                "condition": {"test": f"datum.kind === '{KINDS[0]}'", "value": 220},
                "value": 90,
            },
            "description": {"field": "said"},
        },
    }


def _kind(trial: Trial) -> str:
    if trial.is_chosen:
        return KINDS[0]
    return KINDS[1] if trial.is_kept else KINDS[2]
