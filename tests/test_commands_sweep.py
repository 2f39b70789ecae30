"""Sweeps on a small network: each row is what prune gives for its goal alone."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from builders import save
from goal_builders import answered
from pruning_builders import plain, residual

from eapc import sweep
from eapc.commands.compiler import prune
from eapc.commands.preparation import Settings
from eapc.commands.sweep import Swept
from eapc.errors import UsageError
from eapc.goals import Densities, Goal, MaxDrop, MinAgreement, Sparsity, TargetEnergy
from eapc.pipeline import Recipe
from eapc.progress import Progress, Step

NET = plain()
MODEL = NET.model
EVALUATION = answered(NET)
SETTINGS = Settings(calibration=NET.data, threads=1)
GOALS: tuple[Goal, ...] = (TargetEnergy(0.8), TargetEnergy(0.05), Sparsity(0.5), MaxDrop(0.05))


@cache
def swept() -> Swept:
    return sweep(MODEL, SETTINGS, goals=GOALS, evaluation=EVALUATION)


@pytest.mark.parametrize("index", range(len(GOALS)))
def test_rows_are_what_prune_gives(index: int) -> None:
    row = swept().rows[index]
    alone = prune(MODEL, SETTINGS, goal=GOALS[index], evaluation=EVALUATION)
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
    assert all(row.seconds["total"] > 0 for row in swept().rows)
    assert swept().seconds >= sum(row.seconds["total"] for row in swept().rows)


def test_what_goals_share_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, int] = {}

    def count(name: str, owner: str) -> None:
        module, _, attribute = owner.rpartition(".")
        original = getattr(import_module(module), attribute)

        def counting(*args: Any, **kwargs: Any) -> Any:
            calls[name] = calls.get(name, 0) + 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, counting)

    count("curves", "eapc.pipeline.analyses.error_curves")
    count("outputs", "eapc.evaluation.judges.collect_outputs")
    goals: list[Goal] = [TargetEnergy(0.8), TargetEnergy(0.7), Sparsity(0.5)]
    sweep(MODEL, SETTINGS, goals=goals, evaluation=EVALUATION)
    assert calls == {"curves": 1, "outputs": 1 + len(goals)}


def test_models_are_written_by_the_name_of_their_goal(tmp_path: Path) -> None:
    goals, source = [Sparsity(0.5), Sparsity(0.25)], save(NET.proto, tmp_path / "net.onnx")
    folder = tmp_path / "folder"
    folder.mkdir()
    found = sweep(source, SETTINGS, goals=goals, folder=folder)
    names = ["net.sparsity-0.5.onnx", "net.sparsity-0.25.onnx"]
    assert [row.output for row in found.rows] == [folder / name for name in names]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    alone = prune(source, SETTINGS, goal=Sparsity(0.25)).model
    assert (folder / names[1]).read_bytes() == alone.to_proto().SerializeToString()
    with pytest.raises(UsageError, match="--force"):
        sweep(source, SETTINGS, goals=goals, folder=folder)
    sweep(MODEL, SETTINGS, goals=goals[:1], folder=folder, force=True)
    assert (folder / "model.sparsity-0.5.onnx").exists()


def test_agreement_stands_in_for_accuracy() -> None:
    uniform, kept = sweep(MODEL, SETTINGS, goals=[Sparsity(0.5), MinAgreement(0.9)]).rows
    assert uniform.accuracy is None
    assert uniform.agreement is not None
    assert (uniform.fitted, uniform.agreement.samples) == (False, 7)
    assert kept.agreement is not None
    assert (kept.fitted, kept.agreement.samples) == (False, 12)


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
        sweep(MODEL, SETTINGS, goals=goals)


def test_goals_share_a_recipe() -> None:
    recipe = Recipe(method="wanda", exclude=("Gemm",), order="uniform")
    found = sweep(MODEL, SETTINGS, goals=[TargetEnergy(0.9)], recipe=recipe)
    alone = prune(MODEL, SETTINGS, goal=TargetEnergy(0.9), recipe=recipe)
    assert found.rows[0].energy_ratio == alone.energy_ratio
    assert found.rows[0].agreement is not None
    assert found.rows[0].energy_ratio != swept().rows[0].energy_ratio


def test_splits_are_settled_goal_by_goal(tmp_path: Path) -> None:
    net, recipe = residual(), Recipe(structured=True, zeros=True)
    settings = Settings(calibration=net.data, threads=1)
    goals = [TargetEnergy(0.7), TargetEnergy(0.5)]
    found = sweep(net.model, settings, goals=goals, recipe=recipe, folder=tmp_path)
    for goal, row in zip(goals, found.rows, strict=True):
        alone = prune(net.model, settings, goal=goal, recipe=recipe).model
        assert row.output is not None
        assert row.output.read_bytes() == alone.to_proto().SerializeToString()


def test_files_of_densities_that_share_a_name(tmp_path: Path) -> None:
    goals = [Densities(tmp_path / folder / "d.yaml") for folder in ("a", "b")]
    for goal in goals:
        goal.value.parent.mkdir()
        goal.value.write_text("Conv: 0.5\n")
    with pytest.raises(UsageError, match=r"written as model\.densities-d\.onnx too; rename it"):
        sweep(MODEL, SETTINGS, goals=goals, folder=tmp_path)
    assert len(sweep(MODEL, SETTINGS, goals=goals).rows) == 2


# --- going on --------------------------------------------------------------------------------

TWO = (Sparsity(0.5), Sparsity(0.75))
LAYERS = 5


class StopError(Exception):
    """Raised to end a sweep in its middle."""


def stopping_at(step: int) -> Progress:
    """Ends a sweep when it comes to this layer, counted over all goals."""
    seen: list[str] = []

    def progress(at: Step) -> None:
        seen.extend([at.layer] if at.layer else [])
        if len(seen) > step:
            raise StopError

    return progress


def stop(folder: Path, step: int, goals: tuple[Goal, ...] = TWO) -> None:
    with pytest.raises(StopError):
        sweep(
            *(MODEL, SETTINGS),
            goals=goals,
            folder=folder,
            resume=True,
            progress=stopping_at(step),
        )


def go_on(folder: Path, goals: tuple[Goal, ...] = TWO, force: bool = False) -> list[str]:
    """Resume a sweep to its end; gives the layers that were worked on."""
    layers: list[str] = []

    def progress(at: Step) -> None:
        layers.extend([at.layer] if at.layer else [])

    sweep(
        *(MODEL, SETTINGS),
        goals=goals,
        folder=folder,
        force=force,
        resume=True,
        progress=progress,
    )
    return layers


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """An empty folder, and one with what a sweep that was left alone has written."""
    folder, whole = tmp_path / "folder", tmp_path / "whole"
    folder.mkdir()
    whole.mkdir()
    sweep(MODEL, SETTINGS, goals=TWO, folder=whole)
    return folder, whole


@pytest.mark.parametrize("step", [3, LAYERS, LAYERS + 4])
def test_a_sweep_that_was_stopped_goes_on(folders: tuple[Path, Path], step: int) -> None:
    folder, whole = folders
    stop(folder, step)
    assert (folder / "model.sweep.partial").is_dir()
    assert len(go_on(folder)) == 2 * LAYERS - step
    assert bytes_in(folder) == bytes_in(whole)


def test_another_sweep_uses_nothing(
    folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder, _ = folders
    stop(folder, 3)
    assert len(go_on(folder, (Sparsity(0.75), Sparsity(0.5)))) == 2 * LAYERS
    assert "another model, data or options" in caplog.text


def test_going_on_overwrites_only_what_it_has_written(folders: tuple[Path, Path]) -> None:
    folder, whole = folders
    stop(folder, LAYERS + 1)
    (folder / "model.sparsity-0.5.onnx").write_bytes(b"a user's own")
    with pytest.raises(UsageError, match="--force"):
        go_on(folder)
    assert (folder / "model.sparsity-0.5.onnx").read_bytes() == b"a user's own"
    assert len(go_on(folder, force=True)) == LAYERS - 1
    assert bytes_in(folder) == bytes_in(whole)


def test_going_on_takes_a_folder() -> None:
    with pytest.raises(UsageError, match="--resume: needs -o FOLDER"):
        sweep(MODEL, SETTINGS, goals=TWO, resume=True)
