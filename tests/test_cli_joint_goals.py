"""A cost and a bound on the command line: options, exit codes, documents."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

from eapc.cli import main

pytestmark = pytest.mark.usefixtures("kept_logging")

MODELS = Path(__file__).parents[1] / "models"
DIGITS = MODELS / "digits.onnx"
CALIB = ["--calib", str(MODELS / "digits_calibration.npz")]
INPUTS = [*CALIB, "--samples", "64", "--threads", "1", "-q"]
LABELLED = [*INPUTS, "--eval", str(MODELS / "digits_eval.npz")]

Captured = pytest.CaptureFixture[str]


def ran(*options: str) -> int:
    return main(["prune", str(DIGITS), *options])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--target-energy", "0.5", "--target-size", "0.5"],
            "--target-energy and --target-size: give one goal, or one cost to lower and one bound",
        ),
        (
            ["--max-drop", "0.1", "--min-agreement", "0.9"],
            "--min-agreement and --max-drop: give one goal, or one cost to lower and one bound",
        ),
        (
            ["--sparsity", "0.5", "--max-drop", "0.1"],
            "--sparsity and --max-drop: give one goal, or one cost to lower and one bound",
        ),
        (
            ["--target-energy", "0.5", "--target-macs", "0.5", "--max-drop", "0.1"],
            "--target-energy and --target-macs and --max-drop: give one goal",
        ),
        (["--target-energy", "0.5", "--packed", "gzip"], "--packed: goes with --target-size"),
        (["--target-size", "0.5", "--packed", "zip"], "--packed: expected gzip, got 'zip'"),
        (["--target-size", "lots"], "expected a fraction such as 0.5 or a size such as 200kB"),
        (["--target-weights", "1.5"], "--target-weights: expected a fraction in (0, 1], got 1.5"),
        (
            ["--target-latency", "0.5", "--max-drop", "0.1"],
            "--target-latency: latency is measured, not modelled",
        ),
        (
            ["--target-energy", "0.5", "--max-drop", "0.1", "--pattern", "2:4"],
            "--target-energy: --pattern 2:4 fixes the share of zeros",
        ),
    ],
)
def test_what_does_not_go_together(options: list[str], said: str, capsys: Captured) -> None:
    assert ran(*LABELLED, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_bound_needs_its_inputs(capsys: Captured) -> None:
    assert ran(*INPUTS, "--target-energy", "0.5", "--max-drop", "0.01") == 2
    assert "--max-drop: needs --eval with labels" in capsys.readouterr().err


def test_both_are_met(tmp_path: Path, capsys: Captured) -> None:
    output = tmp_path / "out.onnx"
    goal = ["--target-size", "0.5", "--packed", "gzip", "--max-drop", "0.05"]
    assert ran(*LABELLED, *goal, "-o", str(output), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    size, drop = document["asked"]
    packed = len(gzip.compress(output.read_bytes(), 6))
    whole = len(gzip.compress(DIGITS.read_bytes(), 6))
    assert (size["option"], drop["option"]) == ("--target-size", "--max-drop")
    assert (size["value"], size["packed"], size["limit"]) == (0.5, "gzip", 0.5)
    assert size["bytes"] == packed <= 0.5 * whole
    assert size["reached"] == packed / whole
    accuracy = document["accuracy"]
    assert drop["reached"] == pytest.approx(accuracy["before"] - accuracy["after"])
    assert document["goal_met"]
    (chosen,) = (trial for trial in document["trials"] if trial["chosen"])
    assert chosen["kept"]
    assert chosen["costs"]["size"] == size["reached"]
    assert chosen["costs"]["energy"] == document["energy_ratio"]
    assert all(trial["loss"] is not None for trial in document["trials"])


def test_out_of_reach_the_trade_off_is_shown(tmp_path: Path, capsys: Captured) -> None:
    output = tmp_path / "out.onnx"
    goal = ["--target-weights", "0.021", "--max-drop", "0.02"]
    assert ran(*LABELLED, *goal, "-o", str(output)) == 4
    shown = capsys.readouterr()
    assert output.exists()
    assert "goal not met: the lowest weights found to keep --max-drop 0.02 is 0." in shown.err
    assert "least loss at this cost, written" in shown.out
    assert "broken" in shown.out
    rows = [line for line in shown.out.splitlines() if " points  " in line and "%" in line]
    costs = [float(line.split("%")[0]) for line in rows if line.split("%")[0].strip()[0].isdigit()]
    assert len(costs) >= 2
    assert costs == sorted(costs)


def test_a_dry_run_says_what_is_known(tmp_path: Path, capsys: Captured) -> None:
    options = ["--target-weights", "0.5", "--max-drop", "0.02", "-o", str(tmp_path / "x.onnx")]
    assert ran(*[each for each in LABELLED if each != "-q"], *options, "--dry-run", "--json") == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert "prune-weights{weights=0.5}" in document["pipeline"]
    ratio = document["after"]["nonzero_weights"] / document["before"]["nonzero_weights"]
    assert 0.47 < ratio <= 0.5
    assert "a --max-drop that breaks there is kept at a higher weights" in shown.err
    assert not (tmp_path / "x.onnx").exists()


def test_a_dry_run_of_a_size_is_a_pipeline(tmp_path: Path, capsys: Captured) -> None:
    options = ["--target-size", "50kB", "--packed", "gzip", "-o", str(tmp_path / "x.onnx")]
    assert ran(*INPUTS, *options, "--dry-run", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["energy_ratio"] is None
    assert "prune-weights{size=1.0}" in document["pipeline"]


def test_a_sweep_has_one_bound_beside_its_values(tmp_path: Path, capsys: Captured) -> None:
    values = ["--target-energy", "0.9,0.6", "--max-drop", "0.1"]
    where = ["-o", str(tmp_path), "--csv", "-"]
    assert main(["sweep", str(DIGITS), *LABELLED, *values, *where]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["goal"], row["value"]) for row in rows] == [
        ("target-energy", "0.9"),
        ("target-energy", "0.6"),
    ]
    assert all(float(row["energy_ratio"]) <= float(row["value"]) for row in rows)
    assert all(row["reached"] == row["energy_ratio"] for row in rows)
    assert [(row["bound"], row["bound_value"]) for row in rows] == [("max-drop", "0.1")] * 2
    assert all(float(row["bound_reached"]) <= 0.1 for row in rows)
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == [
        "digits.target-energy-0.6.max-drop-0.1.onnx",
        "digits.target-energy-0.9.max-drop-0.1.onnx",
    ]


def test_a_sweep_shows_the_cost_that_is_swept(capsys: Captured) -> None:
    values = ["--target-weights", "0.8,0.5"]
    assert main(["sweep", str(DIGITS), *INPUTS, *values]) == 0
    shown = capsys.readouterr().out
    assert "weights" in shown
    (row,) = (line for line in shown.splitlines() if line.startswith("--target-weights 0.8"))
    assert any(79 < float(cell.rstrip("%")) <= 80 for cell in row.split() if cell.endswith("%"))


def test_a_sweep_of_two_has_values_of_one(capsys: Captured) -> None:
    values = ["--target-energy", "0.9,0.6", "--max-drop", "0.1,0.2"]
    assert main(["sweep", str(DIGITS), *LABELLED, *values]) == 2
    said = "--target-energy and --max-drop: give several values of one of them"
    assert said in capsys.readouterr().err
