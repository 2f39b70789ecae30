"""Reports from hand-made results: documents, rows, tables and the numbers in them."""

import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rich.console import Console, RenderableType

from eapc.commands.compiler import Analysis, Ran
from eapc.commands.preparation import Settings
from eapc.data import dataset
from eapc.dataflow import Accesses
from eapc.energy import COUNT_ONCE, OPERANDS, EnergyReport, NodeEnergy, Unmodelled, node_annotations
from eapc.energy.residency import Residency, Stay
from eapc.errors import UsageError
from eapc.evaluation import RELATIVE_ERROR, TOP1_AGREEMENT, Accuracy, Agreement
from eapc.evaluation.estimates import Estimate
from eapc.goals import DEFAULT_GOAL, Pruned, Sparsity
from eapc.hardware import load_hardware
from eapc.layers import Skipped
from eapc.model import Model
from eapc.pipeline import Compilation, LayerRecord, Pass, Pipeline, Record, load_passes
from eapc.report import documents, layout
from eapc.report.csv import analysis_csv, csv_text, require_writable, write_report
from eapc.report.layout import UNLIMITED, shorten
from eapc.report.listings import hardware_list, hardware_summary, passes_table, type_name
from eapc.report.pruning import prune_table, run_table
from eapc.report.tables import analysis_table, totals
from eapc.workload import BitWidths, Kept, OperandDensities

EYERISS = load_hardware("eyeriss")
HARMLESS = Settings()


def a_model() -> Model:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", [value], [result])
    return Model.from_proto(onnx.helper.make_model(graph))


def a_node(
    key: str, energy: float, macs: float = 0.0, op: str = "Conv", fused: str = ""
) -> NodeEnergy:
    """A node whose energy is one half compute and one half weights from DRAM."""
    return NodeEnergy(
        key=key,
        name=key,
        op_type=op,
        energy_mac_units=energy,
        macs=macs,
        nonskipped_macs=macs / 4,
        operations=2.0,
        densities=OperandDensities(0.5, 0.25, 1.0),
        by_operand={"compute": energy / 2, "weights": energy / 2, "ifmap": 0.0, "ofmap": 0.0},
        by_level={"mac": energy / 2, "dram": energy / 2, "glb": 0.0, "network": 0.0, "rf": 0.0},
        accesses={"dram": Accesses(weights=energy / 400)},
        bits=BitWidths(4, 8, 16),
        fused_into=fused,
    )


NODES = (
    a_node("small", 1000.0, macs=400.0),
    a_node("large", 3000.0, macs=1600.0),
    a_node("large.relu", 10.0, op="Relu", fused="large"),
    a_node("flat", 0.0, op="Flatten"),
)
UNKNOWN = (Unmodelled("odd", "", "Foo", "no rule for Foo"),)


def a_report(
    nodes: tuple[NodeEnergy, ...] = NODES, unmodelled: tuple[Unmodelled, ...] = UNKNOWN
) -> EnergyReport:
    return EnergyReport(EYERISS, 2, nodes, unmodelled, weights=500, nonzero_weights=250)


def an_analysis(report: EnergyReport | None = None) -> Analysis:
    return Analysis(a_model(), report or a_report(), samples=7, notes=("a note",))


def a_pruned(made_up: str = "", **changes: Any) -> Pruned:
    after = a_report((a_node("small", 500.0, macs=400.0), a_node("large", 1500.0, macs=1600.0)), ())
    layers = (LayerRecord("small", 100, 25, 0.125), LayerRecord("gone", 40, 40))
    record = Record(
        layers={layer.name: layer for layer in layers},
        skipped=(Skipped("b", "shared"), Skipped("c", "shared"), Skipped("d", "computed")),
        seconds={"prune-weights": 1.5, "reconstruct-outputs": 2.5, "total": 5.0},
    )
    data = replace(dataset({"x": np.ones(1, np.float32)}, a_model().inputs, "data"), origin=made_up)
    pruned = Pruned(
        goal=Sparsity(0.5),
        compilation=Compilation(a_model(), EYERISS, data, energy=after, record=record),
        before=a_report(),
        steps=Pipeline.parse("annotate-energy, prune-weights{sparsity=0.5}", load_passes()),
        accuracy=Accuracy(0.9, 0.875, 40),
        agreement=Agreement("top-1 agreement", 0.985, 0.98, 200),
        output=Path("out.onnx"),
    )
    return replace(pruned, **changes)


