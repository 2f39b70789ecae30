"""A pruned model as people read it: before and after, layer by layer, what was left alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType

from eapc.allocation import LOWEST_DENSITY
from eapc.commands.compiler import Ran
from eapc.commands.planning import DryRun
from eapc.energy import EnergyReport
from eapc.evaluation import TOP1, Accuracy
from eapc.goals import Pruned
from eapc.layers import Skipped
from eapc.pipeline import ChannelRecord, Compilation, LatencyRecord, LayerRecord
from eapc.repair import Repaired
from eapc.report.classes import class_facts
from eapc.report.documents import layer_energy
from eapc.report.goals import asked_rows, frontier_table
from eapc.report.grouping import ALL_ROWS, RowChoice, change_table, folded, most_of
from eapc.report.hardware_files import hardware_facts
from eapc.report.layout import (
    NOT_FINITE,
    UNLIMITED,
    Column,
    count,
    engineering,
    facts,
    joules,
    judged_on,
    likeness_of,
    page,
    percent,
    plain,
    seconds,
    table,
    table_of,
    title,
    written_facts,
)
from eapc.report.tables import accuracy_row, coverage, heading, metric_value, some, totals
from eapc.report.uncertainty import energy_uncertainty, ratio_uncertainty
from eapc.report.widths import width_rows
from eapc.tuning import Tuned

_EXPECTED = "weights zeroed by magnitude; refitting chooses anew and moves energies a little"
_NOT_REFITTED = "before refitting, which moves energies a little"
_NOT_PRUNED = "nothing is pruned"
NOT_MEASURED = "energy is modelled; zeros alone do not make a stock runtime faster"
NO_COMPARISON = "energy is modelled; `eapc compare` measures the latency of both models"

_CLOSE_TO_FLOOR = 0.05
"""Above the floor by less than this fraction of the dense energy, little is left to save."""


def prune_table(
    pruned: Pruned, width: int, rows: RowChoice = ALL_ROWS, written: Iterable[Path] = ()
) -> Group:
    """Everything known about a pruned model, for an output of `width` characters.

    In place of layers and channels there are the rows that `rows` asks for by another word.
    """
    before, after = pruned.before, pruned.after
    measured = pruned.compilation.measured
    if rows.by is None:
        parts = [
            *_channel_table(pruned.groups, width, rows.top),
            *_layer_table(pruned.layers, before, after, width, rows.top),
        ]
    else:
        parts = [Group(*change_table(before, after, rows, width))]
    columns = (Column("", "left"), Column("before"), Column("after"), Column("", "right"))
    entries = [
        *result_facts(pruned),
        *_skipped(pruned.skipped),
        *(coverage(after, width) if after.unmodelled else ()),
        *made_facts(pruned),
        *written_facts(written),
    ]
    return page(
        title(heading(pruned.model.name, after, measured)),
        table(columns, list(changes(pruned)), width),
        *parts,
        *frontier_table(pruned, width),
        facts(entries),
    )


def result_facts(pruned: Pruned) -> Iterator[tuple[str, str]]:
    """What the goal has come to, how sure that is, and on which inputs."""
    yield "goal", plain(pruned.shortfall) or "met"
    yield from asked_rows(pruned)
    yield from class_facts(pruned)
    yield from ratio_uncertainty(pruned.before, pruned.after)
    yield "uncertainty", energy_uncertainty(pruned.after.hardware)
    yield from hardware_facts(pruned.after.hardware, pruned.compilation.measured)
    yield from _repaired(pruned.compilation.record.repaired)
    yield from trained(pruned.compilation.record.tuned)
    yield from _agreement(pruned)
    yield from _decided(pruned)
    yield from _floor(pruned)
    if pruned.inputs:
        yield "made-up inputs", plain(pruned.inputs)
    yield from (("", plain(note)) for note in pruned.assumed)


def made_facts(pruned: Pruned) -> Iterator[tuple[str, str]]:
    """What is to be noted of the result, what made it and where it is."""
    yield from _notes(pruned.compilation)
    yield from _made(pruned.pipeline, pruned.output, pruned.seconds)
    yield "note", NO_COMPARISON if pruned.groups else NOT_MEASURED


def _repaired(repaired: Repaired | None) -> Iterator[tuple[str, str]]:
    """What repair has come to, if there was any."""
    if repaired is not None:
        errors = f"error {repaired.before:.3g} before, {repaired.after:.3g} after"
        yield "repaired", f"{errors} on {count(repaired.held_out, 'input')} held out"


def trained(tuned: Tuned | None) -> Iterator[tuple[str, str]]:
    """What training has come to, if there was any."""
    if tuned is None:
        return
    made = f"{len(tuned.epochs)} of {tuned.planned} epochs of {tuned.samples} inputs"
    yield "trained", f"{made}, learning rate {tuned.learning_rate:g}, images: {tuned.augmentation}"
    lost = f"loss {tuned.before:.4g} before, {tuned.after:.4g} after"
    yield "", f"{lost}, on {tuned.held_out} inputs held out"
    if not tuned.changed:
        yield "", "nothing was gained: the weights are as they were"


def run_table(ran: Ran, width: int) -> Group:
    """What a typed pipeline made of a model, for an output of `width` characters."""
    done = ran.compilation
    layers = tuple(done.record.layers.values())
    unknown = ("energy", "unknown: end the pipeline in annotate-energy to have it")
    energies = [*totals(done.energy), *coverage(done.energy, width)] if done.energy else [unknown]
    made = _made(ran.pipeline, ran.output, done.record.seconds)
    repaired = _repaired(done.record.repaired)
    hardware = hardware_facts(done.hardware, done.measured)
    return page(
        title(f"{done.model.name} on {done.hardware.name}"),
        *_layer_table(layers, None, done.energy, width),
        facts(
            [*energies, *hardware, *repaired, *_skipped(done.record.skipped), *_notes(done), *made]
        ),
    )


def plan_table(plan: DryRun, width: int) -> Group:
    """What pruning would do, for an output of `width` characters."""
    expected, pipeline = plan.expected, plain(plan.pipeline)
    if expected is None:
        return page(pipeline, "the budget is searched: energies are not known before")
    before, after = expected.before, expected.after
    amounts = [engineering(each.energy_mac_units) for each in (before, after)]
    said = f"{amounts[0]} -> {amounts[1]} MAC units, {percent(expected.energy_ratio)}"
    note = _NOT_REFITTED if expected.groups else _EXPECTED if expected.layers else _NOT_PRUNED
    widths = [(figure, f"{one} -> {other}") for figure, one, other, _ in width_rows(before, after)]
    entries = [
        ("expected energy", said),
        *widths,
        *_expected_latency(expected.latency),
        *hardware_facts(after.hardware, expected.compilation.measured),
        ("note", note),
    ]
    layers = _layer_table(expected.layers, before, after, width)
    return page(pipeline, *_channel_table(expected.groups, width), *layers, facts(entries))


def _notes(done: Compilation) -> list[tuple[str, str]]:
    """What passes have to say, a line each."""
    return [("note", plain(note)) for note in done.record.notes]


def _made(pipeline: str, output: Path | None, spent: Mapping[str, float]) -> list[tuple[str, str]]:
    """What made the result, where it is, and what it took."""
    return [
        ("pipeline", plain(pipeline)),
        ("output", plain(str(output)) if output else "not written"),
        ("time", _times(spent)),
    ]


def _expected_latency(latency: LatencyRecord | None) -> Iterator[tuple[str, str]]:
    if latency is not None:
        amounts = f"{latency.before_ms:.3g} -> {latency.after_ms:.3g} ms"
        machine = plain(latency.machine)
        yield "expected latency", f"{amounts} on {machine}, {percent(latency.ratio)}"


def changes(pruned: Pruned) -> Iterator[tuple[str, str, str, str]]:
    """(figure, before, after, how they compare); milliseconds come first where they count."""
    before, after = pruned.before, pruned.after
    if pruned.latency is not None:
        one_ms, other_ms = pruned.latency.before_ms, pruned.latency.after_ms
        bits = f", {pruned.latency.bits} bits" if pruned.latency.bits else ""
        name = f"latency on {plain(pruned.latency.machine)}{bits}, ms"
        yield name, f"{one_ms:.3g}", f"{other_ms:.3g}", percent(pruned.latency.ratio)
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
    yield from width_rows(before, after)
    one, other = before.weights, after.weights
    if one != other:
        yield "weights", engineering(one), engineering(other), _ratio(one, other)
    yield from accuracy_row(pruned.accuracy)


def _channel_table(
    groups: Sequence[ChannelRecord], width: int, top: int | None = None
) -> Iterator[RenderableType]:
    """A row per channel group that lost channels, where there are any groups."""
    changed = [group for group in groups if group.after < group.before]
    shown = most_of(changed, lambda group: group.before - group.after, top)
    columns = {
        Column("channels made by", "left", least=12): [group.name for group in shown],
        Column("before"): [str(group.before) for group in shown],
        Column("after"): [str(group.after) for group in shown],
    }
    if not groups:
        return
    yield Group(
        table_of(columns, width),
        *folded(len(changed) - len(shown), "group", "fewer channels each have gone"),
        *folded(len(groups) - len(changed), "group", "no channel has gone"),
    )


def _ratio(before: float, after: float) -> str:
    return percent(after / before) if before else ""


def _layer_table(
    records: Sequence[LayerRecord],
    before: EnergyReport | None,
    after: EnergyReport | None,
    width: int,
    top: int | None = None,
) -> Iterator[RenderableType]:
    """A row per pruned weight tensor, if any, in data-flow order, with its share of the energy.

    On a terminal those of which nothing was zeroed are summed up in a line; `top` are as many of
    the others, those that took the most energy.
    """
    is_folding = width < UNLIMITED
    pruned = [record for record in records if record.sparsity or not is_folding]
    shown = most_of(pruned, lambda record: layer_energy(before or after, record) or 0.0, top)
    then, now = ([layer_energy(report, record) for record in shown] for report in (before, after))
    columns = {
        Column("layer", "left", least=12): [record.name for record in shown],
        Column("weights"): [engineering(record.weights) for record in shown],
        Column("zeros"): [percent(record.sparsity) for record in shown],
        Column("output\nerror"): [_error(record.relative_output_error) for record in shown],
    }
    if before is None:
        columns[Column("energy")] = [_amount(energy) for energy in now]
    else:
        columns[Column("energy\nbefore")] = [_amount(energy) for energy in then]
        columns[Column("energy\nafter")] = [_amount(energy) for energy in now]
        columns[Column("")] = [_ratio(a or 0, b or 0) for a, b in zip(then, now, strict=True)]
    if records:
        yield Group(
            table_of(columns, width),
            *folded(len(pruned) - len(shown), "layer", "each takes less than those above"),
            *folded(len(records) - len(pruned), "layer", "nothing was zeroed"),
        )


def _amount(mac_units: float | None) -> str:
    return "-" if mac_units is None else engineering(mac_units)


def _error(relative: float | None) -> str:
    if relative is None:
        return "-"
    if not math.isfinite(relative):
        return NOT_FINITE
    return "<0.001" if 0 < relative < 0.0005 else f"{relative:.3f}"


def _agreement(pruned: Pruned) -> Iterator[tuple[str, str]]:
    """How far the outputs are the original's, and where; what is wanted of it where it decides."""
    agreement = pruned.agreement
    if agreement is None:
        return
    value, limit = (likeness_of(agreement.metric, v) for v in (agreement.value, agreement.limit))
    wanted = f", at {'least' if agreement.is_share else 'most'} {limit} wanted"
    where = judged_on(agreement.samples, pruned.fitted)
    said = f"{value} on {where}{'' if pruned.goal.remedy else wanted}"
    yield agreement.metric.removeprefix("relative "), said
    if agreement.part and agreement.mean is not None:
        mean = likeness_of(agreement.metric, agreement.mean)
        yield "", f"that is of {plain(agreement.part)}, the worst part; {mean} on average"
    if agreement.unjudged:
        yield "not judged", f"{plain(', '.join(agreement.unjudged))}: the same for all these inputs"


