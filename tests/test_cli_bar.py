"""The progress bar: on a terminal only, only of what runs, on one line of 80 columns."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eapc
from eapc.cli.session import progress_bar
from eapc.progress import Step, begin, silent

PROJECT = Path(__file__).parents[1]
MODELS = PROJECT / "models"
LONG = "/model/encoder/layers.11/attention/self/query/MatMul"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> Terminal:
    """Standard error as a terminal so wide, from here on."""
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    return made


def latest(terminal: Terminal) -> str:
    """The line that is on the screen."""
    return re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", terminal.getvalue().rstrip())[-1].rstrip()


def test_without_a_terminal_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bar(quiet=False) as progress:
        assert progress is silent
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar(quiet=True) as progress:
        assert progress is silent


def test_a_terminal_sees_layers_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch, 120)
    with progress_bar(quiet=False) as progress:
        progress(Step("error-curves", 0, 2, "conv[a]"))
        progress(Step("error-curves", 1, 2, "fc"))
        progress(Step("error-curves", 2, 2))
        progress(Step("reconstruct-outputs", 0, 2, "conv[a]"))
        progress(Step("reconstruct-outputs", 1, 2, "fc", 0.1234))
        terminal.truncate(0)
        progress(Step("reconstruct-outputs", 1, 2, "last", 0.25))
    assert "error-curves" not in terminal.getvalue()
    assert "reconstruct-outputs" in terminal.getvalue()
    assert "last; output error of the last 0.250" in terminal.getvalue()


def test_80_columns_hold_bar_count_time_and_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with progress_bar(quiet=False) as progress:
        begin(progress, "pruning", trial=4)
        progress(Step("reconstruct-outputs", 123, 456, LONG, 0.25))
        line = latest(terminal)
    assert len(line) <= 80
    assert re.match(r"trial 4: reconstruct-outputs [━╸╺ ]{16} 123/456 [-:\d]+ .*MatMul$", line)


def test_a_stage_of_unknown_length_has_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with progress_bar(quiet=False) as progress:
        begin(progress, "loading", "digits.onnx")
        line = latest(terminal)
    assert line.startswith("loading ")
    assert line.endswith("digits.onnx")
    assert "/" not in line


def test_a_bar_may_start_with_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with progress_bar(False, "comparing", "a.onnx b.onnx"):
        line = latest(terminal)
    assert line.startswith("comparing ")
    assert line.endswith("a.onnx b.onnx")


def test_the_number_of_a_trial_ends_with_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with progress_bar(quiet=False) as progress:
        begin(progress, "pruning", trial=2)
        begin(progress, "judging")
        during = latest(terminal)
        begin(progress, "judging", trial=0)
        after = latest(terminal)
    assert during.startswith("trial 2: judging ")
    assert after.startswith("judging ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("prune", "models/digits.onnx", "--max-drop", "0.02", "--eval", "none.npz"),
        ("sweep", "models/digits.onnx", "--sparsity", "0.5,0.6"),
    ],
)
def test_a_search_speaks_before_anything_slow_is_loaded(arguments: tuple[str, ...]) -> None:
    code = f"""
import importlib, sys
from eapc.cli import app
def begin(progress, stage, subject=""):
    loaded = {{name.split(".")[0] for name in sys.modules}}
    print(stage, subject, *sorted(loaded & {{"numpy", "onnx", "onnxruntime", "scipy"}}))
    raise SystemExit
module = importlib.import_module("eapc.cli.{arguments[0]}")
module.begin = begin
app.main({arguments!r})
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
    assert done.stdout.strip() == "loading models/digits.onnx", done.stderr


def test_a_search_numbers_its_trials() -> None:
    """Each budget counts once, also where its result is made anew in the end."""
    told: list[Step] = []
    eapc.prune(
        MODELS / "digits.onnx",
        eapc.Settings(calibration=MODELS / "digits_calibration.npz", samples=32),
        goal=eapc.MaxDrop(0.02),
        evaluation=MODELS / "digits_eval.npz",
        progress=told.append,
    )
    trials = [step.trial for step in told if step.stage == "pruning"]
    assert trials == list(range(1, len(trials) + 1))
    assert len(trials) > 1
    stages = [step.stage for step in told]
    assert stages[0] == "pricing"
    assert stages[-1] == "judging"
    assert told[-1].trial == 0