def rendered(renderable: RenderableType, width: int = UNLIMITED) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, markup=False, emoji=False, highlight=False)
    console.print(renderable)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def row_of(text: str, start: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.startswith(start))


# --- numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (0.00012345, "0.000123"),
        (7, "7"),
        (999, "999"),
        (999.6, "1.00 k"),
        (1000, "1.00 k"),
        (18_432, "18.4 k"),
        (589_824, "590 k"),
        (999_999, "1.00 M"),
        (3.97e9, "3.97 G"),
        (1.5e21, "1500000 P"),
        (-2500, "-2.50 k"),
        (math.inf, "unknown"),
        (math.nan, "unknown"),
    ],
)
def test_engineering_numbers_have_three_digits(value: float, text: str) -> None:
    assert layout.engineering(value) == text


@pytest.mark.parametrize(
    ("picojoules", "text"), [(0.83, "830 fJ"), (12.0, "12.0 pJ"), (28.9e6, "28.9 µJ"), (0, "0 J")]
)
def test_joules_take_the_prefix_that_suits_them(picojoules: float, text: str) -> None:
    assert layout.joules(picojoules) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0, "0.0%"), (1e-5, "<0.1%"), (0.4125, "41.2%"), (1, "100.0%"), (None, "-"), (math.inf, "-")],
)
def test_percentages(fraction: float | None, text: str) -> None:
    assert layout.percent(fraction) == text


def test_durations_and_counts() -> None:
    assert [layout.seconds(s) for s in (0.042, 4.25, 200.4)] == ["0.04 s", "4.25 s", "3 min 20 s"]
    assert [layout.count(n, "node") for n in (1, 1200)] == ["1 node", "1,200 nodes"]


@pytest.mark.parametrize(
    ("width", "text"), [(30, "/layer1/block2/conv1/Conv"), (13, "/lay…nv1/Conv"), (2, "/…")]
)
def test_long_names_lose_their_middle(width: int, text: str) -> None:
    assert shorten("/layer1/block2/conv1/Conv", width) == text


def test_names_cannot_steer_the_terminal() -> None:
    assert shorten("a\x1b[31m\nb", 20) == "a�[31m�b"


# --- documents -------------------------------------------------------------------------------


def test_analysis_document_holds_what_the_schema_promises() -> None:
    document = json.loads(documents.to_json(documents.analysis_document(an_analysis(), ["w"])))
    assert document["schema"] == "eapc.analyze/1"
    assert (document["model"], document["hardware"], document["batch"]) == ("net", "eyeriss", 2)
    assert document["totals"] == {
        "energy_mac_units": 4010.0,
        "energy_pj": pytest.approx(4010 * 0.83),
        "latency_ms": None,
        "static_energy_pj": None,
        "macs": 2000.0,
        "nonskipped_macs": 500.0,
        "operations": 8.0,
        "weights": 500,
        "nonzero_weights": 250,
        "modelled_nodes": 4,
        "unmodelled_nodes": 1,
        "kept_feature_maps": 0,
        "kept_spares_mac_units": 0.0,
    }
    assert document["warnings"] == ["a note", "w"]
    assert document["unmodelled"] == [
        {"key": "odd", "name": "", "op_type": "Foo", "reason": "no rule for Foo"}
    ]


