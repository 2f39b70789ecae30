"""A network drawn: each node a box whose depth shows its energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from eapc.energy import EnergyReport
from eapc.model import Model, Node
from eapc.pages.network_layout import Edge, lay_out
from eapc.pages.page import Drawing, Part, Switch
from eapc.report.layout import engineering, percent, plain, shorten

_LETTERS = 20
"""Of a node's name in its box."""

_NOTE = (
    "Data flow downwards, column by column. Drag to move, or use the arrows; the buttons, + and −, "
    "and the wheel with Ctrl zoom. A dashed box has no figure."
)


MAIN = "main graph"

_MOST_GRAPHS = 8
"""Graphs that are drawn: the main one and the bodies that cost most."""


def network_drawing(model: Model, report: EnergyReport) -> Part:
    """The network with the energy of each node, that of its subgraphs included."""
    energies = {node.key: node.energy_mac_units for node in report.nodes}
    total = report.energy_mac_units or 1.0

    def said(amount: float) -> str:
        return f"{engineering(amount)} MAC units, {percent(amount / total)} of the energy"

    reasons = {node.key: node.reason for node in report.unmodelled}
    return drawing("energy of the network", model, energies, said, reasons)


def drawing(
    title: str,
    model: Model,
    costs: Mapping[str, float],
    said: Callable[[float], str],
    reasons: Mapping[str, str],
) -> Part:
    """Nodes with their costs by key; those without a cost have a reason.

    Each body of a Loop, Scan or If that costs anything is a drawing of its own.
    """
    sums = _with_bodies(model, costs)
    graphs = {scope or MAIN: nodes for scope, nodes in model.view.by_scope.items()}
    worth = {
        name: sum(costs.get(node.key, 0.0) for node in nodes) for name, nodes in graphs.items()
    }
    shown = [MAIN, *(name for name in _costliest(worth) if name != MAIN)][:_MOST_GRAPHS]
    drawn = {name: _drawn(title, model, graphs[name], sums, said, reasons) for name in shown}
    return drawn[MAIN] if len(drawn) == 1 else Switch("graph", drawn)


def _costliest(worth: Mapping[str, float]) -> list[str]:
    return sorted((name for name in worth if worth[name] > 0), key=lambda name: -worth[name])


def _drawn(
    title: str,
    model: Model,
    nodes: Sequence[Node],
    sums: Mapping[str, float],
    said: Callable[[float], str],
    reasons: Mapping[str, str],
) -> Drawing:
    """The nodes of one graph; those that only hold a constant are left out."""
    shown = [node for node in nodes if node.op_type != "Constant"]
    most = max((sums[node.key] for node in shown if node.key in sums), default=0.0) or 1.0
    layout = lay_out(len(shown), edges_of(model, shown))
    boxes = []
    for node, (x, y) in zip(shown, layout.nodes, strict=True):
        cost = sums.get(node.key)
        figure = reasons.get(node.key, "no figure") if cost is None else said(cost)
        depth = -1.0 if cost is None else cost / most
        text = f"{plain(node.key)}\n{plain(node.op_type)}: {plain(figure)}"
        boxes.append((x, y, depth, shorten(node.name or node.key, _LETTERS), text))
    lines = [[at for point in line for at in point] for line in layout.lines]
    return Drawing(title, _NOTE, boxes, lines)


def edges_of(model: Model, nodes: Sequence[Node]) -> list[Edge]:
    """Who reads whom, as places in `nodes`, once each; those in a subgraph count for its holder."""
    writers = {name: place for place, node in enumerate(nodes) for name in node.outputs if name}
    found = {
        (writers[name], place)
        for place, node in enumerate(nodes)
        for name in model.view.dependencies(node)
        if name in writers
    }
    return sorted((start, end) for start, end in found if start < end)


def _with_bodies(model: Model, costs: Mapping[str, float]) -> dict[str, float]:
    """Costs by key, those of a node's bodies, at any depth, counted for it."""
    holders: dict[str, Node] = {}
    sums: dict[str, float] = {}
    for node in model.nodes:  # a node comes before those that it holds
        holders.update(dict.fromkeys(node.subgraphs, node))
        if node.key in costs:
            at: Node | None = node
            while at is not None:
                sums[at.key] = sums.get(at.key, 0.0) + costs[node.key]
                at = holders.get(at.scope)
    return sums
