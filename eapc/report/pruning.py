"""A pruned model as people read it: before and after, layer by layer, what was left alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from eapc.allocation import LOWEST_DENSITY
from eapc.commands.compiler import Ran
from eapc.commands.planning import Plan
from eapc.energy import EnergyReport
from eapc.evaluation import Accuracy, Agreement
from eapc.goals import Pruned
from eapc.layers import Skipped
from eapc.pipeline import ChannelRecord, Latency, LayerRecord
from eapc.report.documents import node_energy
from eapc.report.layout import Column, facts, plain, spaced, table, title
from eapc.report.numbers import count, engineering, joules, percent, seconds
from eapc.report.tables import coverage, heading, some, totals

_EXPECTED = "weights zeroed by magnitude; refitting chooses anew and moves energies a little"
_NOT_REFITTED = "before refitting, which moves energies a little"
NOT_MEASURED = "energy is modelled; zeros alone do not make a stock runtime faster"
NO_COMPARISON = "energy is modelled; `eapc compare` measures the latency of both models"

_CLOSE_TO_FLOOR = 0.05
"""Above the floor by less than this fraction of the dense energy, little is left to save."""


def prune_table(pruned: Pruned, width: int) -> Group:
    """Everything known about a pruned model, for an output of `width` characters."""
    parts: list[RenderableType] = [
        title(heading(pruned.model.name, pruned.after)),
        _before_and_after(pruned, width),
    ]
    if pruned.groups:
        parts.append(_channel_table(pruned.groups, width))
    if pruned.layers:
        parts.append(_layer_table(pruned.layers, pruned.before, pruned.after, width))
    entries = [
        ("goal", "met" if pruned.goal_met else f"not met: {plain(pruned.reason)}"),
        *_agreement(pruned.held_out),
        *_decided(pruned.decided),
        *_floor(pruned),
        *([("made-up inputs", plain(pruned.inputs))] if pruned.inputs else []),
        *_skipped(pruned.skipped),
        *_unmodelled(pruned.after, width),
        ("pipeline", plain(pruned.pipeline)),
        ("output", plain(str(pruned.output)) if pruned.output else "not written"),
        ("time", _times(pruned.seconds)),
        ("note", NO_COMPARISON if pruned.groups else NOT_MEASURED),
    ]
    parts.append(facts(entries))
    return Group(*spaced(parts))


def run_table(ran: Ran, width: int) -> Group:
    """What a typed pipeline made of a model, for an output of `width` characters."""
    done = ran.compilation
    parts: list[RenderableType] = [title(f"{done.model.name} on {done.hardware.name}")]
    layers = tuple(done.record.layers.values())
    if layers:
        parts.append(_layer_table(layers, None, done.energy, width))
    entries: list[tuple[str, RenderableType]] = []
    if done.energy is None:
        entries.append(("energy", "unknown: end the pipeline in annotate-energy to have it"))
    else:
        entries.extend([*totals(done.energy), *coverage(done.energy, width)])
    entries.extend(_skipped(done.record.skipped))
    entries.append(("pipeline", plain(ran.pipeline)))
    entries.append(("output", plain(str(ran.output)) if ran.output else "not written"))
    entries.append(("time", _times(done.record.seconds)))
    parts.append(facts(entries))
    return Group(*spaced(parts))


def plan_table(plan: Plan, width: int) -> Group:
    """What pruning would do, for an output of `width` characters."""
    expected = plan.expected
    parts: list[RenderableType] = [plain(plan.pipeline)]
    if expected is None:
        parts.append(plain("the budget is searched: energies are not known before"))
        return Group(*spaced(parts))
    before, after = expected.before, expected.after
    if expected.groups:
        parts.append(_channel_table(expected.groups, width))
    parts.append(_layer_table(expected.layers, before, after, width))
    amounts = [engineering(each.energy_mac_units) for each in (before, after)]
    said = f"{amounts[0]} -> {amounts[1]} MAC units, {percent(expected.energy_ratio)}"
    note = _NOT_REFITTED if expected.groups else _EXPECTED
    entries = [("expected energy", said), *_expected_latency(expected.latency), ("note", note)]
    parts.append(facts(entries))
    return Group(*spaced(parts))


def _expected_latency(latency: Latency | None) -> Iterator[tuple[str, str]]:
    if latency is not None:
        amounts = f"{latency.before_ms:.3g} -> {latency.after_ms:.3g} ms"
        machine = plain(latency.machine)
        yield "expected latency", f"{amounts} on {machine}, {percent(latency.ratio)}"


def _before_and_after(pruned: Pruned, width: int) -> Table:
    columns = (Column("", "left"), Column("before"), Column("after"), Column("", "right"))
    return table(columns, list(_changes(pruned)), width)


def _changes(pruned: Pruned) -> Iterator[tuple[str, str, str, str]]:
    """(figure, before, after, how they compare)."""
    before, after = pruned.before, pruned.after
    amounts = engineering(before.energy_mac_units), engineering(after.energy_mac_units)
    yield "energy, MAC units", *amounts, percent(pruned.energy_ratio)
    if before.energy_pj is not None and after.energy_pj is not None:
        yield "energy", joules(before.energy_pj), joules(after.energy_pj), ""
    for name, one, other in (
        ("MACs", before.macs, after.macs),
        ("MACs, both operands non-zero", before.nonskipped_macs, after.nonskipped_macs),
        ("non-zero weights", before.nonzero_weights, after.nonzero_weights),
    ):
        yield name, engineering(one), engineering(other), _ratio(one, other)
    if pruned.latency is not None:
        one, other = pruned.latency.before_ms, pruned.latency.after_ms
        name = f"latency on {pruned.latency.machine}, ms"
        yield name, f"{one:.3g}", f"{other:.3g}", percent(pruned.latency.ratio)
    for name, one, other in (("weights", before.weights, after.weights),):
        if one != other:
            yield name, engineering(one), engineering(other), _ratio(one, other)
    accuracy = pruned.accuracy
    if accuracy is not None:
        points = f"{100 * (accuracy.after - accuracy.before):+.1f} points"
        name = f"{accuracy.metric} accuracy on {count(accuracy.samples, 'input')}"
        yield name, percent(accuracy.before), percent(accuracy.after), points


def _channel_table(groups: Sequence[ChannelRecord], width: int) -> Table:
    """A row per channel group that lost channels."""
    columns = (Column("channels made by", "left", least=12), Column("before"), Column("after"))
    changed = [group for group in groups if group.after < group.before]
    rows = [(group.name, str(group.before), str(group.after)) for group in changed]
    return table(columns, rows, width)


def _ratio(before: float, after: float) -> str:
    return percent(after / before) if before else ""


def _layer_table(
    records: Sequence[LayerRecord],
    before: EnergyReport | None,
    after: EnergyReport | None,
    width: int,
) -> Table:
    """A row per pruned weight tensor in data-flow order; energies are its first node's."""
    columns = [
        Column("layer", "left", least=12),
        Column("weights"),
        Column("zeros"),
        Column("output\nerror"),
    ]
    if before is None:
        columns.append(Column("energy"))
    else:
        columns.extend([Column("energy\nbefore"), Column("energy\nafter"), Column("")])
    rows = []
    for record in records:
        then, now = node_energy(before, record.name), node_energy(after, record.name)
        change = (_amount(then), _amount(now), _ratio(then or 0, now or 0))
        rows.append(
            (
                record.name,
                engineering(record.weights),
                percent(record.sparsity),
                _error(record.relative_output_error),
                *((_amount(now),) if before is None else change),
            )
        )
    return table(columns, rows, width)


