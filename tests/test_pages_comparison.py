"""Networks side by side: what has changed, and what the charts hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from eapc.commands.comparison import Comparison, compare, compare_all
from eapc.commands.preparation import Settings
from eapc.hardware import HardwareModel
from eapc.pages.comparison_charts import GroupCosts, layer_chart, pairs_of, ratios_of, worth_showing
from eapc.pages.comparison_page import changes, comparison_page, labels_of, node_table


@pytest.fixture(scope="module")
def same(digits: Path, eyeriss: HardwareModel) -> Comparison:
    """The digits network beside itself."""
    return compare(digits, digits, Settings(hardware=eyeriss), latency=False)


def test_a_network_beside_itself_has_ratios_of_one(same: Comparison) -> None:
    ratios = ratios_of(same)
    assert {share.ratio for share in ratios.values()} == {1.0}
    assert "modelled energy" not in ratios  # in MAC units it is there already


def test_pairs_hold_the_energy_of_both(same: Comparison) -> None:
    report = same.before.energy
    half = replace(report, nodes=tuple(replace(node, by_operand={}) for node in report.nodes))
    for pair in pairs_of([report, half], "operator"):
        assert pair.amounts[1] == 0
    total = sum(pair.amounts[0] for pair in pairs_of([report, half], "operator"))
    assert total == pytest.approx(report.energy_mac_units)


def test_bars_thinner_than_a_line_are_left_out() -> None:
    pairs = [
        GroupCosts("a", (1000.0, 1.0)),
        GroupCosts("b", (1.0, 2.0)),
        GroupCosts("c", (1.0, 1.9)),
    ]
    assert [pair.name for pair in worth_showing(pairs, 9)] == ["a", "b"]
    assert [pair.name for pair in worth_showing(pairs, 1)] == ["a"]


def test_the_axis_tells_of_what_is_left_out(same: Comparison) -> None:
    reports = {"before": same.before.energy, "after": same.after.energy}
    title = layer_chart(reports).spec["encoding"]["x"]["axis"]["title"]
    # of 21 nodes 10 cost more than 0.2 % of the costliest, two cost nothing
    assert title == "energy, MAC units (9 smaller nodes left out)"


def test_what_has_changed_is_said(same: Comparison) -> None:
    node = next(node for node in same.before.energy.nodes if node.macs)
    fewer = replace(
        node,
        macs=node.macs / 2,
        densities=replace(node.densities, weights=node.densities.weights / 4),
        bits=replace(node.bits, weights=8),
    )
    was, now = (f"{100 * each.densities.weights:.1f}%" for each in (node, fewer))
    width = "the machine's word" if node.bits.weights is None else f"{node.bits.weights} bits"
    said = f"MACs 50.0%, weights not 0: {was} to {now}, weights {width} to 8 bits"
    assert changes(node, fewer) == said
    assert changes(node, node) == ""
    assert changes(None, node) == "not before"
    assert changes(node, None) == "not after"


def test_the_table_has_nodes_of_either_network(same: Comparison) -> None:
    report = same.before.energy
    first = replace(report, nodes=report.nodes[:1])
    rows = node_table([first, report], ["before", "after"]).rows
    assert len(rows) == len(report.nodes)
    assert [row[2].text for row in rows].count("not before") == len(report.nodes) - 1


def test_several_networks_go_by_their_names(digits: Path, eyeriss: HardwareModel) -> None:
    settings = Settings(hardware=eyeriss)
    compared = compare_all([digits, digits, digits], settings, latency=False)
    names = ["digits.onnx (1)", "digits.onnx (2)", "digits.onnx (3)"]
    assert labels_of(compared) == names
    page = comparison_page(compared, ["a warning"])
    assert list(page.facts)[-1] == ("warning", "a warning")
    assert "digits.onnx (3)" in page.html()
