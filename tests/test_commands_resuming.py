"""A run that was killed goes on where it was, and ends in the same bytes."""

from __future__ import annotations

import logging
import multiprocessing
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import onnx
import pytest
from goal_builders import answered
from pruning_builders import plain, residual
from test_profiling_latency import machine

from eapc.checkpoints import Checkpoints, model_digest
from eapc.cli import main
from eapc.commands.compiler import prune
from eapc.commands.machine_profile import machine_yaml
from eapc.commands.preparation import Settings, prepare
from eapc.commands.results import partial_folder
from eapc.goals import (
    Goal,
    Joint,
    MinAgreement,
    Pruned,
    Sparsity,
    TargetEnergy,
    TargetLatency,
    TargetSize,
    TargetWeights,
)
from eapc.pipeline import Pipeline, Recipe, load_passes
from eapc.progress import Progress, Step

NET = plain()
MODEL = NET.model
LAYERS = 5
SETTINGS = Settings(calibration=NET.data, samples=60, threads=1)
MEASURED = machine(inputs=(4, 8), model=MODEL, outputs=(4, 8))
TIMED = replace(SETTINGS, hardware=MEASURED)
CHANNELS = Recipe(structured=True)
BOTH = Recipe(structured=True, zeros=True)


class StopError(Exception):
    """Raised to end a run in its middle."""


class StopAt:
    """Ends a run when it comes to its n-th step; stages of unknown length are none."""

    def __init__(self, step: int) -> None:
        self._left = step

    def __call__(self, step: Step) -> None:
        if step.total is None:
            return
        if self._left == 0:
            raise StopError
        self._left -= 1


class Count:
    """Counts the layers that are worked on."""

    def __init__(self) -> None:
        self.layers: list[str] = []

    def __call__(self, step: Step) -> None:
        is_counted = step.layer and step.total is not None
        self.layers += [f"{step.stage} {step.layer}"] if is_counted else []


def stopped(
    step: int,
    goal: Goal,
    output: Path,
    settings: Settings = SETTINGS,
    recipe: Recipe | None = None,
) -> None:
    stop = StopAt(step)
    with pytest.raises(StopError):
        prune(MODEL, settings, goal=goal, recipe=recipe, output=output, resume=True, progress=stop)


def resumed(
    goal: Goal, output: Path, settings: Settings = SETTINGS, recipe: Recipe | None = None
) -> tuple[Pruned, list[str]]:
    count = Count()
    done = prune(
        MODEL, settings, goal=goal, recipe=recipe, output=output, resume=True, progress=count
    )
    assert not partial_folder(output).exists()
    return done, count.layers


