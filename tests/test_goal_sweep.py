"""Sweeps on the shipped digits network: each row is what prune gives for its goal alone."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from eapc import sweep
from eapc.compiler import Settings, prune
from eapc.errors import UsageError
from eapc.goal_sweep import Swept
from eapc.goals import Goal, MaxDrop, MinAgreement, Sparsity, TargetEnergy
from eapc.model import Model

MODELS = Path(__file__).parents[1] / "models"
DIGITS = MODELS / "digits.onnx"
EVALUATION = MODELS / "digits_eval.npz"
SETTINGS = Settings(calibration=MODELS / "digits_calibration.npz", samples=100, threads=1)
GOALS: tuple[Goal, ...] = (TargetEnergy(0.8), TargetEnergy(0.05), Sparsity(0.5), MaxDrop(0.05))


@cache
def swept() -> Swept:
    return sweep(DIGITS, SETTINGS, goals=GOALS, evaluation=EVALUATION)


@pytest.mark.parametrize("index", range(len(GOALS)))
def test_rows_are_what_prune_gives(index: int) -> None:
    row = swept().rows[index]
    alone = prune(DIGITS, SETTINGS, goal=GOALS[index], evaluation=EVALUATION)
    assert row.goal == GOALS[index]
    assert row.energy_ratio == alone.energy_ratio
    assert row.accuracy == alone.accuracy
    assert row.sparsity == 1 - alone.after.nonzero_weights / alone.after.weights
    assert (row.goal_met, row.reason) == (alone.goal_met, alone.reason)
    assert row.output is None


def test_a_goal_out_of_reach_stops_nothing() -> None:
    assert [row.goal_met for row in swept().rows] == [True, False, True, True]
    assert [row.name for row in swept().missed] == ["--target-energy 0.05"]


def test_time_is_told_row_by_row() -> None:
    assert all(row.seconds > 0 for row in swept().rows)
    assert swept().seconds >= sum(row.seconds for row in swept().rows)


def test_what_goals_share_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, int] = {}

    def count(name: str, owner: str) -> None:
        module, _, attribute = owner.rpartition(".")
        original = getattr(import_module(module), attribute)

        def counting(*args: Any, **kwargs: Any) -> Any:
            calls[name] = calls.get(name, 0) + 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, counting)

    count("curves", "eapc.passes.prune_weights.error_curves")
    count("outputs", "eapc.judges.collect_outputs")
    goals: list[Goal] = [TargetEnergy(0.8), TargetEnergy(0.7), Sparsity(0.5)]
    sweep(DIGITS, SETTINGS, goals=goals, evaluation=EVALUATION)
    assert calls == {"curves": 1, "outputs": 1 + len(goals)}


def test_models_are_written_by_the_name_of_their_goal(tmp_path: Path) -> None:
    goals = [Sparsity(0.5), Sparsity(0.25)]
    found = sweep(DIGITS, SETTINGS, goals=goals, folder=tmp_path)
    names = ["digits.sparsity-0.5.onnx", "digits.sparsity-0.25.onnx"]
    assert [row.output for row in found.rows] == [tmp_path / name for name in names]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    alone = prune(DIGITS, SETTINGS, goal=Sparsity(0.25)).model
    assert (tmp_path / names[1]).read_bytes() == alone.to_proto().SerializeToString()
    with pytest.raises(UsageError, match="--force"):
        sweep(DIGITS, SETTINGS, goals=goals, folder=tmp_path)
    sweep(Model.load(DIGITS), SETTINGS, goals=goals[:1], folder=tmp_path, force=True)


def test_agreement_stands_in_for_accuracy() -> None:
    uniform, kept = sweep(DIGITS, SETTINGS, goals=[Sparsity(0.5), MinAgreement(0.9)]).rows
    assert uniform.accuracy is None
    assert uniform.agreement is not None
    assert (uniform.fitted, uniform.agreement.samples) == (True, 100)
    assert kept.agreement is not None
    assert (kept.fitted, kept.agreement.samples) == (False, 20)


@pytest.mark.parametrize(
    ("goals", "said"),
    [
        ([], "at least one goal"),
        ([Sparsity(0.5), TargetEnergy(0.5), Sparsity(0.5)], "--sparsity 0.5 is given twice"),
        ([MaxDrop(0.1)], "--max-drop: needs --eval"),
    ],
)
def test_sweeps_that_make_no_sense(goals: list[Goal], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sweep(DIGITS, SETTINGS, goals=goals)