def _amount(mac_units: float | None) -> str:
    return "-" if mac_units is None else engineering(mac_units)


def _error(relative: float | None) -> str:
    if relative is None:
        return "-"
    return "<0.001" if 0 < relative < 0.0005 else f"{relative:.3f}"


def _agreement(agreement: Agreement | None) -> Iterator[tuple[str, str]]:
    if agreement is None:
        return
    held_out = f"on {count(agreement.samples, 'input')} kept out of the fit"
    if agreement.is_share:
        said = f"{percent(agreement.value)} {held_out}, at least {percent(agreement.limit)} wanted"
    else:
        said = f"{agreement.value:.3g} {held_out}, at most {agreement.limit:.3g} wanted"
    yield agreement.metric.removeprefix("relative "), said


def _decided(decided: Accuracy | None) -> Iterator[tuple[str, str]]:
    if decided is not None:
        change = f"{percent(decided.before)} before, {percent(decided.after)} after"
        yield "decided on", f"top-1 accuracy on {count(decided.samples, 'other input')}: {change}"


def _floor(pruned: Pruned) -> Iterator[tuple[str, str]]:
    """What zeroing weights cannot go below, where the result has come close to it."""
    floor = pruned.floor
    if pruned.groups:
        return
    if floor is not None and pruned.energy_ratio - floor < _CLOSE_TO_FLOOR:
        kept = f"{100 * LOWEST_DENSITY:g} % of every layer's weights"
        yield "floor", f"about {percent(floor)} of the energy stays with {kept} left"


def _skipped(skipped: Sequence[Skipped]) -> Iterator[tuple[str, str]]:
    """What was not pruned: one line per reason."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for entry in skipped:
        by_reason[entry.reason].append(entry.name)
    for i, (reason, names) in enumerate(by_reason.items()):
        said = f"{count(len(names), 'layer')}, {plain(reason)}: {some(names)}"
        yield "" if i else "not pruned", said


def _unmodelled(report: EnergyReport, width: int) -> Iterable[tuple[str, RenderableType]]:
    return coverage(report, width) if report.unmodelled else ()


def _times(spent: Mapping[str, float]) -> str:
    """`12.3 s: prune-weights 4.1 s, ...`; leaves out stages below a hundredth of the total."""
    stages = {name: duration for name, duration in spent.items() if name != "total"}
    known = sum(stages.values())
    total = spent.get("total", known)
    stages["the rest"] = total - known
    parts = [f"{name} {seconds(taken)}" for name, taken in stages.items() if taken > 0.01 * total]
    return f"{seconds(total)}: {', '.join(parts)}" if parts else seconds(total)
