"""The page of a pruned network: before and after, and what the search has tried."""

from __future__ import annotations

from dataclasses import replace

import pytest
from page_builders import rows_of, seen
from test_report import a_pruned

from eapc.goals import Trial
from eapc.pages import Chart
from eapc.pages.pruning_charts import energy_of_layers, layer_changes
from eapc.pages.pruning_page import pruning_page
from eapc.pages.tradeoff_chart import points_of, tradeoff_chart, trial_charts
from eapc.pipeline import ChannelRecord

TRIALS = (
    Trial({"energy": 0.8, "macs": 0.9}, 0.01, is_kept=True),
    Trial({"energy": 0.5}, 0.2, is_kept=False),
    Trial({"energy": 0.7}, 0.02, is_kept=True, is_chosen=True),
    Trial({"size": 0.7}, None, is_kept=True),
)


BITS = ["bits before", "bits after"]


def values_of(chart: Chart) -> list[dict[str, object]]:
    values = chart.spec["data"]["values"]
    assert isinstance(values, list)
    return values


def test_each_layer_stands_before_and_after() -> None:
    small, gone = layer_changes(a_pruned())
    assert (small.name, small.after, small.zeros, small.error) == ("small", 500.0, 0.75, 0.125)
    assert (gone.before, gone.after) == (None, None)
    found = {(v["bar"], v["when"]): v["amount"] for v in values_of(energy_of_layers(a_pruned()))}
    assert found == {("small", "before"): small.before, ("small", "after"): 500.0}


def test_without_pruned_layers_nodes_with_macs_are_compared() -> None:
    pruned = a_pruned()
    bare = replace(pruned, compilation=pruned.compilation.with_record(layers={}))
    (*_, sheet) = [data for data in seen(pruning_page(bare).html()).data if "columns" in data][:2]
    assert sheet["columns"] == ["layer", "energy before", "energy after", "after / before", *BITS]
    names = [change.name for change in layer_changes(bare)]
    assert names == [node.key for node in pruned.before.nodes if node.macs]


def test_points_are_the_trials_whose_cost_is_known() -> None:
    points = points_of(TRIALS, "energy")
    assert [(p.cost, p.loss) for p in points] == [(0.8, 0.01), (0.5, 0.2), (0.7, 0.02)]
    assert [p.kind for p in points] == ["within the goal", "outside the goal", "chosen"]
    assert list(trial_charts(TRIALS)) == ["energy"]  # one point of MACs, a size without a loss
    drawn = values_of(tradeoff_chart(points, "energy"))
    assert [value["kind"] for value in drawn].count("chosen") == 1


def test_a_page_says_what_was_asked_and_reached() -> None:
    pruned = a_pruned(trials=TRIALS)
    page = seen(pruning_page(pruned, ["few rows"]).html())
    for text in ("--sparsity 0.5", "met", "few rows", "Not pruned: 3 layers", "out.onnx"):
        assert text in page.text
    rows = rows_of(page, "layer")
    assert rows_of(page, "not pruned")[0] == ["b", "shared"]
    assert rows[0][0] == "small"
    assert rows[0][5:7] == [["75.0%", 0.75], ["0.125", 0.125]]
    trials = rows_of(page, "trial")
    assert [row[1] for row in trials] == ["kept", "missed", "chosen", "kept"]
    assert trials[1][2] == ["50.0%", 0.5]


def test_a_page_says_why_a_goal_is_missed() -> None:
    pruned = a_pruned(goal_met=False, reason="nothing is left")
    assert "not met: nothing is left" in seen(pruning_page(pruned).html()).text


def test_channels_have_a_table_of_their_own() -> None:
    pruned = a_pruned()
    groups = (ChannelRecord("conv1", 64, 48), ChannelRecord("conv2", 8, 8))
    cut = replace(pruned, compilation=pruned.compilation.with_record(groups=groups))
    page = seen(pruning_page(cut).html())
    assert rows_of(page, "made by") == [
        ["conv1", ["64", 64], ["48", 48]],
        ["conv2", ["8", 8], ["8", 8]],
    ]
    assert "1 of 2 groups have fewer." in page.text


@pytest.mark.parametrize("error", [float("nan"), float("inf")])
def test_errors_that_are_no_number_are_named(error: float) -> None:
    pruned = a_pruned()
    record = {
        name: replace(each, relative_output_error=error)
        for name, each in pruned.compilation.record.layers.items()
    }
    spoilt = replace(pruned, compilation=pruned.compilation.with_record(layers=record))
    assert "not finite" in [row[6] for row in rows_of(seen(pruning_page(spoilt).html()), "layer")]
