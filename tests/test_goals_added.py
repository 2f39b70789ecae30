"""A goal from outside: one class and its name in the table give options, search and reports."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

import eapc
from eapc.cli import main
from eapc.commands.preparation import Settings
from eapc.goals import GOALS, Pruned, Target

pytestmark = pytest.mark.usefixtures("kept_logging")

MODELS = Path(__file__).parents[1] / "models"
DIGITS = MODELS / "digits.onnx"
DATA = MODELS / "digits_calibration.npz"
SETTINGS = Settings(calibration=DATA, samples=64, threads=1)
INPUTS = ["--calib", str(DATA), "--samples", "64", "--threads", "1"]


@dataclass(frozen=True)
class MaxWeights(Target):
    """Non-zero weights at most this fraction of the dense network's."""

    option = "--max-weights"
    metavar = "F"
    help = "At most this fraction of non-zero weights, in (0, 1]."
    remedy = "a higher --max-weights keeps more"
    cost = "weights"
    is_searched = True

    def ratio(self, result: Pruned) -> float:
        return result.after.nonzero_weights / result.before.nonzero_weights


@pytest.fixture
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GOALS, MaxWeights.option, MaxWeights)


@pytest.mark.parametrize("value", [0.6, 0.3])
def test_its_own_measure_is_met(value: float) -> None:
    done = eapc.prune(DIGITS, SETTINGS, goal=MaxWeights(value))
    assert done.goal_met
    assert value - 0.02 < MaxWeights(value).ratio(done) <= value
    assert done.energy_ratio > value


@pytest.mark.usefixtures("_added")
def test_prune_has_its_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["prune", "--help"]) == 0
    assert MaxWeights.option in (shown := capsys.readouterr().out)
    assert MaxWeights.help in shown
    options = [str(DIGITS), *INPUTS, "--max-weights", "0.5", "--json"]
    assert main(["prune", *options, "-o", str(tmp_path / "out.onnx")]) == 0
    document = json.loads(capsys.readouterr().out)
    before, after = document["before"], document["after"]
    assert 0.48 < after["nonzero_weights"] / before["nonzero_weights"] <= 0.5
    assert main(["prune", *options, "--dry-run", "-o", str(tmp_path / "plan.onnx")]) == 0
    assert json.loads(capsys.readouterr().out)["energy_ratio"] is None
    assert main(["prune", str(DIGITS), "--max-weights", "0"]) == 2
    assert "--max-weights: expected a fraction in (0, 1], got 0.0" in capsys.readouterr().err


@pytest.mark.usefixtures("_added")
def test_sweep_has_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(DIGITS), *INPUTS, "--max-weights", "0.7,0.5", "--csv", "-"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["goal"], row["value"]) for row in rows] == [
        ("max-weights", "0.7"),
        ("max-weights", "0.5"),
    ]
    assert all(1 - float(row["sparsity"]) <= float(row["value"]) for row in rows)


def test_without_its_name_in_the_table_there_is_no_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["prune", str(DIGITS), "--max-weights", "0.5"]) == 2
    assert "max-weights" in capsys.readouterr().err
