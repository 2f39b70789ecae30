"""Tables by node, block or operator: which rows are asked for, sums of nodes, what they come to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, Protocol, TypeVar

from rich.console import RenderableType
from rich.text import Text

from eapc.energy import EnergyReport, NamedNode, NodeEnergy, blocks_of
from eapc.errors import UsageError
from eapc.report.layout import UNLIMITED, Column, count, engineering, percent, table_of

By = Literal["node", "block", "operator"]

KINDS: Mapping[str, By] = {"block": "block", "operator": "operator", "node": "node"}
"""What rows of a table can be, by the word that asks for it."""

_TAIL_SHARE = 0.0005
_ALWAYS_SHOWN = 40


@dataclass(frozen=True)
class RowChoice:
    """Which rows a table has: `top` of them at most, each a node, a block or an operator.

    Without `top` a terminal gets those that are worth a row; without `by` a table has the rows
    that suit its report.
    """

    top: int | None = None
    by: By | None = None

    @property
    def is_given(self) -> bool:
        """Whether anything was asked for."""
        return self.top is not None or self.by is not None


ALL_ROWS = RowChoice()
"""Nothing is asked for."""


def row_choice(top: int | None, by: str | None) -> RowChoice:
    """The rows that options ask for; UsageError for a word that is none of `KINDS`."""
    if by is not None and by not in KINDS:
        raise UsageError(f"--by: expected {', '.join(KINDS)}, got '{by}'")
    return RowChoice(top, None if by is None else KINDS[by])


class Keyed(Protocol):
    """What has a name of its own, its key."""

    @property
    def key(self) -> str:
        """The name."""
        ...


Item = TypeVar("Item", bound=Keyed)
AnyRow = TypeVar("AnyRow")


def by_cost(
    items: Iterable[Item],
    cost: Callable[[Item], float],
    total: float,
    width: int,
    top: int | None = None,
) -> tuple[list[Item], list[Item]]:
    """The items that are worth a row, the costliest first, and the others.

    All are where nothing limits the width; else neither those that cost nothing nor a long tail
    of those that hardly do. With `top` that many at most are, however little they cost.
    """
    ranked = sorted(items, key=lambda item: (-cost(item), item.key))
    shown = len(ranked)
    if width < UNLIMITED:
        notable = sum(cost(item) >= _TAIL_SHARE * total for item in ranked)
        wanted = max(notable, _ALWAYS_SHOWN) if top is None else top
        shown = min(wanted, sum(cost(item) > 0 for item in ranked))
    shown = shown if top is None else min(shown, top)
    return ranked[:shown], ranked[shown:]


def most_of(
    records: Sequence[AnyRow], amount: Callable[[AnyRow], float], top: int | None
) -> list[AnyRow]:
    """The `top` records of the largest amount, all without it, in their order."""
    ranked = sorted(range(len(records)), key=lambda place: -amount(records[place]))
    return [records[place] for place in sorted(ranked[:top])]


def folded(number: int, noun: str, why: str) -> Iterator[Text]:
    """One line in place of rows that say nothing, or less than those above."""
    if number:
        yield Text(f"{count(number, noun)} not shown: {why}", style="dim")


# --- groups of nodes -----------------------------------------------------------------------------


@dataclass(frozen=True)
class NodeGroup:
    """Nodes that are summed up in one row: their number, cost and MACs."""

    key: str
    nodes: int
    cost: float
    macs: float = 0.0


def energy_groups(report: EnergyReport, by: By) -> list[NodeGroup]:
    """The nodes of a report by block or operator, with their energies."""
    names = group_names(report.nodes, by)
    return grouped((names[node.key], node.energy_mac_units, node.macs) for node in report.nodes)


def grouped(parts: Iterable[tuple[str, float, float]]) -> list[NodeGroup]:
    """Nodes, each of (group, cost, MACs), summed up by group."""
    members: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, cost, macs in parts:
        members[name].append((cost, macs))
    return [
        NodeGroup(name, len(own), sum(cost for cost, _ in own), sum(macs for _, macs in own))
        for name, own in members.items()
    ]


def group_names(nodes: Iterable[NodeEnergy], by: By) -> dict[str, str]:
    """What each node, by its key, is summed up in."""
    nodes = list(nodes)
    if by == "block":
        return blocks_of(NamedNode(n.key, n.fused_into, n.macs > 0) for n in nodes)
    return {node.key: node.op_type if by == "operator" else node.key for node in nodes}


def group_table(
    groups: Sequence[NodeGroup],
    total: float,
    by: By,
    width: int,
    top: int | None,
    unit: tuple[str, Callable[[float], str]] = ("energy", engineering),
) -> Iterator[RenderableType]:
    """A row per group, the costliest first, and a line for those that have none.

    `unit` heads the costs and says how one is written.
    """
    shown, rest = by_cost(groups, lambda group: group.cost, total, width, top)
    heading, written = unit
    running = accumulate(group.cost for group in shown)
    columns = {
        Column(by, "left", least=12): [group.key for group in shown],
        Column("nodes"): [f"{group.nodes:,}" for group in shown],
        Column(heading): [written(group.cost) for group in shown],
        Column("share"): [percent(group.cost / total) for group in shown],
        Column("running\nshare", spare=True): [percent(sofar / total) for sofar in running],
    }
    if any(group.macs for group in groups):
        columns[Column("MACs")] = [engineering(g.macs) if g.macs else "" for g in shown]
    yield table_of(columns, width)
    if rest:
        yield groups_left_out(len(rest), by, sum(group.cost for group in rest) / total, heading)


def groups_left_out(number: int, by: By, share: float, what: str) -> Text:
    """How many groups have no row, and what share of the whole they have."""
    of = f"{percent(share)} of the {what}" if share else f"without {what}"
    return Text(f"{count(number, by)} not shown, {of}", style="dim")


# --- before and after ----------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupChange:
    """Nodes that are summed up in one row, and their energy before and after."""

    key: str
    nodes: int
    before: float
    after: float

    @property
    def most(self) -> float:
        """The energy that it is ranked by."""
        return max(self.before, self.after)


def changes_of(before: EnergyReport, after: EnergyReport, by: By) -> list[GroupChange]:
    """Each group of nodes in both networks; a block is one of the nodes of both."""
    nodes = {node.key: node for node in (*after.nodes, *before.nodes)}
    names = group_names(nodes.values(), by)
    then, now = (
        grouped((names[node.key], node.energy_mac_units, 0.0) for node in each)
        for each in (before.nodes, after.nodes)
    )
    one, other = ({group.key: group for group in groups} for groups in (then, now))
    none = NodeGroup("", 0, 0.0)
    found = (
        (key, one.get(key, none), other.get(key, none)) for key in dict.fromkeys((*one, *other))
    )
    return [GroupChange(key, a.nodes or b.nodes, a.cost, b.cost) for key, a, b in found]


def change_table(
    before: EnergyReport, after: EnergyReport, rows: RowChoice, width: int
) -> Iterator[RenderableType]:
    """A row per group of nodes with its energy in both networks, the costliest first."""
    by: By = rows.by or "node"
    total = before.energy_mac_units or 1.0
    saved = before.energy_mac_units - after.energy_mac_units
    changes = changes_of(before, after, by)
    shown, rest = by_cost(changes, lambda change: change.most, total, width, rows.top)
    columns = {
        Column(by, "left", least=12): [change.key for change in shown],
        Column("nodes"): [f"{change.nodes:,}" for change in shown],
        Column("energy\nbefore"): [engineering(change.before) for change in shown],
        Column("energy\nafter"): [engineering(change.after) for change in shown],
        Column("ratio"): [percent(c.after / c.before) if c.before else "-" for c in shown],
        Column("of all\nsaved"): [
            percent((c.before - c.after) / saved) if saved > 0 else "-" for c in shown
        ],
    }
    yield table_of(columns, width)
    if rest:
        share = sum(change.before for change in rest) / total
        yield groups_left_out(len(rest), by, share, "energy before")
