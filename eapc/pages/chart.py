"""A chart as a Vega-Lite specification with its data inline, and the look that all charts share.

A specification says neither width nor colours of text: `sized` adds both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eapc.report.layout import plain

Spec = Mapping[str, Any]

COLOURS = ("#E69F00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#8C8C8C", "#F0E442")
"""Told apart with any kind of colour vision, and on light and dark alike: Okabe and Ito, 2008."""

CHOSEN = "#D55E00"
"""What is marked among others."""

TEXT = "#1b1f24"
LINES = "#8b949e"
PAPER = "#ffffff"
"""Colours of text, of axes and of the ground on paper; elsewhere others are put in their place."""

FONT = "Arial, 'Liberation Sans', Helvetica, sans-serif"

_LETTERS_PER_PIXEL = 1 / 19
"""Letters of a name beside an axis: a third of the width."""


@dataclass(frozen=True)
class Chart:
    """What is drawn, as Vega-Lite, under a title; `note` says how to read it.

    Tooltips and screen readers get what the channel `description` says of each mark.
    """

    title: str
    spec: Spec
    note: str = ""

    def sized(self, width: int) -> dict[str, Any]:
        """The whole specification for a picture of about `width` pixels."""
        letters = max(14, round(width * _LETTERS_PER_PIXEL))
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "description": self.title,
            "width": width,
            "autosize": {"type": "fit-x", "contains": "padding"},
            "params": [{"name": "letters", "value": letters}],
            "config": _config(width),
            **self.spec,
        }


NAME_AXIS: Spec = {
    "title": None,
    "labelExpr": "length(datum.label) <= letters ? datum.label : "
    "slice(datum.label, 0, floor(letters / 3)) + '…' + "
    "slice(datum.label, length(datum.label) - ceil(letters * 2 / 3) + 1)",
    "labelLimit": 400,
    "ticks": False,
    "domain": False,
    "grid": False,
}
"""An axis of names: of long ones the middle is left out, as the end says most."""


def colours(names: tuple[str, ...]) -> dict[str, Any]:
    """A scale that gives each name a colour of its own."""
    return {"domain": list(names), "range": [COLOURS[i % len(COLOURS)] for i in range(len(names))]}


def said(text: str) -> str:
    """A name out of a file as it may stand in a chart."""
    return plain(text)


def _config(width: int) -> dict[str, Any]:
    small = width < 500
    text = {"labelColor": TEXT, "titleColor": TEXT, "labelFontSize": 11, "titleFontSize": 11}
    return {
        "background": PAPER,
        "padding": 8,
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            **text,
            "titleFontWeight": "normal",
            "domainColor": LINES,
            "tickColor": LINES,
            "gridColor": LINES,
            "gridOpacity": 0.3,
            "labelOverlap": "greedy",
        },
        "axisQuantitative": {"tickCount": 4 if small else 8},
        "legend": {**text, "orient": "top", "title": None, "columns": 3 if small else 8},
        "header": text,
        "text": {"color": TEXT, "fontSize": 11},
    }
