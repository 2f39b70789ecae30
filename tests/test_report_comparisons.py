"""A comparison as table, document and rows, from hand-made results."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace

import pytest
from test_report import NODES, a_model, a_report, rendered, row_of

from eapc.commands.comparison import Comparison, Likeness, Side
from eapc.commands.turns import RuntimeLatency
from eapc.evaluation import Accuracy
from eapc.hardware import load_hardware
from eapc.profiling import Ratio
from eapc.report.comparisons import comparison_csv, comparison_document, comparison_table
from eapc.report.documents import to_json
from eapc.report.layout import UNLIMITED
from eapc.workload import BitWidths

LATENCY = RuntimeLatency(2.0, 0.8, Ratio(0.41, 0.4, 0.45), 4, 2, 50)
COMPARED = Comparison(
    before=Side(a_model(), 2000, 8000, a_report()),
    after=Side(a_model(), 500, 2000, a_report()),
    latency=LATENCY,
    accuracy=Accuracy(0.9, 0.875, 40),
    likeness=None,
    made_up=False,
)
ALIKE = replace(
    COMPARED, accuracy=None, latency=None, likeness=Likeness("top-1 agreement", 0.985, 200)
)


def test_figures_stand_side_by_side() -> None:
    text = rendered(comparison_table(COMPARED, UNLIMITED))
    assert row_of(text, "parameters") == "parameters 2.00 k 500 25.0%".split()
    assert row_of(text, "file size") == "file size 8.00 kB 2.00 kB 25.0%".split()
    assert row_of(text, "measured latency") == "measured latency 2.00 ms 800 µs 41.0%".split()
    assert row_of(text, "modelled energy, MAC units")[-1] == "100.0%"
    assert row_of(text, "top-1 accuracy")[5:] == "90.0% 87.5% -2.5 points".split()
    assert "2 threads, batch 4; medians of 50 rounds" in text
    assert "between 40.0% and 45.0% with 95 % confidence" in text
    assert "energy is modelled" in text


def test_what_is_not_known_is_left_out() -> None:
    text = rendered(comparison_table(ALIKE, UNLIMITED))
    assert "latency" not in text
    assert "on this computer" not in text
    assert "accuracy" not in text
    assert "98.5% on 200 inputs" in text
    error = replace(ALIKE, likeness=Likeness("relative output error", 0.0123, 64), made_up=True)
    assert "0.0123 on 64 made-up inputs" in rendered(comparison_table(error, UNLIMITED))


def test_the_document_keeps_modelled_and_measured_apart() -> None:
    document = json.loads(to_json(comparison_document(COMPARED, ["careful"])))
    assert document["schema"] == "eapc.compare/1"
    assert document["before"]["parameters"] == 2000
    energy = COMPARED.before.energy.energy_mac_units
    assert document["before"]["modelled"]["energy_mac_units"] == energy
    assert document["measured_latency"] == {
        "runtime": "onnxruntime",
        "before_ms": 2.0,
        "after_ms": 0.8,
        "ratio": {"median": 0.41, "low": 0.4, "high": 0.45},
        "batch": 4,
        "threads": 2,
        "repeats": 50,
    }
    assert document["ratios"]["measured_latency_ms"] == 0.41
    assert document["ratios"]["parameters"] == 0.25
    assert document["accuracy"]["after"] == 0.875
    assert document["likeness"] is None
    assert document["warnings"] == ["careful"]


def test_the_document_without_latency_and_labels() -> None:
    document = json.loads(to_json(comparison_document(ALIKE)))
    assert document["measured_latency"] is None
    assert "measured_latency_ms" not in document["ratios"]
    assert document["likeness"] == {"metric": "top-1 agreement", "value": 0.985, "samples": 200}


def test_how_sure_energies_and_their_ratio_are() -> None:
    # 510 of 4,010 MAC units have gone: c = 0.1272; t = 4.302653 of 2 degrees of freedom
    nodes = (replace(NODES[0], energy_mac_units=490.0), *NODES[1:])
    less = replace(COMPARED, after=replace(COMPARED.after, energy=a_report(nodes)))
    document = json.loads(to_json(comparison_document(less)))
    known = load_hardware("eyeriss").validation
    assert known is not None
    assert known.ratio is not None
    assert known.energy is not None
    factor = math.exp(4.302653 * known.ratio.rms * 510 / 4010)
    interval = document["energy_ratio_interval"]
    assert interval["low"] == pytest.approx(3500 / 4010 / factor)
    assert interval["high"] == pytest.approx(3500 / 4010 * factor)
    assert interval["changed_share"] == pytest.approx(510 / 4010)
    assert (interval["within"], interval["confidence"]) == (False, 0.95)
    assert document["validation"]["against"] == "published estimates"
    assert document["validation"]["ratio"]["degrees_of_freedom"] == 2
    assert "figures" not in document["validation"]
    text = rendered(comparison_table(less, UNLIMITED))
    assert f"87.3%, between {100 * interval['low']:.1f}% and" in text
    assert "by 3 pairs of networks at batch 16" in text
    assert f"off by {100 * known.energy.rms:.3g}% rms on 3" in text
    assert "within what" not in text


def test_differences_that_cannot_be_told() -> None:
    # 1,000 MAC units less of one node, 990 more of another
    nodes = (replace(NODES[0], energy_mac_units=0.0), replace(NODES[1], energy_mac_units=3990.0))
    moved = a_report((*nodes, *NODES[2:]))
    text = rendered(
        comparison_table(replace(COMPARED, after=replace(COMPARED.after, energy=moved)), UNLIMITED)
    )
    assert "99.8%, between" in text
    assert "; the difference is within what the estimate can tell" in text
    alike = rendered(comparison_table(COMPARED, UNLIMITED))
    assert "100.0%: no node's modelled energy differs" in alike


def test_files_of_other_widths_have_no_range() -> None:
    narrow = (replace(NODES[0], bits=BitWidths(8, 8, 8)), *NODES[1:])
    other = replace(COMPARED, after=replace(COMPARED.after, energy=a_report(narrow)))
    assert comparison_document(other)["energy_ratio_interval"] is None
    said = "energy ratio not held against anything between files of other widths"
    assert said in " ".join(rendered(comparison_table(other, UNLIMITED)).split())


def test_small_changes_have_the_digits_that_tell_bounds_apart() -> None:
    nodes = (replace(NODES[0], energy_mac_units=998.0), *NODES[1:])
    text = rendered(
        comparison_table(
            replace(COMPARED, after=replace(COMPARED.after, energy=a_report(nodes))), UNLIMITED
        )
    )
    assert re.search(r"99\.95%, between 99\.9[34]% and 99\.96%", text)


def test_machines_that_were_not_held_against_anything() -> None:
    energy = replace(a_report(), hardware=load_hardware("tpu-v1"))
    side = replace(COMPARED.before, energy=energy)
    unknown = replace(COMPARED, before=side, after=side)
    document = comparison_document(unknown)
    assert (document["validation"], document["energy_ratio_interval"]) == (None, None)
    text = rendered(comparison_table(unknown, UNLIMITED))
    assert "unknown: not held against measurements" in text
    assert "energy ratio" not in text


def test_a_ratio_to_nothing_is_null() -> None:
    nothing = replace(COMPARED, before=replace(COMPARED.before, parameters=0))
    assert comparison_document(nothing)["ratios"]["parameters"] is None
    assert "-" in row_of(rendered(comparison_table(nothing, UNLIMITED)), "parameters")


def test_rows() -> None:
    rows = {row["figure"]: row for row in csv.DictReader(io.StringIO(comparison_csv(COMPARED)))}
    assert rows["parameters"] == {
        "figure": "parameters",
        "before": "2000",
        "after": "500",
        "ratio": "0.25",
    }
    assert rows["measured_latency_ms"]["ratio"] == "0.41"
    assert (rows["accuracy"]["before"], rows["accuracy"]["after"]) == ("0.9", "0.875")
    alike = {row["figure"]: row for row in csv.DictReader(io.StringIO(comparison_csv(ALIKE)))}
    assert alike["top-1 agreement"]["after"] == "0.985"
