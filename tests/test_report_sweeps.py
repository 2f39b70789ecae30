"""A sweep as table, document and rows, from hand-made results."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from test_report import a_model, a_node, a_pruned, a_report, rendered, row_of

from eapc.commands.sweep import Swept
from eapc.evaluation import Agreement
from eapc.goals import Pruned, Sparsity, TargetEnergy
from eapc.report.documents import to_json
from eapc.report.layout import UNLIMITED
from eapc.report.sweeps import sweep_csv, sweep_document, sweep_table

AFTER = a_report((a_node("small", 0.699 * 4010.0),))
GOOD = a_pruned(
    goal=TargetEnergy(0.7),
    compilation=replace(a_pruned().compilation, energy=AFTER).with_record(seconds={"total": 1.5}),
    agreement=None,
)
MISSED = replace(GOOD, goal=TargetEnergy(0.1), goal_met=False, reason="too low", output=None)
FITTED = replace(
    GOOD,
    goal=Sparsity(0.5),
    accuracy=None,
    agreement=Agreement("top-1 agreement", 0.985, 0.9, 200),
    fitted=True,
)


def swept(*rows: Pruned) -> Swept:
    return Swept(a_model(), a_report(), rows, False, 3.0)


def test_rows_with_labels() -> None:
    text = rendered(sweep_table(swept(GOOD, MISSED), UNLIMITED))
    expected = "--target-energy 0.7 69.9% 50.0% 90.0% 87.5% 1.50 s yes".split()
    assert row_of(text, "--target-energy 0.7") == expected
    assert row_of(text, "--target-energy 0.1")[-1] == "no"
    assert "too low" in text
    assert "accuracy is on 40 inputs" in text
    assert "agreement" not in text
    assert "out.onnx" in text


def test_rows_without_labels() -> None:
    error = replace(
        FITTED, agreement=Agreement("relative output error", 0.04, 0.05, 9), fitted=False
    )
    text = rendered(sweep_table(swept(FITTED, error), UNLIMITED))
    assert row_of(text, "--sparsity 0.5") == "--sparsity 0.5 69.9% 50.0% 98.5% 1.50 s yes".split()
    assert " 0.04 " in text
    assert "agreement is on 200 inputs that were fitted: others agree less" in text
    assert "agreement is on 9 inputs kept out of the fit" in text


def test_the_document_holds_what_the_schema_promises() -> None:
    document = json.loads(to_json(sweep_document(swept(GOOD, MISSED, FITTED), ["careful"])))
    assert document["schema"] == "eapc.sweep/1"
    assert document["warnings"] == ["careful"]
    assert document["before"]["energy_mac_units"] == 4010.0
    good, missed, fitted = document["rows"]
    assert good["accuracy"].pop("loss_interval_95")
    assert good == {
        "goal": "target-energy",
        "value": 0.7,
        "goal_met": True,
        "confirmed": True,
        "reason": None,
        "latency": None,
        "energy_ratio": pytest.approx(0.699),
        "sparsity": 0.5,
        "bits": {"weights": [], "activations": []},
        "accuracy": {"metric": "top-1", "before": 0.9, "after": 0.875, "samples": 40},
        "agreement": None,
        "agreement_fitted": False,
        "notes": [],
        "output": "out.onnx",
        "asked": [
            {
                "option": "--target-energy",
                "value": 0.7,
                "reached": pytest.approx(0.699),
                "limit": 0.7,
            }
        ],
        "trials": [],
        "seconds": 1.5,
    }
    assert (missed["goal_met"], missed["reason"], missed["output"]) == (False, "too low", None)
    assert (fitted["agreement"]["value"], fitted["agreement_fitted"]) == (0.985, True)


def test_rows_of_values() -> None:
    rows = list(csv.DictReader(io.StringIO(sweep_csv(swept(GOOD, MISSED, FITTED)))))
    assert [row["goal"] for row in rows] == ["target-energy", "target-energy", "sparsity"]
    assert [row["accuracy"] for row in rows] == ["0.875", "0.875", ""]
    assert [row["agreement"] for row in rows] == ["", "", "0.985"]
    assert [row["goal_met"] for row in rows] == ["True", "False", "True"]
    assert [row["reason"] for row in rows] == ["", "too low", ""]
