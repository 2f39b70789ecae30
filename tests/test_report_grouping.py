"""Rows by block or operator, how many of them, what is folded; tables laid out in few steps."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from measured_builders import measured_layer, measured_machine
from test_report import (
    HARMLESS,
    NODES,
    a_node,
    a_pruned,
    a_report,
    an_analysis,
    rendered,
    row_of,
)
from test_report_comparisons import COMPARED
from test_report_sweeps import GOOD, MISSED, swept

from eapc.channels import NearDeadLayer
from eapc.commands.comparison import Side
from eapc.errors import UsageError
from eapc.hardware import HardwareSource, load_hardware
from eapc.pipeline import ChannelRecord, LatencyRecord, LayerRecord, NearDead
from eapc.report.comparisons import comparison_document, comparison_table
from eapc.report.comparisons_of_many import many_table
from eapc.report.documents import analysis_document, prune_document, to_json
from eapc.report.grouping import RowChoice, row_choice
from eapc.report.layout import UNLIMITED, Column, table
from eapc.report.pruning import prune_table
from eapc.report.sweeps import sweep_csv, sweep_document, sweep_table
from eapc.report.tables import analysis_table

SOURCE = HardwareSource("here", "host.yaml", "ab" * 32, is_shipped=False)
BLOCKS = (
    a_node("a.1", 3000.0, macs=100.0),
    a_node("a.2", 2000.0, macs=50.0),
    a_node("b", 1000.0, macs=10.0),
    a_node("b.relu", 10.0, op="Relu", fused="b"),
    a_node("flat", 0.0, op="Flatten"),
)


def analysed(rows: RowChoice, width: int = UNLIMITED) -> str:
    return rendered(analysis_table(an_analysis(a_report(BLOCKS, ())), HARMLESS, width, rows=rows))


def test_rows_by_block() -> None:
    """6,010 in all: 5,000 are 83.2 %; with 1,010 more it is all of it."""
    text = analysed(row_choice(None, "block"))
    assert row_of(text, "a ") == ["a", "2", "5.00", "k", "83.2%", "83.2%", "150"]
    assert row_of(text, "b ") == ["b", "2", "1.01", "k", "16.8%", "100.0%", "10"]
    assert row_of(text, "flat ") == ["flat", "1", "0", "0.0%", "100.0%"]


def test_rows_by_operator_without_those_of_no_energy() -> None:
    text = analysed(row_choice(None, "operator"), 80)
    assert row_of(text, "Conv ") == ["Conv", "3", "6.00", "k", "99.8%", "99.8%", "160"]
    assert "1 operator not shown, without energy" in text


def test_the_top_rows_and_a_line_for_the_others() -> None:
    """1,010 of 6,010 are 16.8 %."""
    text = analysed(row_choice(2, None))
    assert "3 nodes not shown, 16.8% of the energy: Conv, Flatten, Relu" in text
    assert row_of(text, "a.2")[:2] == ["a.2", "Conv"]
    assert "2 blocks not shown, 16.8% of the energy" in analysed(row_choice(1, "block"), 80)


def test_a_terminal_shows_as_many_as_were_asked_for() -> None:
    nodes = tuple(a_node(f"n{i}", 1.0 if i else 1e9) for i in range(100))
    report = an_analysis(a_report(nodes, ()))
    text = rendered(analysis_table(report, HARMLESS, 80, rows=row_choice(60, None)), 80)
    assert "40 nodes not shown" in text


def test_other_words_are_refused() -> None:
    with pytest.raises(UsageError, match="--by: expected block, operator, node, got 'layer'"):
        row_choice(None, "layer")


def test_spare_columns_go_where_names_have_little_room() -> None:
    columns = (Column("node", "left", least=12), Column("a"), Column("b", spare=True))
    wide = rendered(table(columns, [("n" * 40, "1", "2")], 60), 60)
    assert wide.splitlines()[0].split() == ["node", "a", "b"]
    narrow = rendered(table(columns, [("n" * 40, "1", "2")], 30), 30)
    assert narrow.splitlines()[0].split() == ["node", "a"]


# --- before and after ----------------------------------------------------------------------------


def test_a_pruned_networks_rows_by_node() -> None:
    """`large` goes from 3,000 to 1,500: 1,500 of the 2,010 that are saved."""
    text = rendered(prune_table(a_pruned(), UNLIMITED, row_choice(1, "node")))
    assert row_of(text, "large ") == [
        *("large", "1", "3.00", "k", "1.50", "k", "50.0%", "74.6%"),
    ]
    assert "3 nodes not shown, 25.2% of the energy before" in text
    assert "output\nerror" not in text


def test_comparisons_have_rows_where_they_are_asked_for() -> None:
    assert "of all" not in rendered(comparison_table(COMPARED, UNLIMITED))
    text = rendered(comparison_table(COMPARED, UNLIMITED, row_choice(None, "operator")))
    assert row_of(text, "Conv ")[:2] == ["Conv", "2"]
    many = rendered(many_table([COMPARED, COMPARED], UNLIMITED, row_choice(1, "node")))
    assert many.count("of the energy before") == 2


def test_long_names_of_models_leave_room_for_every_column() -> None:
    def named(name: str) -> Side:
        return replace(COMPARED.after, model=replace(COMPARED.after.model, path=Path(name)))

    ends = [named(f"a_model_with_a_rather_long_name_{end}.onnx") for end in ("a", "b")]
    compared = [replace(COMPARED, before=ends[0], after=end) for end in (ends[1], ends[0])]
    text = rendered(many_table(compared, 80), 80)
    row = row_of(text, "parameters")
    assert row[1:] == ["500", "500", "100.0%", "500", "100.0%"]


def test_layers_of_which_nothing_went_are_one_line_on_terminals() -> None:
    pruned = a_pruned()
    kept = {f"kept{i}": LayerRecord(f"kept{i}", 10, 10) for i in range(3)}
    record = replace(pruned.compilation.record, layers={**pruned.compilation.record.layers, **kept})
    pruned = replace(pruned, compilation=replace(pruned.compilation, record=record))
    on_terminal, piped = (rendered(prune_table(pruned, width)) for width in (80, UNLIMITED))
    assert "4 layers not shown: nothing was zeroed" in on_terminal
    assert "kept1" not in on_terminal
    assert row_of(piped, "kept1")[:2] == ["kept1", "10"]


def test_near_dead_layers_have_as_many_rows_as_asked_for() -> None:
    layers = tuple(NearDeadLayer(f"l{i}", 100, i, 0) for i in (1, 3, 2))
    found = replace(an_analysis(), near_dead=NearDead(6, 0, layers))
    text = rendered(analysis_table(found, HARMLESS, UNLIMITED, rows=row_choice(2, None)))
    assert row_of(text, "l3 ") == ["l3", "100", "3", "0"]
    assert "1 layer not shown: fewer weights each are near-dead" in text


def test_channels_that_stayed_are_one_line() -> None:
    groups = (ChannelRecord("a", 8, 4), ChannelRecord("b", 8, 7), ChannelRecord("c", 8, 8))
    pruned = a_pruned()
    record = replace(pruned.compilation.record, groups=groups)
    pruned = replace(pruned, compilation=replace(pruned.compilation, record=record))
    text = rendered(prune_table(pruned, UNLIMITED, row_choice(1, None)))
    assert "1 group not shown: no channel has gone" in text
    assert "1 group not shown: fewer channels each have gone" in text
    assert row_of(text, "a ") == ["a", "8", "4"]


# --- latency and hardware files ------------------------------------------------------------------


def with_latency(pruned: Any) -> Any:
    machine = measured_machine(measured_layer([8], [8], [[1.0]])).read_from(SOURCE)
    record = replace(pruned.compilation.record, latency=LatencyRecord("here", 4.0, 0.5))
    compilation = replace(pruned.compilation, record=record, measured=machine)
    return replace(pruned, compilation=compilation)


def test_milliseconds_come_first_where_they_count() -> None:
    text = rendered(prune_table(with_latency(a_pruned()), UNLIMITED))
    lines = text.splitlines()
    assert lines[0] == "net on here, per inference at batch 1"
    assert lines[4].split() == ["latency", "on", "here,", "ms", "4", "2", "50.0%"]
    assert "latencies: host.yaml, sha256 abababababab" in text
    assert f"energies: {load_hardware('eyeriss').source}" in text
    document = json.loads(to_json(prune_document(with_latency(a_pruned()))))
    assert document["latency_file"] == {
        "path": "host.yaml",
        "sha256": "ab" * 32,
        "shipped": False,
    }


def test_a_sweep_of_latencies_has_their_columns() -> None:
    found = swept(with_latency(GOOD), with_latency(MISSED))
    text = rendered(sweep_table(found, UNLIMITED))
    assert row_of(text, "--target-energy 0.7")[2:5] == ["2", "50.0%", "69.9%"]
    assert "latency" not in rendered(sweep_table(swept(GOOD), UNLIMITED)).splitlines()[3]
    row = sweep_document(found)["rows"][0]
    assert (row["latency"]["after_ms"], row["latency"]["ratio"]) == (2.0, 0.5)
    heading, first, _ = sweep_csv(found).splitlines()
    values = dict(zip(heading.split(","), first.split(","), strict=False))
    assert (values["latency_ms"], values["latency_ratio"]) == ("2.0", "0.5")
    assert (values["hardware_path"], values["hardware_sha256"]) == ("host.yaml", "ab" * 32)


def test_reports_name_the_hardware_file() -> None:
    source = load_hardware("eyeriss").source
    assert source is not None
    whole = {"path": source.path, "sha256": source.digest, "shipped": True}
    for text in (
        analysed(RowChoice()),
        rendered(prune_table(a_pruned(), UNLIMITED)),
        rendered(comparison_table(COMPARED, UNLIMITED)),
        rendered(many_table([COMPARED], UNLIMITED)),
        rendered(sweep_table(swept(GOOD), UNLIMITED)),
    ):
        assert row_of(text, "hardware ") == f"hardware {source}".split()
    for document in (
        analysis_document(an_analysis()),
        prune_document(a_pruned()),
        comparison_document(COMPARED),
        sweep_document(swept(GOOD)),
    ):
        assert document["hardware_file"] == whole


def test_a_machine_made_otherwise_has_no_file() -> None:
    made = load_hardware("eyeriss").model_copy()
    made._source = None
    report = replace(a_report(), hardware=made)
    text = rendered(analysis_table(an_analysis(report), HARMLESS, UNLIMITED))
    assert "given as an object, not as a file" in text
    assert analysis_document(an_analysis(report))["hardware_file"] is None


# --- how much work a table is --------------------------------------------------------------------


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called, Python's and others."""
    calls = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def test_a_row_takes_few_calls() -> None:
    """About 230; it was 5,400 with rich's own tables, whose cells are laid out one by one."""

    def laid_out(rows: int) -> Callable[[], object]:
        nodes = tuple(a_node(f"layer.{i}", 1e6 - i, macs=2e4 + i) for i in range(rows))
        report = an_analysis(a_report(NODES + nodes, ()))
        return lambda: rendered(analysis_table(report, HARMLESS, UNLIMITED))

    laid_out(10)()
    few, many = calls_of(laid_out(100)), calls_of(laid_out(300))
    assert (many - few) / 200 < 600
