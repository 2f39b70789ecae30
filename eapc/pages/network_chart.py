"""A network drawn: each node a box whose depth shows its energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from eapc.energy import EnergyReport
from eapc.model import Model, Node
from eapc.pages.network_layout import Edge, lay_out
from eapc.pages.page import Drawing
from eapc.report.layout import engineering, percent, plain, shorten

_LETTERS = 20
"""Of a node's name in its box."""

_NOTE = (
    "Data flow downwards, column by column. Drag to move, or use the arrows; the buttons, + and −, "
    "and the wheel with Ctrl zoom. A dashed box has no figure."
)


def network_drawing(model: Model, report: EnergyReport) -> Drawing:
    """The main graph with the energy of each node, that of its subgraphs included."""
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
) -> Drawing:
    """Nodes with their costs by key; those without a cost have a reason.

    Nodes that only hold a constant are left out.
    """
    shown = [node for node in model.view.main_nodes if node.op_type != "Constant"]
    sums = _by_main_node(model, costs)
    most = max(sums.values(), default=0.0) or 1.0
    layout = lay_out(len(shown), edges_of(model, shown))
    nodes = []
    for node, (x, y) in zip(shown, layout.nodes, strict=True):
        cost = sums.get(node.key)
        figure = reasons.get(node.key, "no figure") if cost is None else said(cost)
        depth = -1.0 if cost is None else cost / most
        text = f"{plain(node.key)}\n{plain(node.op_type)}: {plain(figure)}"
        nodes.append((x, y, depth, shorten(node.name or node.key, _LETTERS), text))
    lines = [[at for point in line for at in point] for line in layout.lines]
    return Drawing(title, _NOTE, nodes, lines)


def edges_of(model: Model, nodes: Sequence[Node]) -> list[Edge]:
    """Who reads whom, as places in `nodes`, once each; those in a subgraph count for its holder."""
    places = {id(node): place for place, node in enumerate(nodes)}
    writers = {name: place for place, node in enumerate(nodes) for name in node.outputs if name}
    found = {
        (writers[name], places[id(node)])
        for node in nodes
        for name in model.view.dependencies(node)
        if name in writers
    }
    return sorted((start, end) for start, end in found if start < end)


def _by_main_node(model: Model, costs: Mapping[str, float]) -> dict[str, float]:
    """Costs by the key of the main graph's node that holds each."""
    holders: dict[str, str] = {}
    sums: dict[str, float] = {}
    for node in model.nodes:
        holder = holders.get(node.scope, node.key)
        holders.update(dict.fromkeys(node.subgraphs, holder))
        if node.key in costs:
            sums[holder] = sums.get(holder, 0.0) + costs[node.key]
    return sums