@pytest.mark.parametrize(
    "goal",
    [
        Sparsity(0.7),
        TargetEnergy(0.75),
        MinAgreement(0.9),
        Joint(TargetWeights(0.3), MinAgreement(0.9)),
        TargetSize(0.5, "gzip"),
    ],
    ids=str,
)
def test_a_resumed_run_ends_in_the_same_bytes(goal: Goal, tmp_path: Path) -> None:
    whole = Count()
    prune(MODEL, SETTINGS, goal=goal, output=tmp_path / "whole.onnx", progress=whole)
    expected = (tmp_path / "whole.onnx").read_bytes()
    steps = len(whole.layers)
    for at in (1, steps // 2) if steps < 20 else (steps // 2,):
        output = tmp_path / f"{at}.onnx"
        stopped(at, goal, output)
        _, again = resumed(goal, output)
        assert output.read_bytes() == expected
        rest = iter(whole.layers)
        assert all(layer in rest for layer in again)  # in the same order
        assert again[-1] == whole.layers[-1]
        assert len(again) < steps or at == 1


@pytest.mark.parametrize(
    ("goal", "settings", "recipe"),
    [
        (Sparsity(0.3), SETTINGS, CHANNELS),
        (TargetEnergy(0.8), SETTINGS, CHANNELS),
        (TargetEnergy(0.7), SETTINGS, BOTH),
        (TargetLatency(0.8), TIMED, CHANNELS),
    ],
    ids=["fraction", "energy", "both", "latency"],
)
def test_curves_of_channels_are_kept_group_by_group(
    goal: Goal, settings: Settings, recipe: Recipe, tmp_path: Path
) -> None:
    told: list[Step] = []
    path, output = tmp_path / "whole.onnx", tmp_path / "o.onnx"
    prune(MODEL, settings, goal=goal, recipe=recipe, output=path, progress=told.append)
    steps = [step for step in told if step.total is not None]
    third = [at for at, step in enumerate(steps) if step.stage == "channel-curves"][2]
    assert steps[third].layer
    stopped(third, goal, output, settings, recipe)
    _, again = resumed(goal, output, settings, recipe)
    assert again == [f"{step.stage} {step.layer}" for step in steps[third:] if step.layer]
    assert output.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_split_that_is_being_settled_ends_in_the_same_bytes(share: float, tmp_path: Path) -> None:
    net, recipe = residual(), Recipe(structured=True, zeros=True)
    settings = Settings(calibration=net.data, threads=1)
    whole, again = Count(), Count()

    def pruned(name: str, progress: Progress) -> bytes:
        start = partial(prune, net.model, settings, goal=TargetEnergy(0.5), recipe=recipe)
        start(output=tmp_path / name, resume=True, progress=progress)
        return (tmp_path / name).read_bytes()

    expected = pruned("whole.onnx", whole)
    with pytest.raises(StopError):
        pruned("o.onnx", StopAt(round(share * len(whole.layers))))
    assert pruned("o.onnx", again) == expected
    assert len(again.layers) < len(whole.layers)


def test_a_run_that_differs_in_later_layers_finds_the_earlier_ones_finished(tmp_path: Path) -> None:
    passes, count = load_passes(), Count()
    kept = Checkpoints(tmp_path / "kept", "run")
    start = replace(prepare(MODEL, SETTINGS), progress=count)
    first = Pipeline.parse("prune-weights{energy=0.75}, reconstruct-outputs", passes)
    done = first.run(replace(start, checkpoints=kept))
    start = start.with_record(curves=done.record.curves)
    count.layers.clear()
    text = "prune-weights{energy=0.75, late=-0.01}, reconstruct-outputs"
    again = Pipeline.parse(text, passes).run(replace(start, checkpoints=kept))
    fitted = len(count.layers)
    anew = Pipeline.parse(text, passes).run(start)
    assert 0 < fitted < len(count.layers) - fitted == LAYERS
    assert model_digest(again.model) == model_digest(anew.model) != model_digest(done.model)
    assert again.record.layers == anew.record.layers


def test_a_run_may_be_stopped_again_and_again(tmp_path: Path) -> None:
    goal = Sparsity(0.6)
    prune(MODEL, SETTINGS, goal=goal, output=tmp_path / "whole.onnx")
    for _ in range(LAYERS):  # the first step is that of a layer not yet finished
        stopped(1, goal, tmp_path / "o.onnx")
    done, again = resumed(goal, tmp_path / "o.onnx")
    assert again == []
    assert len(done.layers) == LAYERS
    assert (tmp_path / "o.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()


@pytest.mark.parametrize(
    ("goal", "settings"),
    [
        (Sparsity(0.61), SETTINGS),
        (Sparsity(0.6), replace(SETTINGS, samples=59)),
        (Sparsity(0.6), replace(SETTINGS, hardware="tpu-v1")),
        (Sparsity(0.6), replace(SETTINGS, seed=1)),
    ],
)
def test_results_of_another_run_are_not_used(
    goal: Goal, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stopped(3, Sparsity(0.6), tmp_path / "o.onnx")
    _, again = resumed(goal, tmp_path / "o.onnx", settings)
    assert len(again) == LAYERS
    assert "another model, data or options" in caplog.text


def test_labels_make_another_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With them all inputs are fitted, without them seven of eight."""
    goal, output = Sparsity(0.6), tmp_path / "o.onnx"
    stopped(3, goal, output)
    start = partial(prune, MODEL, SETTINGS, goal=goal, evaluation=answered(NET))
    start(output=output, resume=True)
    assert "another model, data or options" in caplog.text
    assert output.read_bytes() == start().model.to_proto().SerializeToString()
    assert (
        output.read_bytes()
        != prune(MODEL, SETTINGS, goal=goal).model.to_proto().SerializeToString()
    )


def test_another_profile_is_another_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stopped(2, TargetLatency(0.8), tmp_path / "o.onnx", TIMED, CHANNELS)
    other = replace(TIMED, hardware=machine(inputs=(4, 16), model=MODEL, outputs=(4, 8)))
    resumed(TargetLatency(0.8), tmp_path / "o.onnx", other, CHANNELS)
    assert "another model, data or options" in caplog.text


def test_damaged_results_are_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "o.onnx"
    prune(MODEL, SETTINGS, goal=Sparsity(0.6), output=tmp_path / "whole.onnx")
    stopped(4, Sparsity(0.6), output)
    for path in sorted(partial_folder(output).iterdir())[1:4]:
        path.write_bytes(path.read_bytes()[:-1])
    _, again = resumed(Sparsity(0.6), output)
    assert len(again) == LAYERS - 4 + 3
    assert caplog.text.count("is damaged") == 3
    assert output.read_bytes() == (tmp_path / "whole.onnx").read_bytes()


def test_without_resume_a_leftover_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stopped(4, Sparsity(0.6), tmp_path / "o.onnx")
    count = Count()
    prune(MODEL, SETTINGS, goal=Sparsity(0.6), output=tmp_path / "o.onnx", progress=count)
    assert len(count.layers) == LAYERS
    assert "are dropped" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["o.onnx"]


def test_nothing_to_resume_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    resumed(Sparsity(0.6), tmp_path / "o.onnx")
    assert "nothing to resume" in caplog.text


def test_without_an_output_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prune(MODEL, SETTINGS, goal=Sparsity(0.6))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr("eapc.commands.sweep.save", fail)
        with pytest.raises(StopError):
            prune(MODEL, SETTINGS, goal=Sparsity(0.6), output=tmp_path / "o.onnx")
    assert "--resume goes on" in caplog.text
    with caplog.at_level(logging.INFO, logger="eapc"):
        assert resumed(Sparsity(0.6), tmp_path / "o.onnx")[1] == []
    assert f"{LAYERS} finished parts are used" in caplog.text


def begin(arguments: Sequence[str]) -> ForkServerProcess:
    """A process that runs eapc, with everything imported when it begins."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "onnxruntime", "eapc.commands.compiler"])
    process = context.Process(target=main, args=(arguments,))
    process.start()
    return process


@pytest.mark.usefixtures("kept_logging")
@pytest.mark.parametrize(
    "options",
    [
        "--target-energy 0.75",
        "--target-energy 0.75 --structured",
        "--target-energy 0.65 --structured --zeros",
        "--target-latency 0.7 --structured --hw timed.yaml",
    ],
)
def test_a_killed_process_goes_on(options: str, tmp_path: Path) -> None:
    """SIGKILL at random moments, whatever is being written, until a run comes to its end."""
    inputs, output, rng = tmp_path / "inputs", tmp_path / "o.onnx", random.Random(0)
    inputs.mkdir()
    onnx.save(NET.proto, inputs / "net.onnx")
    np.savez(inputs / "data.npz", x=NET.arrays["x"])
    (inputs / "timed.yaml").write_text(machine_yaml(MEASURED))
    command = ["prune", str(inputs / "net.onnx"), "--calib", str(inputs / "data.npz"), "--resume"]
    command += [
        "--threads",
        "1",
        *options.replace("timed.yaml", str(inputs / "timed.yaml")).split(),
    ]
    assert main([*command, "-o", str(tmp_path / "whole.onnx")]) == 0
    kept = []
    for _ in range(3):
        process = begin([*command, "-o", str(output)])
        wait_for_more_parts(partial_folder(output), rng.randrange(1, 3), process)
        time.sleep(rng.uniform(0, 0.01))
        process.kill()
        process.join()
        if output.exists():
            break
        kept.append(len(list(partial_folder(output).glob("*.part"))))
    assert 0 < kept[0] < kept[-1]
    assert kept == sorted(kept)
    assert main([*command, "-o", str(output), "--force"]) == 0
    assert output.read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inputs", "o.onnx", "whole.onnx"]


def wait_for_more_parts(folder: Path, more: int, process: ForkServerProcess) -> None:
    before = len(list(folder.glob("*.part")))
    while process.is_alive() and len(list(folder.glob("*.part"))) < before + more:
        time.sleep(0.002)
