"""Results as Python shows them: the document of --json, rows of --csv, a line, a table."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_profiling_latency import MODEL, machine

import eapc
from eapc.cli import main
from eapc.commands.machine_profile import Profiled
from eapc.commands.preparation import Settings
from eapc.commands.timing import time_nodes
from eapc.errors import MissingLibraryError, UsageError
from eapc.registry import VIEWS
from eapc.report.views import PRUNED, View
from eapc.showing import Shown

pytestmark = pytest.mark.usefixtures("kept_logging")

MODELS = Path(__file__).parents[1] / "models"
DIGITS = MODELS / "digits.onnx"
DATA = MODELS / "digits_calibration.npz"
INPUTS = ["--calib", str(DATA), "--samples", "48", "--threads", "1"]


@pytest.fixture(scope="module")
def analysis() -> eapc.Analysis:
    return eapc.analyze(DIGITS, calibration=DATA, samples=48, threads=1)


@pytest.fixture(scope="module")
def pruned() -> eapc.Pruned:
    return eapc.prune(DIGITS, calibration=DATA, samples=48, threads=1, sparsity=0.8)


def document_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, *INPUTS, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def without(document: Any, *names: str) -> Any:
    return {name: value for name, value in document.items() if name not in names}


def test_an_analysis_is_the_document_of_the_command(
    analysis: eapc.Analysis, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads(analysis.to_json()) == document_of(capsys, "analyze", str(DIGITS))


def test_pruning_is_the_document_of_the_command(
    pruned: eapc.Pruned, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = ("-o", str(tmp_path / "out.onnx"))
    document = document_of(capsys, "prune", str(DIGITS), "--sparsity", "0.8", *out)
    apart = ("seconds", "output", "warnings")
    assert without(json.loads(pruned.to_json()), *apart) == without(document, *apart)


def test_a_sweep_and_a_comparison(pruned: eapc.Pruned) -> None:
    swept = eapc.sweep(DIGITS, calibration=DATA, samples=48, threads=1, sparsity=[0.5, 0.8])
    assert [row["value"] for row in json.loads(swept.to_json())["rows"]] == [0.5, 0.8]
    columns, rows = VIEWS["Swept"].table(swept)
    assert [row["energy_ratio"] for row in rows] == [row.energy_ratio for row in swept.rows]
    assert "accuracy" in columns
    assert repr(swept).count("energy") == 2
    compared = eapc.compare(
        DIGITS, pruned.model, calibration=DATA, samples=48, threads=1, latency=False
    )
    assert json.loads(compared.to_json())["schema"] == "eapc.compare/1"
    assert repr(compared).startswith("<Comparison of digits.onnx with digits")
    figures = {row["figure"]: row["ratio"] for row in VIEWS["Comparison"].table(compared)[1]}
    assert figures["energy_mac_units"] == compared.energy_ratio


def test_rows_are_those_of_the_csv(
    analysis: eapc.Analysis, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", str(DIGITS), *INPUTS, "--csv", "-"]) == 0
    written = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    columns, rows = VIEWS["Analysis"].table(analysis)
    assert list(written[0]) == list(columns)
    assert [float(row["energy_mac_units"]) for row in written] == [
        row["energy_mac_units"] for row in rows
    ]


def test_a_line_says_what_counts(analysis: eapc.Analysis, pruned: eapc.Pruned) -> None:
    assert repr(analysis).startswith("<Analysis of digits.onnx on eyeriss: energy ")
    assert repr(analysis).endswith(" nodes>")
    assert repr(pruned).startswith("<Pruned digits.onnx: --sparsity 0.8 met, energy ")
    assert "zeros 80.0%" in str(pruned)
    missed = replace(pruned, goal_met=False, reason="no weights are left")
    assert "--sparsity 0.8 not met: no weights are left" in repr(missed)
    assert all("\n" not in repr(each) and len(repr(each)) < 240 for each in (analysis, pruned))


def test_a_measured_machine() -> None:
    timing = time_nodes(MODEL, machine("none"), Settings(threads=1))
    assert repr(timing).startswith("<Timing of ")
    assert json.loads(timing.to_json())["totals"]["latency_ms"] == 9.5
    profiled = Profiled(machine("none"), (("Gemm_6", "why not"),), 1.5, 2.0)
    assert "sum 1.50 ms, whole network 2.00 ms, not timed 1 layer" in repr(profiled)
    assert json.loads(profiled.to_json())["schema"] == "eapc.measured/1"
    rows = VIEWS["Profiled"].table(profiled)[1]
    points = sum(len(each.ms) * len(each.out_channels) for each in profiled.machine.layers)
    assert len(rows) == points > 0


def test_notebooks_get_a_small_table(pruned: eapc.Pruned) -> None:
    shown = pruned._repr_html_()
    assert shown.count("<tr>") < 20
    assert "<th>energy</th><td>" in shown
    assert len(pruned.layers) < 8 or "more: to_dataframe() has all" in shown


def test_names_are_escaped(pruned: eapc.Pruned) -> None:
    view: View[Any] = replace(PRUNED, about=lambda _: "<b>&amp;\x1b[31m")
    shown = view.html(pruned)
    assert "&lt;b&gt;&amp;amp;�[31m" in shown
    assert "<b>" not in shown
    hostile: View[Any] = replace(
        PRUNED, table=lambda _: (["name"], [{"name": "<script>"}]), columns=("name",)
    )
    assert "<script>" not in hostile.html(pruned)


def test_saving_refuses_what_is_there(pruned: eapc.Pruned, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    pruned.save(out)
    with pytest.raises(UsageError, match="exists"):
        pruned.save(out)
    pruned.save(str(out), force=True)
    assert eapc.analyze(out).energy.nonzero_weights == pruned.after.nonzero_weights


class FakeFrame:
    def __init__(self, rows: list[list[Any]], columns: list[str]) -> None:
        self.rows, self.columns = rows, columns


def test_a_frame_has_the_rows(pruned: eapc.Pruned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=FakeFrame))
    frame = pruned.to_dataframe()
    assert frame.columns[:2] == ["name", "sparsity"]
    assert [row[0] for row in frame.rows] == [layer.name for layer in pruned.layers]


def test_a_real_frame(analysis: eapc.Analysis) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    frame = analysis.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["energy_mac_units"].sum() == pytest.approx(analysis.energy.energy_mac_units)


def test_without_pandas_it_says_what_to_install(
    pruned: eapc.Pruned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas") as caught:
        pruned.to_dataframe()
    assert isinstance(caught.value, MissingLibraryError | UsageError)


def test_every_result_has_a_view() -> None:
    """A result without one would fail where it is first printed."""
    kinds = {name for name in eapc.__all__ if issubclass(_class_of(name), Shown)}
    assert kinds - {"SweepRow"} == set(VIEWS)
    assert all(VIEWS[name].name == name for name in VIEWS)


def _class_of(name: str) -> type:
    found = getattr(eapc, name)
    return found if isinstance(found, type) else object
