"""The page of a pruned network: what was asked and reached, and every layer before and after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eapc.goals import Pruned
from eapc.pages.analysis_page import energy_choice, machine_facts, unmodelled_section
from eapc.pages.network_chart import network_drawing
from eapc.pages.page import Cell, Choice, Facts, Page, Part, Section, Table
from eapc.pages.pruning_charts import (
    LayerChange,
    energy_of_layers,
    error_text,
    errors_of_layers,
    layer_changes,
    zeros_of_layers,
)
from eapc.pages.tradeoff_chart import costs_in, points_of, tradeoff_chart
from eapc.report.layout import count, engineering, percent
from eapc.report.pruning import changes, made_facts, result_facts
from eapc.report.tables import heading
from eapc.workload import BitWidths


def pruning_page(pruned: Pruned, warnings: Iterable[str] = ()) -> Page:
    """Everything known about a pruned network."""
    facts = [
        ("asked", pruned.name),
        *machine_facts(pruned.after.hardware),
        *result_facts(pruned),
        *(("warning", warning) for warning in warnings),
    ]
    sections = [
        Section("Before and after", [_change_table(pruned)]),
        *_layers(pruned),
        *_channels(pruned),
        *_skipped(pruned),
        *_trials(pruned),
        Section("Where the energy goes now", [energy_choice(pruned.after)]),
        Section("The network now", [network_drawing(pruned.model, pruned.after)]),
        *unmodelled_section(pruned.after.unmodelled),
        Section("How it was made", [Facts(list(made_facts(pruned)))]),
    ]
    return Page(f"{heading(pruned.model.name, pruned.after)}, pruned", facts, sections)


def layer_table(pruned: Pruned) -> Table:
    """A row per layer, in data-flow order."""
    columns = ["layer", "energy before", "energy after", "after / before"]
    columns += ["weights", "zeros", "output error", "bits before", "bits after"]
    rows = [_row(change) for change in layer_changes(pruned)]
    return Table("layers before and after", columns, rows)


def _row(change: LayerChange) -> list[Cell]:
    one, other = change.before, change.after
    ratio = other / one if one and other is not None else None
    return [
        Cell(change.name),
        *(Cell("" if each is None else engineering(each), each) for each in (one, other)),
        Cell("" if ratio is None else percent(ratio), ratio),
        Cell("" if change.weights is None else engineering(change.weights), change.weights),
        Cell("" if change.zeros is None else percent(change.zeros), change.zeros),
        Cell(error_text(change.error), change.error),
        *(_bits(bits) for bits in (change.bits_before, change.bits_after)),
    ]


def _bits(bits: BitWidths | None) -> Cell:
    """`w8 a8`: the widths of the weights and of what the layer reads."""
    return Cell("") if bits is None else Cell(f"w{bits.weights} a{bits.ifmap}", bits.weights)


def _change_table(pruned: Pruned) -> Table:
    rows = [[Cell(text) for text in row] for row in changes(pruned)]
    return Table("figures before and after", ["figure", "before", "after", "change"], rows)


def _layers(pruned: Pruned) -> Iterator[Section]:
    found = layer_changes(pruned)
    if not found:
        return
    charts: dict[str, Part] = {"energy": energy_of_layers(pruned)}
    if any(change.zeros is not None for change in found):
        charts["zeros"] = zeros_of_layers(pruned)
    if any(change.error is not None for change in found):
        charts["output error"] = errors_of_layers(pruned)
    yield Section("Layer by layer", [Choice("show", charts), layer_table(pruned)])


def _channels(pruned: Pruned) -> Iterator[Section]:
    groups = pruned.groups
    if groups:
        rows = [
            [Cell(each.name), *(Cell(str(n), n) for n in (each.before, each.after))]
            for each in groups
        ]
        table = Table("channels before and after", ["made by", "before", "after"], rows)
        fewer = sum(each.after < each.before for each in groups)
        yield Section("Channels", [table], f"{fewer} of {count(len(groups), 'group')} have fewer.")


def _skipped(pruned: Pruned) -> Iterator[Section]:
    if pruned.skipped:
        rows = [[Cell(each.name), Cell(each.reason)] for each in pruned.skipped]
        table = Table("layers left as they are", ["not pruned", "reason"], rows, names=2)
        yield Section(f"Not pruned: {count(len(rows), 'layer')}", [table])


def _trials(pruned: Pruned) -> Iterator[Section]:
    """What the search has tried, by each cost that is known, and a table of it."""
    trials = pruned.trials
    if not trials:
        return
    charts: dict[str, Part] = {
        cost: tradeoff_chart(points_of(trials, cost), cost) for cost in costs_in(trials)
    }
    names = list(dict.fromkeys(name for trial in trials for name in trial.costs))
    rows = [
        [
            Cell(f"trial {number}"),
            Cell("chosen" if trial.is_chosen else "kept" if trial.is_kept else "missed"),
            *(Cell(percent(trial.costs.get(n)), trial.costs.get(n)) for n in names),
            Cell(error_text(trial.loss), trial.loss),
        ]
        for number, trial in enumerate(trials, 1)
    ]
    table = Table("trials", ["trial", "goal", *names, "loss"], rows, names=2)
    parts: list[Part] = [Choice("cost", charts)] if charts else []
    note = "Each network that the search has tried; costs are of the dense network's."
    yield Section("The search", [*parts, table], note)
