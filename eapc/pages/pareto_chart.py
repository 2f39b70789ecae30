"""What is saved against how well networks serve: points, those on the Pareto front marked.

A network is on the Pareto front where no other one costs less and serves better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eapc.goals import pareto_front
from eapc.pages.chart import CHOSEN, COLOURS, LINES, Chart, said

_ROOM = (0.12, 0.07)
"""Labels need this share of the axes to themselves."""

_FAR = 0.95
"""Right of this share of the breadth, a label goes left of its point."""

_DENSE, _FRONT, _OTHER = "dense network", "Pareto front", "other"
_MISSED = ", not met"
_LOOKS = {
    _FRONT: (CHOSEN, "circle"),
    _OTHER: (COLOURS[1], "circle"),
    _FRONT + _MISSED: (CHOSEN, "cross"),
    _OTHER + _MISSED: (COLOURS[1], "cross"),
    _DENSE: (COLOURS[6], "square"),
}
"""Colour and shape of each kind of point, in the order of the legend."""


@dataclass(frozen=True)
class Offer:
    """One network: its cost over the dense one's, and how well it serves.

    `said` is what to tell of it, `name` what to write beside it, if anything.
    """

    name: str
    cost: float
    quality: float
    said: str = ""
    is_met: bool = True
    is_dense: bool = False


@dataclass(frozen=True)
class Quality:
    """What the upright axis holds: its name, whether more is better, whether it is a share."""

    name: str
    more_is_better: bool = True
    is_share: bool = True


def front_of(offers: Sequence[Offer], quality: Quality) -> list[Offer]:
    """The offers that no other one beats, the cheapest first; of equal ones the first given."""
    sign = -1 if quality.more_is_better else 1
    return pareto_front(((each.cost, sign * each.quality), each) for each in offers)


def pareto_chart(offers: Sequence[Offer], quality: Quality, cost: str = "energy") -> Chart:
    """Every network as a point, the front as a line, the dense one beside them."""
    front = front_of([offer for offer in offers if not offer.is_dense], quality)
    points = [
        _point(offer.cost, offer.quality, _kind(offer, front), offer.said) for offer in offers
    ]
    across = _axis(_X, f"{cost}, of the dense network's", _shares([each.cost for each in offers]))
    shares = _shares([each.quality for each in offers])
    up = _axis(_Y, said(quality.name), shares if quality.is_share else "~r")
    line = {"type": "line", "color": LINES, "strokeDash": [5, 4], "aria": False}
    layers = [
        _bare([(offer.cost, offer.quality) for offer in front], line),
        _points(points, across, up),
        *_labels(labelled(offers, front), quality),
    ]
    note = "On the front no other network costs less and does better."
    return Chart(f"{said(quality.name)} against {cost}", {"height": 320, "layer": layers}, note)


def labelled(offers: Sequence[Offer], front: Sequence[Offer]) -> list[Offer]:
    """The offers whose names have room, those of the front first."""
    wide = _extent([each.cost for each in offers])
    high = _extent([each.quality for each in offers])
    kept: list[Offer] = []
    for offer in sorted(offers, key=lambda each: each not in front):
        if offer.name and not any(
            abs(offer.cost - other.cost) < _ROOM[0] * wide
            and abs(offer.quality - other.quality) < _ROOM[1] * high
            for other in kept
        ):
            kept.append(offer)
    return kept


_X, _Y = "x", "y"


def _shares(values: Sequence[float]) -> str:
    """The format of an axis of shares: as many decimals as tell its ticks apart."""
    decimals = max(0, -math.floor(math.log10(12.5 * _extent(values))))
    return f".{decimals}%"


def _extent(values: Sequence[float]) -> float:
    return max(values, default=0.0) - min(values, default=0.0) or 1.0


def _kind(offer: Offer, front: Sequence[Offer]) -> str:
    if offer.is_dense:
        return _DENSE
    return (_FRONT if offer in front else _OTHER) + _MISSED * (not offer.is_met)


def _point(x: float, y: float, kind: str, text: str) -> dict[str, Any]:
    return {_X: x, _Y: y, "kind": kind, "said": f"{said(text)}; {kind}"}


def _points(
    values: list[dict[str, Any]], across: Mapping[str, Any], up: Mapping[str, Any]
) -> dict[str, Any]:
    found = {value["kind"] for value in values}
    kinds = [kind for kind in _LOOKS if kind in found]
    legend = {"columns": {"expr": "letters < 30 ? 2 : 8"}}

    def look(place: int) -> dict[str, Any]:
        scale = {"domain": kinds, "range": [_LOOKS[kind][place] for kind in kinds]}
        return {"field": "kind", "type": "nominal", "legend": legend, "scale": scale}

    return {
        "data": {"values": values},
        "mark": {"type": "point", "filled": True, "size": 90, "opacity": 0.9},
        "encoding": {
            _X: across,
            _Y: up,
            "color": look(0),
            "shape": look(1),
            "description": {"field": "said"},
        },
    }


def _axis(field: str, title: str, form: str) -> dict[str, Any]:
    scale = {"zero": False, "padding": 24}
    axis = {"title": title, "format": form}
    return {"field": field, "type": "quantitative", "scale": scale, "axis": axis}


def _labels(offers: Sequence[Offer], quality: Quality) -> list[dict[str, Any]]:
    """Names on the side of their points that the front does not pass, left of those far right."""
    costs = [offer.cost for offer in offers]
    far = min(costs, default=0.0) + _FAR * _extent(costs)
    layers = []
    for align, dx in (("left", 8), ("right", -8)):
        named = [offer for offer in offers if (offer.cost > far) == (align == "right")]
        is_below = quality.more_is_better == (align == "left")
        mark = {"type": "text", "align": align, "dx": dx, "dy": 10 if is_below else -8}
        layer = _bare([(offer.cost, offer.quality) for offer in named], {**mark, "aria": False})
        for value, offer in zip(layer["data"]["values"], named, strict=True):
            value["name"] = said(offer.name)
        layer["encoding"]["text"] = {"field": "name"}
        layers.append(layer)
    return layers


def _bare(places: Sequence[tuple[float, float]], mark: dict[str, Any]) -> dict[str, Any]:
    values: list[dict[str, Any]] = [{_X: x, _Y: y} for x, y in places]
    encoding = {axis: {"field": axis, "type": "quantitative"} for axis in (_X, _Y)}
    return {"data": {"values": values}, "mark": mark, "encoding": encoding}
