"""A pruned network before and after, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eapc.energy import EnergyReport
from eapc.goals import Pruned
from eapc.pages.chart import COLOURS, LINES, NAME_AXIS, Chart, said
from eapc.report.documents import layer_energy
from eapc.report.layout import NOT_FINITE, engineering, percent
from eapc.workload import BitWidths

MOST = 60
"""Layers of a chart: the costliest, in data-flow order."""


@dataclass(frozen=True)
class LayerChange:
    """What became of a layer; what is not known is None. Energies are in MAC units."""

    name: str
    before: float | None
    after: float | None
    weights: int | None = None
    zeros: float | None = None
    error: float | None = None
    bits_before: BitWidths | None = None
    bits_after: BitWidths | None = None


def layer_changes(pruned: Pruned) -> list[LayerChange]:
    """The layers that were pruned; where none was, the nodes with MACs, which bits may change."""
    before, after = pruned.before, pruned.after
    if not pruned.layers:
        return [
            LayerChange(
                node.key,
                node.energy_mac_units,
                after.by_node[node.key].energy_mac_units if node.key in after.by_node else None,
                bits_before=node.bits,
                bits_after=_bits(after, node.key),
            )
            for node in before.nodes
            if node.macs
        ]
    return [
        LayerChange(
            record.name,
            layer_energy(before, record),
            layer_energy(after, record),
            record.weights,
            record.sparsity,
            record.relative_output_error,
            _bits(before, record.node or record.name),
            _bits(after, record.node or record.name),
        )
        for record in pruned.layers
    ]


def _bits(report: EnergyReport, key: str) -> BitWidths | None:
    node = report.by_node.get(key)
    return None if node is None else node.bits


def energy_of_layers(pruned: Pruned) -> Chart:
    """Energy of each layer before and after, in data-flow order."""
    changes = costliest(layer_changes(pruned))
    values = [value for change in changes for value in _energies(change)]
    bars = _bars("energy, MAC units")
    sizes = {"before": {"band": 0.85}, "after": {"band": 0.45}}
    layers = [
        {
            "transform": [{"filter": {"field": "when", "equal": when}}],
            "mark": {"type": "bar", "height": size},
            "encoding": {
                "color": {
                    "field": "when",
                    "type": "nominal",
                    "scale": {"domain": list(sizes), "range": [LINES, COLOURS[1]]},
                }
            },
        }
        for when, size in sizes.items()
    ]
    spec = {"height": {"step": 20}, "data": {"values": values}, "encoding": bars, "layer": layers}
    return Chart("energy of each layer before and after", spec, left_out(pruned))


def left_out(pruned: Pruned) -> str:
    """How many layers have no bar; empty where all have one."""
    rest = len(layer_changes(pruned)) - MOST
    return f"The {MOST} costliest layers; the table has the other {rest} too." if rest > 0 else ""


def zeros_of_layers(pruned: Pruned) -> Chart:
    """The fraction of each layer's weights that is zero."""
    return _one_bar(pruned, "zero weights", lambda change: change.zeros, percent, COLOURS[3], "%")


def errors_of_layers(pruned: Pruned) -> Chart:
    """The relative output error of each layer on the rows that it was fitted on."""
    title = "relative output error"
    return _one_bar(pruned, title, lambda change: change.error, error_text, COLOURS[5], "~g")


def error_text(error: float | None) -> str:
    """Three digits of an error."""
    if error is None:
        return ""
    return f"{error:.3g}" if math.isfinite(error) else NOT_FINITE


def costliest(changes: Sequence[LayerChange]) -> list[LayerChange]:
    """The layers that cost most before, in data-flow order."""
    ranked = sorted(range(len(changes)), key=lambda place: -(changes[place].before or 0.0))
    return [changes[place] for place in sorted(ranked[:MOST])]


def _energies(change: LayerChange) -> Iterator[dict[str, Any]]:
    one, other = change.before, change.after
    amounts = [engineering(each) if each is not None else "unknown" for each in (one, other)]
    share = f", {percent(other / one)}" if one and other is not None else ""
    text = f"{said(change.name)}\n{amounts[0]} before, {amounts[1]} after{share}"
    for when, amount in (("before", one), ("after", other)):
        if amount is not None:
            yield {"bar": said(change.name), "when": when, "amount": amount, "said": text}


def _one_bar(
    pruned: Pruned,
    title: str,
    figure: Callable[[LayerChange], float | None],
    shown: Callable[[float], str],
    colour: str,
    number: str,
) -> Chart:
    values = [
        {"bar": name, "amount": amount, "said": f"{name}\n{title}: {shown(amount)}"}
        for change in costliest(layer_changes(pruned))
        for name, amount in ((said(change.name), figure(change)),)
        if amount is not None and math.isfinite(amount)
    ]
    spec = {
        "height": {"step": 20},
        "data": {"values": values},
        "mark": {"type": "bar", "height": {"band": 0.7}, "color": colour},
        "encoding": _bars(title, number),
    }
    return Chart(f"{title} of each layer", spec, left_out(pruned))


def _bars(axis: str, number: str = "~s") -> dict[str, Any]:
    return {
        "y": {"field": "bar", "type": "nominal", "sort": None, "axis": NAME_AXIS},
        "x": {
            "field": "amount",
            "type": "quantitative",
            "stack": None,
            "axis": {"title": axis, "format": number},
        },
        "description": {"field": "said"},
    }