def test_nodes_of_the_document_are_in_file_order_and_complete() -> None:
    nodes = documents.analysis_document(an_analysis())["nodes"]
    assert [node["key"] for node in nodes] == ["small", "large", "large.relu", "flat"]
    large = nodes[1]
    assert (large["weight_density"], large["ifmap_density"], large["ofmap_density"]) == (
        0.5,
        0.25,
        1.0,
    )
    assert large["bits"] == {"weights": 4, "ifmap": 8, "ofmap": 16}
    assert set(large["by_operand"]) == {"compute", "weights", "ifmap", "ofmap"}
    assert set(large["by_level"]) == {"mac", *EYERISS.memories}
    assert large["accesses"] == {"dram": {"weights": 7.5, "ifmap": 0.0, "ofmap": 0.0}}
    assert [node["fused_into"] for node in nodes] == [None, None, "large", None]
    assert [node["nonskipped_counted"] for node in nodes] == [False, False, None, None]


def a_report_with_kept_maps() -> EnergyReport:
    """`large` writes what `small` reads, and a third joins it; that spares 990 MAC units."""
    stays = (Stay({0: Kept(ifmap=0.5)}), Stay({0: Kept(ifmap=1.0), 1: Kept(ofmap=1.0)}))
    nodes = [dataclasses.replace(node, stay=stay) for node, stay in zip(NODES, stays, strict=False)]
    kept = Residency(tensor_bytes={"t": 4096}, spared=990.0)
    machine = EYERISS.model_copy(update={"feature_maps_kept_in": "glb"})
    return dataclasses.replace(a_report((*nodes, *NODES[2:])), hardware=machine, residency=kept)


def test_reports_say_what_stays_on_chip() -> None:
    report = a_report_with_kept_maps()
    document = documents.analysis_document(an_analysis(report))
    assert [n["kept_on_chip"] for n in document["nodes"]] == [["ifmap"], ["ifmap", "ofmap"], [], []]
    found = [document["totals"][key] for key in ("kept_feature_maps", "kept_spares_mac_units")]
    assert found == [1, 990.0]
    rows = list(csv.DictReader(io.StringIO(analysis_csv(report))))
    assert [row["kept_on_chip"] for row in rows] == ["ifmap", "ifmap ofmap", "", "", ""]
    text = rendered(analysis_table(an_analysis(report), HARMLESS, UNLIMITED))
    assert row_of(text, "large ")[1:4] == ["<", "Conv", ">"]
    assert row_of(text, "small ")[1:4] == ["<", "Conv", "1.00"]
    assert "< ifmap and > ofmap stay on chip, in whole or in part" in text
    assert dict(totals(report))["on chip"] == (
        "1 feature map stays in glb between layers, which spares 19.8% of the energy"
    )
    notes = node_annotations(report)
    assert [notes[key].get("eapc.kept_on_chip") for key in ("small", "large", "flat")] == [
        "ifmap",
        "ifmap ofmap",
        None,
    ]


def test_reports_of_other_machines_are_silent_about_it() -> None:
    text = rendered(analysis_table(an_analysis(), HARMLESS, UNLIMITED))
    assert "on chip" not in text
    assert not any("kept_on_chip" in "".join(n) for n in node_annotations(a_report()).values())


def test_prune_document_holds_what_the_schema_promises() -> None:
    document = json.loads(documents.to_json(documents.prune_document(a_pruned())))
    assert document["schema"] == "eapc.prune/1"
    assert document["energy_ratio"] == pytest.approx(2000 / 4010)
    # two of four nodes have a partner: no versions, all has changed; t = 4.302653
    assert EYERISS.validation is not None
    assert EYERISS.validation.ratio is not None
    factor = math.exp(4.302653 * EYERISS.validation.ratio.rms)
    assert document["energy_ratio_interval"]["high"] == pytest.approx(2000 / 4010 * factor)
    assert document["validation"]["energy"]["rows"] == 3
    assert document["accuracy"].pop("loss_interval_95") == pytest.approx([-0.116, 0.1636], abs=1e-4)
    assert document["accuracy"] == {"metric": "top-1", "before": 0.9, "after": 0.875, "samples": 40}
    assert (document["confirmed"], document["confidence"]) == (True, None)
    assert document["agreement"]["met"] is True
    assert document["layers"][0] == {
        "name": "small",
        "sparsity": 0.75,
        "relative_output_error": 0.125,
        "energy_before": 1000.0,
        "energy_after": 500.0,
        "weights": 100,
        "nonzero_weights": 25,
    }
    assert document["layers"][1]["energy_before"] is None
    assert document["skipped"][0] == {"name": "b", "reason": "shared"}
    assert (document["output"], document["goal_met"]) == ("out.onnx", True)
    assert document["seconds"]["total"] == 5.0


