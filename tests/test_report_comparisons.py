"""A comparison as table, document and rows, from hand-made results."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

from test_report import a_model, a_report, rendered, row_of

from eapc.commands.comparison import Comparison, Likeness, RuntimeLatency, Side
from eapc.evaluation import Accuracy
from eapc.profiling import Ratio
from eapc.report.comparisons import comparison_csv, comparison_document, comparison_table
from eapc.report.documents import to_json
from eapc.report.layout import UNLIMITED

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
    assert "latency" not in text.replace("latency measured on this computer", "")
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
