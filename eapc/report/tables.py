"""An analysis as people read it: nodes by energy, then totals and what is not modelled."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eapc.commands.budgets import NO_GATE, Gate
from eapc.commands.compiler import Analysis
from eapc.commands.preparation import Settings
from eapc.commands.timing import NodeLatency, Timing
from eapc.energy import COUNT_ONCE, OPERANDS, EnergyReport, Footprint, NodeEnergy, Unmodelled
from eapc.evaluation import Accuracy
from eapc.hardware import HardwareModel, MeasuredMachine
from eapc.pipeline import NearDead
from eapc.report.budgets import budget_facts
from eapc.report.grouping import (
    ALL_ROWS,
    RowChoice,
    by_cost,
    energy_groups,
    folded,
    group_table,
    most_of,
)
from eapc.report.hardware_files import hardware_facts
from eapc.report.layout import (
    Column,
    TextTable,
    count,
    engineering,
    facts,
    joules,
    page,
    percent,
    plain,
    shorten,
    table,
    table_of,
    title,
    written_facts,
)
from eapc.report.names import apart
from eapc.report.savings import savings_part
from eapc.report.uncertainty import energy_uncertainty

AnyNode = TypeVar("AnyNode", NodeEnergy, NodeLatency)

_LISTED = 8
_NAMED = 3

_COLUMNS = (
    Column("node", "left", least=12),
    Column("operator", "left", least=12, cut="end"),
    Column("energy"),
    Column("share"),
    Column("running\nshare", spare=True),
    Column("MACs"),
    Column("weights\nnot 0"),
    Column("ifmap\nnot 0"),
)

_ABSOLUTE = (Column("ms"), Column("joules"))
"""Of machines whose energy goes with time."""


def analysis_table(
    analysis: Analysis,
    settings: Settings,
    width: int,
    written: Sequence[Path] = (),
    rows: RowChoice = ALL_ROWS,
    gate: Gate = NO_GATE,
) -> Group:
    """Everything an analysis found and the files made of it, in `width` characters."""
    report = analysis.energy
    nodes = [Group(*_rows_and_notes(report, width, rows))] if report.nodes else []
    entries = [
        *totals(report),
        *budget_facts(gate),
        *_near_dead(analysis.near_dead, report.weights),
        ("densities", _density_source(analysis, settings)),
        *hardware_facts(report.hardware),
        *coverage(report, width),
        *(("note", plain(note)) for note in (*analysis.notes, *_counted_once(report))),
        *written_facts(written),
    ]
    near = near_dead_table(analysis.near_dead, width, rows.top)
    last = savings_part(analysis, settings)
    return page(title(heading(analysis.model.name, report)), *nodes, *near, facts(entries), *last)


def _counted_once(report: EnergyReport) -> Iterator[str]:
    """The nodes whose subgraphs may run more or less often than they are counted."""
    names = [node.name for node in report.nodes if node.note == COUNT_ONCE]
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        said = ", ".join(f"'{name}'" for name in names[:_NAMED])
        yield f"nodes within {said}{more} count once each, however often they run"


def heading(model: str, report: EnergyReport, measured: MeasuredMachine | None = None) -> str:
    """What was looked at: `resnet20.onnx on eyeriss, per inference at batch 4`.

    The machine that was measured, if any, is the one that counts.
    """
    machine = report.hardware if measured is None else measured
    batch = report.batch if measured is None else measured.batch
    return f"{model} on {machine.name}, per inference at batch {batch}"


def totals(report: EnergyReport) -> Iterator[tuple[str, str]]:
    """The sums of a report as facts."""
    amount = f"{engineering(report.energy_mac_units)} MAC units"
    picojoules = report.energy_pj
    if picojoules is not None:
        amount += f", {joules(picojoules)}"
    yield "energy", f"{amount}; modelled, not measured"
    yield "uncertainty", energy_uncertainty(report.hardware)
    if report.latency_ms is not None:
        yield "time", _time(report)
    if report.energy_mac_units > 0:
        operands = ("compute", *OPERANDS)
        yield "by operand", _shares(operands, [node.by_operand for node in report.nodes])
        levels = ("mac", *report.hardware.memories)
        yield "by level", _shares(levels, [node.by_level for node in report.nodes])
    if report.residency.tensor_bytes:
        yield "on chip", _kept(report)
    if report.footprint is not None:
        yield "memory", _footprint(report.footprint)
    macs, kept = report.macs, report.nonskipped_macs
    share = f" ({percent(kept / macs)})" if macs else ""
    yield "MACs", f"{engineering(macs)}, both operands non-zero in {engineering(kept)}{share}"
    weights, nonzero = report.weights, report.nonzero_weights
    share = f" ({percent(nonzero / weights)})" if weights else ""
    yield "weights", f"{engineering(weights)}, non-zero {engineering(nonzero)}{share}"


def _near_dead(found: NearDead, weights: int) -> Iterator[tuple[str, str]]:
    """How many weights and channels come to less than rounding does, where any do."""
    if found.weights or found.channels:
        share = f" ({percent(found.weights / weights)})" if weights else ""
        amount = f"{count(found.weights, 'weight')}{share} and {count(found.channels, 'channel')}"
        how = "; shrink-channels{near_dead=true} takes the channels out" if found.channels else ""
        yield "near-dead", f"{amount} below the last bit of the sums that they are added to{how}"


def near_dead_table(
    found: NearDead, width: int, top: int | None = None
) -> Iterator[RenderableType]:
    """A row per layer that has near-dead weights, or makes near-dead channels; `top` at most."""
    layers = most_of(found.layers, lambda layer: layer.near_dead_weights, top)
    columns = {
        Column("near-dead in", "left", least=12): [plain(layer.node) for layer in layers],
        Column("weights"): [engineering(layer.weights) for layer in layers],
        Column("of these\nnear-dead"): [engineering(e.near_dead_weights) for e in layers],
        Column("channels\nnear-dead"): [str(layer.near_dead_channels) for layer in layers],
    }
    if layers:
        rest = folded(len(found.layers) - len(layers), "layer", "fewer weights each are near-dead")
        yield Group(table_of(columns, width), *rest)


def _time(report: EnergyReport) -> str:
    """The time of the nodes with a timing, mostly the least, and what static power adds over it."""
    least = "at least " if report.hardware.machine.cycles_of_mac_unit is None else ""
    text = f"{least}{report.latency_ms:.3g} ms; modelled, not measured"
    static = report.static_energy_pj
    return text if static is None else f"{text}; static energy {joules(static)} beside the above"


def _footprint(held: Footprint) -> str:
    """Bytes of weights, and of feature maps at the node where most are alive."""
    (flash, sram), (node, most) = held.levels, held.peak
    sizes = [engineering(size, "B") for size in (held.weight_bytes, held.sizes[0], most)]
    where = f" at {shorten(node, 40)}" if node else ""
    return (
        f"weights {sizes[0]} of {sizes[1]} in {flash}, feature maps at most {sizes[2]} of "
        f"{engineering(held.sizes[1], 'B')} in {sram}{where}"
    )


def _kept(report: EnergyReport) -> str:
    """How many feature maps stay where, and what share of the energy that spares."""
    kept, spared = len(report.residency.tensor_bytes), report.residency.spared
    share = percent(spared / (report.energy_mac_units + spared))
    stay = "map stays" if kept == 1 else "maps stay"
    level = report.hardware.feature_maps_kept_in
    return f"{kept:,} feature {stay} in {level} between layers, which spares {share} of the energy"


def accuracy_row(accuracy: Accuracy | None) -> Iterator[tuple[str, str, str, str]]:
    """(figure, before, after, points won) where accuracy is known."""
    if accuracy is not None:
        name = f"{plain(accuracy.title)} on {count(accuracy.samples, 'input')}"
        won = accuracy.after - accuracy.before
        change = f"{100 * won:+.1f} points" if accuracy.is_share else f"{won:+.4g}"
        before, after = (metric_value(accuracy, v) for v in (accuracy.before, accuracy.after))
        yield name, before, after, change


def metric_value(accuracy: Accuracy, value: float) -> str:
    """A value of a metric: as a percentage where those of the original are shares."""
    return percent(value) if accuracy.is_share else accuracy.shown(value)


def coverage(
    report: EnergyReport | Timing, width: int, word: str = "modelled"
) -> Iterator[tuple[str, RenderableType]]:
    """How many nodes are modelled, and which are not and why; alike ones together."""
    known, missing = len(report.nodes), len(report.unmodelled)
    said = f"{known:,} of {count(known + missing, 'node')}"
    yield word, f"{said}; the total leaves out the others:" if missing else said
    if missing:
        yield "", _unmodelled_table(report.unmodelled, width)


def _shares(names: Iterable[str], parts: Sequence[Mapping[str, float]]) -> str:
    """`compute 7.1%, weights 27.0%, ...` of the sum of all parts."""
    sums = {name: sum(part.get(name, 0.0) for part in parts) for name in names}
    total = sum(sums.values()) or 1.0
    return ", ".join(f"{name} {percent(value / total)}" for name, value in sums.items())


def _density_source(analysis: Analysis, settings: Settings) -> str:
    if settings.density is not None:
        return f"as given by --density {settings.density}"
    if analysis.samples:
        return "weights' own; activations as measured on calibration inputs"
    return "weights' own; activations count as dense without --calib or --density"


# --- nodes -----------------------------------------------------------------------------------


def _rows_and_notes(report: EnergyReport, width: int, rows: RowChoice) -> Iterator[RenderableType]:
    by = rows.by or "node"
    if by == "node":
        yield from _nodes_and_notes(report, width, rows.top)
        return
    total = report.energy_mac_units or 1.0
    yield from group_table(energy_groups(report, by), total, by, width, rows.top)


def _nodes_and_notes(report: EnergyReport, width: int, top: int | None) -> Iterator[RenderableType]:
    nodes, total = report.nodes, report.energy_mac_units
    shown, rest = by_cost(nodes, _energy, total, width, top)
    if report.hardware.machine.cycles_of_mac_unit is None:
        yield cost_table(_COLUMNS, shown, _energy, total or 1.0, _cells, width)
    else:
        columns = (*_COLUMNS, *_ABSOLUTE)
        yield cost_table(
            columns, shown, _energy, total or 1.0, partial(_all_cells, report.hardware), width
        )
    if any(node.fused_into for node in shown):
        yield Text("+ fused into its producer: moves no words of its own", style="dim")
    if any(node.stay.operands for node in shown):
        yield Text("< ifmap and > ofmap stay on chip, in whole or in part", style="dim")
    if rest:
        amount = sum(node.energy_mac_units for node in rest)
        what = f"{percent(amount / total)} of the energy" if amount else "without energy"
        yield left_out(rest, f", {what}")


def cost_table(
    columns: Sequence[Column],
    nodes: Sequence[AnyNode],
    cost: Callable[[AnyNode], float],
    total: float,
    cells: Callable[[AnyNode], tuple[str, ...]],
    width: int,
) -> TextTable:
    """A row per node: its key, two `cells`, its share of the total, the running one, more cells."""
    rows = []
    for node, running in zip(nodes, accumulate(map(cost, nodes)), strict=True):
        operator, amount, *more = cells(node)
        share, so_far = percent(cost(node) / total), percent(running / total)
        rows.append((node.key, operator, amount, share, so_far, *more))
    fused = {place for place, node in enumerate(nodes) if node.fused_into}
    return table(columns, rows, width, dimmed=fused)


def left_out(nodes: Sequence[AnyNode], what: str = "") -> Text:
    """How many nodes have no row, and of which operators."""
    kinds = tally(node.op_type for node in nodes)
    return Text(f"{count(len(nodes), 'node')} not shown{what}: {kinds}", style="dim")


def _energy(node: NodeEnergy) -> float:
    return node.energy_mac_units


def _all_cells(hardware: HardwareModel, node: NodeEnergy) -> tuple[str, ...]:
    """Those of every machine, then time and joules."""
    ms = None if node.cycles is None else hardware.milliseconds(node.cycles)
    pj = hardware.mac_unit_pj
    absolute = (
        "" if ms is None else f"{ms:.3g}",
        "" if pj is None else joules(node.energy_mac_units * pj),
    )
    cells = _cells(node)
    return (*cells, *absolute)


def _cells(node: NodeEnergy) -> tuple[str, ...]:
    """The operator with its marks, the energy, the MACs and the densities that matter for them."""
    before = "+ " if node.fused_into else "< " if "ifmap" in node.stay.operands else ""
    operator = f"{before}{node.op_type}{' >' if 'ofmap' in node.stay.operands else ''}"
    densities = percent(node.densities.weights), percent(node.densities.ifmap)
    work = (engineering(node.macs), *densities) if node.macs else ("", "", "")
    return operator, engineering(node.energy_mac_units), *work


# --- what is not modelled --------------------------------------------------------------------


def _unmodelled_table(nodes: Sequence[Unmodelled], width: int) -> Table:
    """One line per node, or per reason where they are many."""
    grid = Table.grid(padding=(0, 2))
    if len(nodes) <= _LISTED:
        keys = apart((node.key for node in nodes), max(12, width // 4))
        for node in nodes:
            grid.add_row(keys[node.key], plain(node.op_type), plain(node.reason))
        return grid
    alike: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        alike[node.reason].append(node.op_type)
    for reason, ops in sorted(alike.items(), key=lambda item: (-len(item[1]), item[0])):
        grid.add_row(count(len(ops), "node"), f"{plain(reason)}: {tally(ops)}")
    return grid


def tally(names: Iterable[str]) -> str:
    """How often each name occurs, the most frequent first: `Cast 9, Round 5, Div`."""
    ranked = Counter(sorted(map(plain, names))).most_common()
    return ", ".join(f"{name} {number}" if number > 1 else name for name, number in ranked)


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _NAMED
    listed = ", ".join(apart(names[:_NAMED], 40).values())
    return f"{listed} and {more:,} more" if more > 0 else listed
