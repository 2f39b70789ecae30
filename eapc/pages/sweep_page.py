"""The page of a sweep: the trade-off, every goal, and what each search has tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from eapc.commands.sweep import Swept
from eapc.evaluation import TOP1_AGREEMENT
from eapc.goals import Pruned, costs_of
from eapc.pages.chart import Chart
from eapc.pages.comparison_charts import layer_chart
from eapc.pages.page import Entry, Page, PageSection, Sheet, one_of
from eapc.pages.pareto_chart import Offer, Quality, front_of, pareto_chart
from eapc.pages.tradeoff_chart import COST_NAMES, trial_charts
from eapc.report.layout import likeness_of, percent
from eapc.report.sweeps import sweep_columns, sweep_facts
from eapc.report.tables import heading

_MOST_LAYERED = 4
"""Results that stand beside the dense network layer by layer."""


def sweep_page(swept: Swept, warnings: Iterable[str] = ()) -> Page:
    """Everything that a sweep has found."""
    sections = [
        *_tradeoffs(swept.rows),
        PageSection("Every goal", [goal_table(swept.rows)]),
        *_searches(swept.rows),
        PageSection("Layer by layer", [_layers(swept)]),
    ]
    facts = [*sweep_facts(swept), *(("warning", warning) for warning in warnings)]
    return Page(heading(swept.model.name, swept.before), facts, sections)


def sweep_chart(swept: Swept) -> Chart:
    """The trade-off that a sweep is about: what serves against what the goals lower."""
    cost = "latency" if all("latency" in costs for costs in map(_costs, swept.rows)) else "energy"
    quality = next(iter(qualities_of(swept.rows)), None)
    if quality is None:
        return _layers(swept)
    return pareto_chart(offers_of(swept.rows, quality, cost), quality, COST_NAMES[cost])


def qualities_of(rows: Sequence[Pruned]) -> list[Quality]:
    """What is known of how well every row serves: a metric of labelled inputs, agreement."""
    found = []
    accuracies = [row.accuracy for row in rows if row.accuracy is not None]
    if len(accuracies) == len(rows) > 0:
        found.append(Quality(accuracies[0].title, True, accuracies[0].is_share))
    agreements = [row.agreement for row in rows if row.agreement is not None]
    if len(agreements) == len(rows) > 0 and len({each.metric for each in agreements}) == 1:
        first = agreements[0]
        found.append(Quality(first.metric, first.is_share, first.is_share))
    return found


def offers_of(rows: Sequence[Pruned], quality: Quality, cost: str) -> list[Offer]:
    """Each row by its cost and quality, and the dense network, which costs 1."""
    offers = [
        Offer(
            _label(row),
            _costs(row)[cost],
            (value := _value(row, quality)),
            f"{row.name}: {COST_NAMES[cost]} {percent(_costs(row)[cost])}, "
            f"{quality.name} {_shown(quality, value)}{'' if row.confirmed else '; not confirmed'}",
            row.goal_met,
        )
        for row in rows
    ]
    dense = _dense(rows, quality)
    text = f"dense network: {quality.name} {_shown(quality, dense)}"
    return [*offers, Offer("", 1.0, dense, text, is_dense=True)]


def goal_table(rows: Sequence[Pruned]) -> Sheet:
    """A row per goal as the terminal has it, and whether it is on the front."""
    shown = {
        column.heading.replace("\n", " "): cells for column, cells in sweep_columns(rows).items()
    }
    columns = list(shown)
    cells = [[_cell(text) for text in row] for row in zip(*shown.values(), strict=True)]
    for quality in qualities_of(rows)[:1]:
        offers = offers_of(rows, quality, "energy")[:-1]
        front = front_of(offers, quality)
        columns.append("on the front")
        cells = [
            [*row, Entry("yes" if offer in front else "no")]
            for row, offer in zip(cells, offers, strict=True)
        ]
    return Sheet("every goal", columns, cells)


def _tradeoffs(rows: Sequence[Pruned]) -> Iterator[PageSection]:
    """Every quality that is known against every cost."""
    keys = [key for key in COST_NAMES if all(key in _costs(row) for row in rows)]
    by_quality = {
        quality.name: one_of(
            "against",
            {
                (name := COST_NAMES[key]): pareto_chart(
                    offers_of(rows, quality, key), quality, name
                )
                for key in keys
            },
        )
        for quality in qualities_of(rows)
    }
    if by_quality:
        yield PageSection("The trade-off", [one_of("quality", by_quality)])


def _searches(rows: Sequence[Pruned]) -> Iterator[PageSection]:
    """The trials of each goal that was searched for by what the outputs lose."""
    found = {
        row.name: one_of("cost", charts) for row in rows if (charts := trial_charts(row.trials))
    }
    if found:
        yield PageSection("Every trial of a search", [one_of("goal", found)])


def _layers(swept: Swept) -> Chart:
    """Layer by layer, the dense network and some of the results."""
    rows = swept.rows[:_MOST_LAYERED]
    values = [_label(row) for row in rows]
    names = values if len(set(values)) == len(values) else [row.name for row in rows]
    sides = dict(zip(names, (row.after for row in rows), strict=True))
    return layer_chart({"dense": swept.before, **sides})


def _label(row: Pruned) -> str:
    """What was asked, in a few letters: a joint goal has two values."""
    return " / ".join(str(part.value) for part in row.goal.parts)


def _costs(row: Pruned) -> dict[str, float]:
    return costs_of(row.compilation, row.before)


def _value(row: Pruned, quality: Quality) -> float:
    if row.accuracy is not None and row.accuracy.title == quality.name:
        return row.accuracy.after
    assert row.agreement is not None  # of a quality that all rows have
    return row.agreement.value


def _dense(rows: Sequence[Pruned], quality: Quality) -> float:
    """What the network gave before: it agrees with itself, without an error."""
    for row in rows:
        if row.accuracy is not None and row.accuracy.title == quality.name:
            return row.accuracy.before
    return 1.0 if quality.more_is_better else 0.0


def _shown(quality: Quality, value: float) -> str:
    return likeness_of(TOP1_AGREEMENT if quality.is_share else quality.name, value)


def _cell(text: str) -> Entry:
    """What begins with a number is sorted by it."""
    number = text.removesuffix("%").replace(",", "")
    try:
        return Entry(text, float(number))
    except ValueError:
        return Entry(text)