def test_prune_document_says_null_where_nothing_is_known() -> None:
    bare = a_pruned(accuracy=None, agreement=None, output=None, goal_met=False, reason="too low")
    document = documents.prune_document(bare)
    assert [document[key] for key in ("accuracy", "agreement", "output")] == [None, None, None]
    assert (document["goal_met"], document["reason"]) == (False, "too low")


def test_run_document_with_and_without_energy() -> None:
    done = Compilation(a_model(), EYERISS, record=Record(layers={"w": LayerRecord("small", 4, 1)}))
    unknown = documents.run_document(Ran(done, "prune-weights", None))
    assert (unknown["totals"], unknown["nodes"], unknown["output"]) == (None, [], None)
    priced = dataclasses.replace(done, energy=a_report())
    known = documents.run_document(Ran(priced, "annotate-energy", Path("o.onnx")))
    assert known["totals"]["energy_mac_units"] == 4010.0
    assert known["layers"][0]["energy_after"] == 1000.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_documents_never_hold_what_is_no_number(value: float) -> None:
    text = documents.to_json({"a": [value, {"b": (value, 1.5)}]})
    assert json.loads(text) == {"a": [None, {"b": [None, 1.5]}]}


def test_hardware_document_is_the_machine() -> None:
    document = json.loads(documents.to_json(documents.hardware_document(EYERISS)))
    assert document["schema"] == "eapc.hardware/1"
    assert document["memories"]["dram"]["energy_mac_units_per_word"] == 200


# --- rows ------------------------------------------------------------------------------------


def test_csv_has_a_row_per_node() -> None:
    rows = list(csv.DictReader(io.StringIO(analysis_csv(a_report()))))
    assert [row["key"] for row in rows] == ["small", "large", "large.relu", "flat", "odd"]
    large, odd = rows[1], rows[4]
    assert float(large["energy_mac_units"]) == 3000.0
    assert float(large["energy_share"]) == pytest.approx(3000 / 4010)
    assert (float(large["energy_dram"]), float(large["energy_weights"])) == (1500.0, 1500.0)
    assert float(large["accesses_dram_weights"]) == 7.5
    assert [large[f"{operand}_bits"] for operand in OPERANDS] == ["4", "8", "16"]
    assert (odd["unmodelled"], odd["energy_mac_units"]) == ("no rule for Foo", "")