def _decided(pruned: Pruned) -> Iterator[tuple[str, str]]:
    decided, other = pruned.decided, pruned.accuracy
    if decided is not None:
        before, after = (metric_value(decided, v) for v in (decided.before, decided.after))
        where = f"{plain(decided.title)} on {count(decided.samples, 'other input')}"
        yield "decided on", f"{where}: {before} before, {after} after"
    if other is None:
        return
    yield "loss", _loss(other)
    if pruned.confidence is not None:
        told = f"{percent(pruned.confidence)} by the inputs that did not decide"
        bound = next(part for part in pruned.goal.parts if part.needs_labels)
        drop = bound.value
        yield "confidence", f"{told} that {bound.option} {drop:g} holds"
        enough = other.samples_to_tell(drop) if drop else None
        if enough is not None and enough > other.samples:
            needed = count(2 * enough, "labelled input" if other.metric == TOP1 else "input")
            yield "", f"too few inputs to tell: about {needed} would do"


def _loss(accuracy: Accuracy) -> str:
    """`1.2 points, 0.4 to 2.0 in 95 of 100 cases`."""
    low, high = accuracy.loss_interval
    if accuracy.is_share:
        low, high = 100 * low, 100 * high
    shown = ".1f" if accuracy.is_share else ".4g"
    interval = f", {low:{shown}} to {high:{shown}} in 95 of 100 cases"
    return accuracy.amount(accuracy.loss) + interval * math.isfinite(high - low)


def _floor(pruned: Pruned) -> Iterator[tuple[str, str]]:
    """What zeroing weights cannot go below, where the result has come close to it."""
    floor = None if pruned.groups else pruned.floor
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


def _times(spent: Mapping[str, float]) -> str:
    """`12.3 s: prune-weights 4.1 s, ...`; leaves out stages below a hundredth of the total."""
    stages = {name: duration for name, duration in spent.items() if name != "total"}
    known = sum(stages.values())
    total = spent.get("total", known)
    stages["the rest"] = total - known
    parts = [f"{name} {seconds(taken)}" for name, taken in stages.items() if taken > 0.01 * total]
    return f"{seconds(total)}: {', '.join(parts)}" if parts else seconds(total)
