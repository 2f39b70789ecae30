"""The page of a pruned network: what was asked and reached, and every layer before and after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eapc.goals import Pruned
from eapc.pages.analysis_page import energy_choice, machine_fact, unmodelled_section
from eapc.pages.network_chart import network_drawing
from eapc.pages.page import Entry, Facts, Page, PageSection, Part, Sheet, Switch, one_of
from eapc.pages.pruning_charts import (
    LayerChange,
    energy_of_layers,
    error_text,
    errors_of_layers,
    layer_changes,
    zeros_of_layers,
)
from eapc.pages.tradeoff_chart import COST_NAMES, trial_charts
from eapc.report.layout import count, engineering, percent
from eapc.report.pruning import changes, made_facts, result_facts
from eapc.report.tables import heading
from eapc.workload import BitWidths


def pruning_page(pruned: Pruned, warnings: Iterable[str] = ()) -> Page:
    """Everything known about a pruned network."""
    facts = [
        ("asked", pruned.name),
        machine_fact(pruned.after.hardware),
        *result_facts(pruned),
        *(("warning", warning) for warning in warnings),
    ]
    sections = [
        PageSection("Before and after", [_change_table(pruned)]),
        *_layers(pruned),
        *_channels(pruned),
        *_skipped(pruned),
        *_trials(pruned),
        PageSection("Where the energy goes now", [energy_choice(pruned.after)]),
        PageSection("The network now", [network_drawing(pruned.model, pruned.after)]),
        *unmodelled_section(pruned.after.unmodelled),
        PageSection("How it was made", [Facts(list(made_facts(pruned)))]),
    ]
    return Page(f"{heading(pruned.model.name, pruned.after)}, pruned", facts, sections)


def layer_table(pruned: Pruned) -> Sheet:
    """A row per layer, in data-flow order; columns of which nothing is known are left out."""
    columns = ["layer", "energy before", "energy after", "after / before"]
    columns += ["weights", "zeros", "output error", "bits before", "bits after"]
    rows = [_row(change) for change in layer_changes(pruned)]
    known = [at for at in range(len(columns)) if any(row[at].text for row in rows)]
    shown = [[row[at] for at in known] for row in rows]
    return Sheet("layers before and after", [columns[at] for at in known], shown)


def _row(change: LayerChange) -> list[Entry]:
    one, other = change.before, change.after
    ratio = other / one if one and other is not None else None
    return [
        Entry(change.name),
        *(Entry("" if each is None else engineering(each), each) for each in (one, other)),
        Entry("" if ratio is None else percent(ratio), ratio),
        Entry("" if change.weights is None else engineering(change.weights), change.weights),
        Entry("" if change.zeros is None else percent(change.zeros), change.zeros),
        Entry(error_text(change.error), change.error),
        *(_bits(bits) for bits in (change.bits_before, change.bits_after)),
    ]


def _bits(bits: BitWidths | None) -> Entry:
    """`w8 a8`: the widths of the weights and of what the layer reads."""
    return Entry("") if bits is None else Entry(f"w{bits.weights} a{bits.ifmap}", bits.weights)


def _change_table(pruned: Pruned) -> Sheet:
    rows = [[Entry(text) for text in row] for row in changes(pruned)]
    return Sheet("figures before and after", ["figure", "before", "after", "change"], rows)


def _layers(pruned: Pruned) -> Iterator[PageSection]:
    found = layer_changes(pruned)
    if not found:
        return
    charts: dict[str, Part] = {"energy": energy_of_layers(pruned)}
    if any(change.zeros is not None for change in found):
        charts["zeros"] = zeros_of_layers(pruned)
    if any(change.error is not None for change in found):
        charts["output error"] = errors_of_layers(pruned)
    yield PageSection("Layer by layer", [Switch("show", charts), layer_table(pruned)])


def _channels(pruned: Pruned) -> Iterator[PageSection]:
    groups = pruned.groups
    if groups:
        rows = [
            [Entry(each.name), *(Entry(str(n), n) for n in (each.before, each.after))]
            for each in groups
        ]
        table = Sheet("channels before and after", ["made by", "before", "after"], rows)
        fewer = sum(each.after < each.before for each in groups)
        yield PageSection(
            "Channels", [table], f"{fewer} of {count(len(groups), 'group')} have fewer."
        )


def _skipped(pruned: Pruned) -> Iterator[PageSection]:
    if pruned.skipped:
        rows = [[Entry(each.name), Entry(each.reason)] for each in pruned.skipped]
        table = Sheet("layers left as they are", ["not pruned", "reason"], rows, names=2)
        yield PageSection(f"Not pruned: {count(len(rows), 'layer')}", [table])


def _trials(pruned: Pruned) -> Iterator[PageSection]:
    """What the search has tried, by each cost that is known, and a table of it."""
    trials = pruned.trials
    if not trials:
        return
    charts = trial_charts(trials)
    names = list(dict.fromkeys(name for trial in trials for name in trial.costs))
    rows = [
        [
            Entry(f"trial {number}"),
            Entry("chosen" if trial.is_chosen else "kept" if trial.is_kept else "missed"),
            *(Entry(percent(trial.costs.get(n)), trial.costs.get(n)) for n in names),
            Entry(error_text(trial.loss), trial.loss),
        ]
        for number, trial in enumerate(trials, 1)
    ]
    heads = [COST_NAMES.get(name, name) for name in names]
    table = Sheet("trials", ["trial", "goal", *heads, "loss"], rows, names=2)
    parts = [one_of("cost", charts)] if charts else []
    note = "Each network that the search has tried; costs are of the dense network's."
    yield PageSection("The search", [*parts, table], note)