def test_reports_replace_files_only_when_told_to(tmp_path: Path) -> None:
    target = tmp_path / "nodes.csv"
    require_writable(target, force=False)
    write_report(target, "a\n")
    with pytest.raises(UsageError, match="exists"):
        require_writable(target, force=False)
    require_writable(target, force=True)
    with pytest.raises(UsageError, match="read or written already"):
        require_writable(target, force=True, taken=[None, tmp_path / "." / "nodes.csv"])
    with pytest.raises(UsageError, match="folder"):
        require_writable(tmp_path, force=True)
    with pytest.raises(UsageError, match="no such folder"):
        require_writable(tmp_path / "none" / "nodes.csv", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["nodes.csv"]
    assert target.read_text() == "a\n"


# --- tables ----------------------------------------------------------------------------------


def test_nodes_are_sorted_by_energy_with_running_shares() -> None:
    text = rendered(analysis_table(an_analysis(), HARMLESS, UNLIMITED))
    lines = text.splitlines()
    order = [
        next(i for i, line in enumerate(lines) if line.startswith(n + " "))
        for n in ("large", "small", "large.relu", "flat")
    ]
    assert order == sorted(order)
    assert row_of(text, "large ") == "large Conv 3.00 k 74.8% 74.8% 1.60 k 50.0% 25.0%".split()
    assert row_of(text, "small ")[4:6] == ["24.9%", "99.8%"]
    assert row_of(text, "large.relu")[:3] == ["large.relu", "+", "Relu"]


def test_totals_name_both_units_and_what_is_not_modelled() -> None:
    text = rendered(analysis_table(an_analysis(), HARMLESS, UNLIMITED))
    assert "4.01 k MAC units, 3.33 nJ; modelled, not measured" in text
    assert "whole networks at batch 16, as published (estimates, not measurements)" in text
    assert "compute 50.0%, weights 50.0%, ifmap 0.0%, ofmap 0.0%" in text
    assert "2.00 k, both operands non-zero in 500 (25.0%)" in text
    assert "500, non-zero 250 (50.0%)" in text
    assert "4 of 5 nodes" in text
    assert "odd  Foo  no rule for Foo" in text
    assert "a note" in text


def test_many_unmodelled_nodes_are_grouped_by_reason() -> None:
    missing = tuple(
        Unmodelled(f"n{i}", "", "Foo" if i % 2 else "Bar", "shape unknown") for i in range(11)
    )
    text = rendered(analysis_table(an_analysis(a_report(NODES, missing)), HARMLESS, UNLIMITED))
    assert "11 nodes  shape unknown: Bar 6, Foo 5" in text
    assert "n3" not in text


def test_nodes_that_count_once_are_noted() -> None:
    holders = [replace(a_node(name, 0.0, op="Loop"), note=COUNT_ONCE) for name in "abcd"]
    runs = replace(a_node("if", 0.0, op="If"), note="then_branch runs once")
    text = rendered(analysis_table(an_analysis(a_report((*NODES, *holders, runs))), HARMLESS, 200))
    assert "nodes within 'a', 'b', 'c' and 1 more count once each, however often they run" in text
    text = rendered(analysis_table(an_analysis(a_report((*NODES, runs))), HARMLESS, 200))
    assert "however often" not in text


def test_an_analysis_of_nothing_still_prints() -> None:
    empty = EnergyReport(EYERISS, 1, (), (), 0, 0)
    text = rendered(analysis_table(an_analysis(empty), HARMLESS, UNLIMITED))
    assert "0 of 0 nodes" in text


@pytest.mark.parametrize("width", [40, 80, 140])
def test_tables_keep_to_the_width(width: int) -> None:
    long = tuple(
        a_node(f"/model/encoder/layer.{i}/attention/output/MatMul", 1e9 - i, 1e6) for i in range(3)
    )
    text = rendered(analysis_table(an_analysis(a_report(long)), HARMLESS, width), width)
    assert max(map(len, text.splitlines())) <= width
    if width >= 80:
        assert len([line for line in text.splitlines() if "1.00 G" in line]) == 3
        assert "/MatMul" in text


def test_terminals_leave_out_the_long_tail() -> None:
    tail = tuple(a_node(f"tail{i}", 0.001, op="Add") for i in range(100))
    report = a_report(NODES + tail)
    on_terminal = rendered(analysis_table(an_analysis(report), HARMLESS, 80), 80)
    piped = rendered(analysis_table(an_analysis(report), HARMLESS, UNLIMITED))
    assert "64 nodes not shown, <0.1% of the energy: Add 63, Flatten" in on_terminal
    assert all(node.key in piped for node in report.nodes)


def test_markup_in_names_is_text() -> None:
    report = a_report((a_node("[bold]x[/bold]", 5.0, 1.0),), ())
    assert "[bold]x[/bold]" in rendered(analysis_table(an_analysis(report), HARMLESS, UNLIMITED))


@pytest.mark.parametrize(
    ("settings", "samples", "said"),
    [
        (Settings(), 7, "as measured on calibration inputs"),
        (Settings(), 0, "count as dense"),
        (Settings(density="0.4"), 7, "--density 0.4"),
    ],
)
def test_the_origin_of_densities_is_told(settings: Settings, samples: int, said: str) -> None:
    analysis = dataclasses.replace(an_analysis(), samples=samples)
    assert said in rendered(analysis_table(analysis, settings, UNLIMITED))


def test_prune_table_compares_before_and_after() -> None:
    text = rendered(prune_table(a_pruned(), UNLIMITED))
    assert row_of(text, "energy, MAC units") == "energy, MAC units 4.01 k 2.00 k 49.9%".split()
    assert row_of(text, "top-1 accuracy")[4:] == "inputs 90.0% 87.5% -2.5 points".split()
    assert row_of(text, "small") == "small 100 75.0% 0.125 1.00 k 500 50.0%".split()
    assert row_of(text, "gone") == "gone 40 0.0% - - -".split()
    assert "98.5% on 200 inputs kept out of the fit\n" in text
    assert "2 layers, shared: b, c" in text
    assert "1 layer, computed: d" in text
    assert "5.00 s: prune-weights 1.50 s, reconstruct-outputs 2.50 s, the rest 1.00 s" in text
    assert "out.onnx" in text
    assert "modelled" in text


def test_prune_table_says_what_inputs_were_made_up() -> None:
    said = a_pruned(made_up="unit normal by the first biases")
    text = rendered(prune_table(said, UNLIMITED))
    assert row_of(text, "made-up inputs")[2:] == "unit normal by the first biases".split()
    assert "made-up" not in rendered(prune_table(a_pruned(), UNLIMITED))


def test_prune_table_says_what_the_agreement_is_worth() -> None:
    """A goal that decides by it wants some; on inputs that were fitted it flatters."""
    decided = rendered(prune_table(a_pruned(goal=DEFAULT_GOAL), UNLIMITED))
    assert "98.5% on 200 inputs kept out of the fit, at least 98.0% wanted" in decided
    error = Agreement("relative output error", 0.07, 0.25, 1)
    fitted = a_pruned(accuracy=None, agreement=error, fitted=True)
    text = rendered(prune_table(fitted, UNLIMITED))
    assert "0.07 on 1 input that was fitted: others agree less\n" in text
    document = documents.prune_document(fitted)
    assert (document["agreement"]["value"], document["agreement_fitted"]) == (0.07, True)
    assert documents.prune_document(a_pruned())["agreement_fitted"] is False


def test_prune_table_says_why_a_goal_is_missed() -> None:
    missed = a_pruned(
        goal=DEFAULT_GOAL,
        goal_met=False,
        reason="too low",
        output=None,
        accuracy=None,
        agreement=Agreement("relative output error", 0.07, 0.05, 40),
    )
    text = rendered(prune_table(missed, UNLIMITED))
    assert "not met: too low" in text
    assert "0.07 on 40 inputs kept out of the fit, at most 0.05 wanted" in text
    assert "not written" in text


def test_prune_table_tells_what_decided_and_where_the_floor_is() -> None:
    near = a_pruned(agreement=None, decided=Accuracy(0.92, 0.91, 39), floor=0.47)
    text = rendered(prune_table(near, UNLIMITED))
    assert "top-1 accuracy on 39 other inputs: 92.0% before, 91.0% after" in text
    assert "about 47.0% of the energy stays with 2 % of every layer's weights left" in text
    for floor in (0.4, None):
        assert "floor" not in rendered(prune_table(a_pruned(floor=floor), UNLIMITED))
    document = documents.prune_document(near)
    assert document["lowest_energy_ratio"] == 0.47
    assert document["decided"].pop("loss_interval_95")
    assert document["decided"] == {"metric": "top-1", "before": 0.92, "after": 0.91, "samples": 39}
    assert documents.prune_document(a_pruned())["decided"] is None


def test_prune_table_of_a_metric_that_is_no_share() -> None:
    before = Accuracy(34.5, 33.25, 40, "psnr", False, estimate=Estimate(1.25, 0.1))
    text = rendered(prune_table(a_pruned(accuracy=before, decided=before), UNLIMITED))
    assert row_of(text, "psnr on 40 inputs")[-3:] == ["34.5", "33.25", "-1.25"]
    assert "psnr on 40 other inputs: 34.5 before, 33.25 after" in text
    assert "1.25, 1.054 to 1.446 in 95 of 100 cases" in text
    unknown = dataclasses.replace(before, estimate=Estimate(1.25, math.inf))
    text = rendered(prune_table(a_pruned(accuracy=unknown), UNLIMITED))
    assert row_of(text, "loss") == ["loss", "1.25"]
    document = documents.prune_document(a_pruned(accuracy=unknown))
    assert json.loads(documents.to_json(document))["accuracy"]["loss_interval_95"] == [None, None]


def test_run_table_with_and_without_energy() -> None:
    done = Compilation(a_model(), EYERISS, record=Record(layers={"w": LayerRecord("small", 4, 1)}))
    assert "unknown" in rendered(run_table(Ran(done, "prune-weights", None), UNLIMITED))
    priced = dataclasses.replace(done, energy=a_report())
    text = rendered(run_table(Ran(priced, "annotate-energy", None), UNLIMITED))
    assert row_of(text, "small") == "small 4 75.0% - 1.00 k".split()


@pytest.mark.parametrize(
    "make",
    [
        lambda: analysis_table(an_analysis(), HARMLESS, 80),
        lambda: prune_table(a_pruned(), 80),
    ],
)
def test_tables_are_the_same_every_time(make: Callable[[], RenderableType]) -> None:
    assert rendered(make(), 80) == rendered(make(), 80)


# --- listings --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Halve(Pass):
    """Take half.

    More about it.
    """

    name: ClassVar[str] = "halve"

    share: float | None = None
    way: Literal["up", "down"] = dataclasses.field(default="up", metadata={"help": "which half"})
    twice: bool = False

    def run(self, compilation: Compilation) -> Compilation:
        return compilation


def test_passes_are_listed_with_their_options() -> None:
    text = rendered(passes_table({"halve": Halve}))
    assert text.splitlines()[:2] == ["halve", "Take half."]
    assert row_of(text, "  share") == ["share", "float", "or", "none"]
    assert row_of(text, "  way") == "way up|down = up which half".split()
    assert row_of(text, "  twice") == "twice true|false = false".split()


def test_types_are_named_for_people() -> None:
    assert type_name(int) == "int"
    assert type_name(tuple[int, ...]) == "tuple[int, ...]"


def test_totals_tell_the_least_time_and_what_leaks() -> None:
    timed = replace(a_report(), nodes=tuple(replace(n, cycles=1e5) for n in a_report().nodes))
    assert dict(totals(timed))["time"] == "at least 2 ms; modelled, not measured"
    leaky = replace(timed, hardware=EYERISS.model_copy(update={"static_power_mw": 3.0}))
    assert "static energy 6.00 µJ beside the above" in dict(totals(leaky))["time"]


def test_machines_are_listed_and_summed_up() -> None:
    assert EYERISS.description in rendered(hardware_list([EYERISS]))
    summary = hardware_summary(EYERISS)
    assert summary[0].startswith("eyeriss: ")
    assert [line.split() for line in summary if line.startswith("glb")] == [
        ["glb", "6", "102", "kB"]
    ]
    keeping = EYERISS.model_copy(update={"feature_maps_kept_in": "glb"})
    said = "feature maps are kept in glb between layers"
    assert [said in hardware_summary(machine) for machine in (EYERISS, keeping)] == [False, True]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_is_never_printed_as_one(value: float) -> None:
    """Neither in tables, nor in documents, nor in rows."""
    shown = [
        layout.engineering(value),
        layout.percent(value),
        layout.joules(value),
        layout.milliseconds(value),
        *(layout.likeness_of(metric, value) for metric in (TOP1_AGREEMENT, RELATIVE_ERROR)),
        documents.to_json({"a": value, "b": [value, {"c": value}]}),
        csv_text(["a", "b"], [{"a": value, "b": "x"}]),
    ]
    agreement = Agreement(RELATIVE_ERROR, value, 0.05, 8, "y", value, ())
    done = a_pruned(agreement=agreement)
    layers = {"w": LayerRecord("layer", 10, 5, value)}
    done = replace(done, compilation=done.compilation.with_record(layers=layers))
    shown += [
        rendered(prune_table(done, UNLIMITED)),
        documents.to_json(documents.prune_document(done)),
    ]
    for text in shown:
        assert not re.search(r"\b(inf|infinity|nan)\b", text, re.IGNORECASE), text
