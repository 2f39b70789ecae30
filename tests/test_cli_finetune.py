"""eapc finetune, and --finetune of prune, as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import op, save
from pruning_builders import halved, residual

import eapc
from eapc.cli import main
from eapc.errors import PassError
from eapc.model import Model
from eapc.tuning import Options

NET = residual()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A model, the same with half of its weights gone, and inputs with labels."""
    save(NET.proto, tmp_path / "original.onnx")
    halved(NET).save(tmp_path / "pruned.onnx")
    count = len(next(iter(NET.arrays.values())))
    arrays: dict[str, Any] = {**NET.arrays, "y": np.arange(count) % 3}
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path


def typed(folder: Path, *options: str) -> int:
    given = ["--teacher", str(folder / "original.onnx"), "--data", str(folder / "data.npz")]
    short = ["--epochs", "4", "--batch-size", "8", "--threads", "1"]
    return main(["finetune", str(folder / "pruned.onnx"), *given, *short, *options])


def test_a_pruned_file_is_trained_and_written_beside_it(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (files / "pruned.onnx").read_bytes()
    assert typed(files, "--eval", str(files / "data.npz"), "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["schema"] == "eapc.finetune/1"
    training = said["training"]
    assert training["loss_after"] < training["loss_before"]
    assert training["learning_rate"] == 0.025
    assert [epoch["number"] for epoch in training["epochs"]] == [1, 2, 3, 4]
    assert said["before"]["nonzero_weights"] == said["after"]["nonzero_weights"]
    assert said["accuracy"]["samples"] == said["pruned_accuracy"]["samples"] == 40
    assert said["output"] == str(files / "pruned.tuned.onnx")
    assert (files / "pruned.onnx").read_bytes() == before
    assert not (files / "pruned.tuned.onnx.partial").exists()
    tuned, pruned = (Model.load(files / f"{n}.onnx") for n in ("pruned.tuned", "pruned"))
    for name in pruned.constants.plain:
        if pruned.constants[name].ndim > 1:
            zeros = pruned.constants[name] == 0
            np.testing.assert_array_equal(tuned.constants[name] == 0, zeros)


def test_a_seed_from_python_counts(files: Path) -> None:
    settings = eapc.Settings(calibration=files / "data.npz", threads=1)
    found = [
        eapc.finetune(
            files / "pruned.onnx",
            files / "original.onnx",
            settings,
            Options(epochs=1, batch=8, seed=seed),
        ).tuned.epochs[0]
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]


def test_people_read_what_came_of_it(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(files, "--labels", "--learning-rate", "0.01", "--augment", "none") == 0
    said = capsys.readouterr().out
    assert "4 of 4 epochs of 35 inputs, learning rate 0.01, images: none" in said
    assert "on 5 inputs held out" in said


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--augment", "spin"], 2, "augment: expected one of"),
        (["--batch-norm", "off"], 2, "batch_norm: expected trained or frozen"),
        (["--minutes", "0"], 2, "minutes: expected more than 0"),
        (["--learning-rate", "-1"], 2, "learning_rate: expected 0 or more"),
        (["--teacher", "other.onnx"], 3, "inputs x (float32, 4 axes) are not those"),
        (["--data", "missing.npz"], 3, "no such file"),
        (["--output", "original.onnx"], 2, "exists"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_written(
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(files)
    from builders import make_model

    save(make_model([op("Relu", "x", "y")], {"x": ["N", 5]}, ["y"]), files / "other.onnx")
    present = sorted(files.iterdir())
    assert typed(files, *options) == code
    *_, line = capsys.readouterr().err.splitlines()
    assert said in line
    assert sorted(files.iterdir()) == present


def test_without_torch_one_line_names_the_extra(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert typed(files) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "eapc: fine-tuning needs torch, which is not installed: pip install 'eapc[finetune]'"
    )


def test_nothing_else_imports_torch() -> None:
    code = (
        "import sys, eapc.cli, eapc.commands.compiler, eapc.commands.finetuning, eapc.passes;"
        "eapc.cli.main(['finetune', '--help']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    "goal", [["--sparsity", "0.5"], ["--target-energy", "0.8", "--structured", "--zeros"]]
)
def test_prune_trains_what_is_left(
    files: Path, goal: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = files / "out.onnx"
    given = ["prune", str(files / "original.onnx"), "--calib", str(files / "data.npz")]
    assert main([*given, *goal, "--finetune", "--json", "-o", str(out), "--threads", "1"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert "fine-tune" in said["pipeline"]
    assert said["training"]["loss_after"] <= said["training"]["loss_before"]
    assert out.exists()
    assert said["energy_ratio"] <= 1


def test_minutes_go_with_finetune(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", str(files / "original.onnx"), "--minutes", "1"]) == 2
    assert "--minutes bound the training: give --finetune as well" in capsys.readouterr().err


def test_a_model_of_fewer_classes_learns_from_the_original(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["prune", str(files / "original.onnx"), "--calib", str(files / "data.npz")]
    cut = ["--classes", "2,0", "--sparsity", "0.6", "-o", str(files / "pruned.onnx"), "--force"]
    assert main([*given, *cut, "--threads", "1"]) in (0, 4)
    capsys.readouterr()
    assert typed(files, "--eval", str(files / "data.npz"), "--json") == 0
    said = json.loads(capsys.readouterr().out)
    count = int((np.arange(40) % 3 != 1).sum())
    assert said["accuracy"]["samples"] == count
    assert said["training"]["samples"] + said["training"]["held_out"] == count


def test_outputs_of_other_shapes(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from builders import make_model, normal, value

    shape = [value("x", ["N", 3, 8, 8])]
    nodes = [op("Flatten", "x", "flat"), op("MatMul", "flat w", "y")]
    save(make_model(nodes, shape, ["y"], {"w": normal((192, 7))}), files / "wide.onnx")
    assert typed(files, "--teacher", str(files / "wide.onnx")) == 3
    said = capsys.readouterr().err
    assert "'y' is of shape" in said
    assert "one was not made of the other" in said
    assert not (files / "pruned.tuned.onnx").exists()


def test_the_teacher_is_never_written_to(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (files / "original.onnx").read_bytes()
    assert typed(files, "-o", str(files / "original.onnx"), "--force") == 2
    assert "is a file of the input model; choose another output" in capsys.readouterr().err
    assert (files / "original.onnx").read_bytes() == before


def test_labels_are_missed_in_what_trains(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays: dict[str, Any] = dict(NET.arrays)
    np.savez(files / "data.npz", **arrays)
    assert typed(files, "--labels") == 3
    said = "training data has no labels: add an integer array y, one per sample"
    assert capsys.readouterr().err.splitlines()[-1] == f"eapc: fine-tune: {said}"


def test_an_operator_without_a_rule_is_named_before_anything_is_pruned(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = Model.load(files / "original.onnx").to_proto()
    window: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    proto.graph.node[0].input[0] = "u"
    proto.graph.node.insert(0, op("MaxUnpool", "p i", "u", **window))
    proto.graph.node.insert(0, op("MaxPool", "x", "p i", **window))
    monkeypatch.setattr("eapc.pipeline.Pipeline.run", lambda *_: pytest.fail("a pass has run"))
    with pytest.raises(PassError, match="no rule for MaxUnpool"):
        eapc.prune(
            Model.from_proto(proto),
            eapc.Settings(calibration=files / "data.npz", threads=1),
            goal=eapc.Sparsity(0.5),
            recipe=eapc.Recipe(finetune=True),
        )
