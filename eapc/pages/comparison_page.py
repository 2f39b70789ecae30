"""The page of a comparison: networks side by side, figure by figure and layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from eapc.commands.comparison import Comparison
from eapc.energy import EnergyReport, NodeEnergy
from eapc.pages.analysis_page import unmodelled_section
from eapc.pages.comparison_charts import layer_chart, ratio_chart
from eapc.pages.energy_charts import GROUPINGS
from eapc.pages.page import Entry, Page, PageSection, Part, Sheet, Switch
from eapc.report.comparisons import comparison_facts, shown_figures
from eapc.report.comparisons_of_many import many_facts, many_rows
from eapc.report.layout import UNLIMITED, engineering, percent
from eapc.report.tables import heading

_ALIKE = 0.0005
"""Shares that differ by less look alike in percent."""


def comparison_page(compared: Sequence[Comparison], warnings: Iterable[str] = ()) -> Page:
    """The first network beside each of the others."""
    labels, reports = labels_of(compared), reports_of(compared)
    by_grouping: dict[str, Part] = {
        grouping: layer_chart(dict(zip(labels, reports, strict=True)), grouping)
        for grouping in GROUPINGS
    }
    sections = [
        PageSection(
            "Figure by figure", [ratio_chart(compared, labels[1:]), _totals(compared, labels)]
        ),
        PageSection("Layer by layer", [Switch("grouped by", by_grouping)]),
        PageSection("Every node", [node_table(reports, labels)]),
        *_unmodelled(reports, labels),
    ]
    said = (("warning", warning) for warning in warnings)
    facts = [*_files(compared, labels), *_facts(compared), *said]
    first, *others = _names(compared)
    names = f"{first} {'and' if len(others) == 1 else 'beside'} {', '.join(others)}"
    return Page(heading(names, reports[0]), facts, sections)


def reports_of(compared: Sequence[Comparison]) -> list[EnergyReport]:
    """The energies of the first network, then of each of the others."""
    return [compared[0].before.energy, *(each.after.energy for each in compared)]


def labels_of(compared: Sequence[Comparison]) -> list[str]:
    """`before` and `after` of two networks; of more their files' names, told apart by a number."""
    if len(compared) == 1:
        return ["before", "after"]
    names = _names(compared)
    return [
        f"{name} ({number})" if names.count(name) > 1 else name
        for number, name in enumerate(names, 1)
    ]


def node_table(reports: Sequence[EnergyReport], labels: Sequence[str]) -> Sheet:
    """A row per node of any network, the costliest first; of two also what has changed."""
    sides = [report.by_node for report in reports]
    operators = {key: node.op_type for side in reversed(sides) for key, node in side.items()}
    most = {
        key: max(side[key].energy_mac_units for side in sides if key in side) for key in operators
    }
    rows = [
        _row(key, operators[key], [side.get(key) for side in sides])
        for key in sorted(operators, key=lambda key: (-most[key], key))
    ]
    shares = [f"{label}, share" if len(labels) > 2 else "ratio" for label in labels[1:]]
    columns = ["node", "operator", *(["what has changed"] if len(labels) == 2 else [])]
    title = f"energy of every node in MAC units, {' and '.join(labels)}"
    return Sheet(title, [*columns, *labels, *shares], rows, names=len(columns))


def changes(before: NodeEnergy | None, after: NodeEnergy | None) -> str:
    """What makes a node's energy another one: `MACs 50.0%, weights not 0: 100.0% to 20.0%`."""
    if before is None or after is None:
        return "not before" if before is None else "not after"
    return ", ".join(_changes(before, after))


def _row(key: str, operator: str, nodes: Sequence[NodeEnergy | None]) -> list[Entry]:
    first, *others = nodes
    amounts = [
        Entry("")
        if node is None
        else Entry(engineering(node.energy_mac_units), node.energy_mac_units)
        for node in nodes
    ]
    cells = [Entry(key), Entry(operator)]
    cells += [Entry(changes(first, others[0]))] if len(others) == 1 else []
    return [*cells, *amounts, *(_ratio(first, other) for other in others)]


def _ratio(before: NodeEnergy | None, after: NodeEnergy | None) -> Entry:
    if before is None or after is None or not before.energy_mac_units:
        return Entry("")
    ratio = after.energy_mac_units / before.energy_mac_units
    return Entry(percent(ratio), ratio)


def _changes(before: NodeEnergy, after: NodeEnergy) -> Iterator[str]:
    if before.op_type != after.op_type:
        yield f"{before.op_type} to {after.op_type}"
    if before.macs != after.macs and before.macs:
        yield f"MACs {percent(after.macs / before.macs)}"
    for operand in ("weights", "ifmap"):
        one, other = (getattr(node.densities, operand) for node in (before, after))
        if abs(one - other) >= _ALIKE:
            yield f"{operand} not 0: {percent(one)} to {percent(other)}"
    for operand in ("weights", "ifmap", "ofmap"):
        one, other = (getattr(node.bits, operand) for node in (before, after))
        if one != other:
            yield f"{operand} {_width(one)} to {_width(other)}"
    if before.fused_into != after.fused_into:
        yield "fused" if after.fused_into else "not fused"


def _width(bits: int | None) -> str:
    return "the machine's word" if bits is None else f"{bits} bits"


def _totals(compared: Sequence[Comparison], labels: Sequence[str]) -> Sheet:
    ratios = ["ratio"] if len(compared) == 1 else [f"{label}, share" for label in labels[1:]]
    rows = shown_figures(compared[0]) if len(compared) == 1 else many_rows(compared)
    columns = ["figure", labels[0]]
    for label, ratio in zip(labels[1:], ratios, strict=True):
        columns += [label, ratio]
    return Sheet("all figures", columns, [[Entry(cell) for cell in row] for row in rows])


def _facts(compared: Sequence[Comparison]) -> Iterator[tuple[str, str]]:
    """What the terminal says, but for tables."""
    if len(compared) > 1:
        yield from many_facts(compared)
        return
    for name, said in comparison_facts(compared[0], UNLIMITED):
        if isinstance(said, str):
            yield name, said


def _files(compared: Sequence[Comparison], labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    if len(compared) == 1:
        yield from zip(labels, _names(compared), strict=True)


def _names(compared: Sequence[Comparison]) -> list[str]:
    return [compared[0].before.model.name, *(each.after.model.name for each in compared)]


def _unmodelled(reports: Sequence[EnergyReport], labels: Sequence[str]) -> Iterator[PageSection]:
    for label, report in zip(labels, reports, strict=True):
        for section in unmodelled_section(report.unmodelled):
            yield replace(section, title=f"{section.title}, {label}")
