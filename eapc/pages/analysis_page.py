"""The page of an analysis: where the energy goes, and what is not modelled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from eapc.commands.compiler import Analysis
from eapc.commands.preparation import Settings
from eapc.commands.timing import Timing
from eapc.energy import EnergyReport, NodeEnergy, Unmodelled
from eapc.hardware import HardwareModel, MeasuredMachine
from eapc.pages.energy_charts import GROUPINGS, STACKS, energy_chart
from eapc.pages.memory_chart import memory_chart
from eapc.pages.network_chart import network_drawing
from eapc.pages.page import Entry, Facts, Page, PageSection, Sheet, Switch
from eapc.report.hardware_files import hardware_facts
from eapc.report.layout import count, engineering, joules, percent
from eapc.report.savings import SAVINGS_NOTE, savings_facts
from eapc.report.tables import heading, totals


def analysis_page(
    analysis: Analysis, warnings: Iterable[str] = (), settings: Settings | None = None
) -> Page:
    """Everything an analysis has found; commands of savings repeat what `settings` were given."""
    report = analysis.energy
    facts = [
        machine_fact(report.hardware),
        *hardware_facts(report.hardware),
        *totals(report),
        ("modelled", coverage(report)),
        *(("note", note) for note in analysis.notes),
        *(("warning", warning) for warning in warnings),
    ]
    return Page(heading(analysis.model.name, report), facts, list(_sections(analysis, settings)))


def _sections(analysis: Analysis, settings: Settings | None) -> Iterator[PageSection]:
    """Charts and tables of nodes, where there are any, and what is not modelled."""
    report = analysis.energy
    if report.nodes:
        yield PageSection("Where the energy goes", [energy_choice(report)])
        if savings := savings_facts(analysis, settings):
            note = f"{SAVINGS_NOTE.capitalize()}."
            yield PageSection("What would save most", [Facts(savings)], note)
        yield PageSection("Memory against compute", [memory_chart(report)])
        yield PageSection("The network", [network_drawing(analysis.model, report)])
        yield PageSection("Every node", [node_table(report)])
    yield from unmodelled_section(report.unmodelled)


def machine_fact(machine: HardwareModel | MeasuredMachine) -> tuple[str, str]:
    """What the figures are those of."""
    return "machine", f"{machine.name}: {machine.description}"


def energy_choice(report: EnergyReport) -> Switch:
    """The energy grouped and stacked each way."""
    return Switch(
        "grouped by",
        {
            grouping: Switch(
                "stacked by", {stack: energy_chart(report, grouping, stack) for stack in STACKS}
            )
            for grouping in GROUPINGS
        },
    )


def node_table(report: EnergyReport) -> Sheet:
    """A row per node, the costliest first."""
    total = report.energy_mac_units or 1.0
    is_timed, pj = report.latency_ms is not None, report.hardware.mac_unit_pj
    columns = ["node", "operator", "energy, MAC units", "share", *(["energy"] if pj else [])]
    columns += ["MACs", "weights not 0", "ifmap not 0", *(["at least, ms"] if is_timed else [])]

    def row(node: NodeEnergy) -> list[Entry]:
        energy, ms = node.energy_mac_units, _milliseconds(report, node)
        cells = [
            Entry(node.key),
            Entry(f"{node.op_type}{' (fused)' if node.fused_into else ''}"),
        ]
        cells += [Entry(engineering(energy), energy), Entry(percent(energy / total), energy)]
        cells += [Entry(joules(energy * pj), energy)] if pj else []
        cells += [Entry(engineering(node.macs) if node.macs else "", node.macs)]
        known = (node.densities.weights, node.densities.ifmap)
        cells += [Entry(percent(d), d) if node.macs else Entry("") for d in known]
        return cells + ([Entry("" if ms is None else f"{ms:.3g}", ms)] if is_timed else [])

    ranked = sorted(report.nodes, key=lambda node: (-node.energy_mac_units, node.key))
    return Sheet("energy of every node", columns, [row(node) for node in ranked], names=2)


def unmodelled_section(nodes: Sequence[Unmodelled]) -> Iterator[PageSection]:
    """What has no figure and why, where anything has none."""
    if nodes:
        rows = [[Entry(node.key), Entry(node.op_type), Entry(node.reason)] for node in nodes]
        table = Sheet("nodes without a model", ["node", "operator", "reason"], rows, names=3)
        note = "The totals leave these out."
        yield PageSection(f"Not modelled: {count(len(nodes), 'node')}", [table], note)


def coverage(report: EnergyReport | Timing) -> str:
    """How many nodes the totals hold."""
    known, missing = len(report.nodes), len(report.unmodelled)
    left = "; the totals leave out the others, listed at the end" if missing else ""
    return f"{known:,} of {count(known + missing, 'node')}{left}"


def _milliseconds(report: EnergyReport, node: NodeEnergy) -> float | None:
    return None if node.cycles is None else report.hardware.milliseconds(node.cycles)
