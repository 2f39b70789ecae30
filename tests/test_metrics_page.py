"""The examples of docs/metrics.md, run as they stand there on small networks."""

from __future__ import annotations

import csv
import io
import json
import runpy
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Array, ints, make_model, normal, op, save, value
from onnx import TensorProto
from pruning_builders import images, weights_for

from eapc.cli import main
from eapc.data import dataset
from eapc.model import Model
from eapc.runtime import collect_outputs

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
Function = Callable[[dict[str, Array], dict[str, Array]], Any]


def blocks() -> list[str]:
    """The indented blocks of the page."""
    found: list[list[str]] = [[]]
    for line in PAGE.read_text().splitlines():
        if line.startswith("    ") or (not line and found[-1]):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [textwrap.dedent("\n".join(lines)).strip() + "\n" for lines in found if lines]


def files() -> dict[str, str]:
    """The Python files of the page by name."""
    named = (block for block in blocks() if block.startswith("# "))
    return {block.splitlines()[0].removeprefix("# "): block for block in named}


def commands(model: str) -> list[list[str]]:
    """The commands of the page that name a model."""
    lines = (line for block in blocks() for line in block.splitlines())
    return [shlex.split(line)[1:] for line in lines if line.startswith("eapc") and model in line]


pytestmark = pytest.mark.usefixtures("kept_logging")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the page's files."""
    monkeypatch.chdir(tmp_path)
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    return tmp_path


def function(folder: Path, name: str) -> Function:
    file, name = name.split(":")
    found: Function = runpy.run_path(str(folder / file))[name]
    return found


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main([*arguments, "--threads", "1"])
    said = capsys.readouterr()
    assert code in (0, 4), said.err
    return code, said.out


def halves(count: int) -> list[Array]:
    return [np.arange(start, count, 2) for start in (0, 1)]


# --- by hand -------------------------------------------------------------------------------------


def test_average_precision_by_hand(folder: Path) -> None:
    """Two images, one class: scores 0.9 hit, 0.8 miss, 0.7 a second hit of the same, 0.6 hit.

    Of three true boxes two are found, at precisions 1 and 2 / 4: (1 + 0.5) / 3 = 0.5. The second
    class is found at once.
    """
    near, far = [0.0, 0, 2, 2], [10.0, 10, 12, 12]
    boxes = np.array([[near, far, [0, 0, 2, 1.5]], [far, near, near]])
    scores = np.zeros((2, 3, 2))
    scores[:, :, 0] = [[0.9, 0.8, 0.7], [0.6, 0.1, 0.05]]
    scores[1, 0, 1] = 1
    true_boxes = np.array([[near, [4.0, 4, 5, 5], near], [far, far, near]])
    true_classes = np.array([[0, 0, -1], [0, 1, -1]])
    arrays = {"true_boxes": true_boxes, "true_classes": true_classes}
    found = function(folder, "detection.py:mean_average_precision")(
        {"boxes": boxes, "scores": scores}, arrays
    )
    assert found == pytest.approx((0.5 + 1) / 2)


def test_token_f1_by_hand(folder: Path) -> None:
    """Four real tokens: hit, wrong tag, missed, right outside: 2 * 1 / (2 + 3)."""
    guessed = np.array([[1, 2, 0], [0, 1, 1]])
    tags, lengths = np.array([[1, 1, 2], [0, 1, 1]]), np.array([3, 1])
    logits = np.eye(3)[guessed]
    f1 = function(folder, "tagging.py:token_f1")
    assert f1({"logits": logits}, {"tags": tags, "lengths": lengths}) == pytest.approx(0.4)


def test_top5_by_hand(folder: Path) -> None:
    scores = np.tile(np.arange(7.0), (2, 1))
    top5 = function(folder, "top5.py:top5")
    assert top5({"scores": scores}, {"y": np.array([2, 1])}).tolist() == [True, False]


# --- from file to report -------------------------------------------------------------------------


def detector() -> Model:
    """Three convolutions to a box about each of 16 places, with scores of two classes."""
    nodes = [
        op("Conv", "image w0 b0", "c0", "one", pads=[1, 1, 1, 1], strides=[2, 2]),
        op("Relu", "c0", "r0"),
        op("Conv", "r0 w1 b1", "c1", "two", pads=[1, 1, 1, 1]),
        op("Relu", "c1", "r1"),
        op("Conv", "r1 w2 b2", "c2", "three"),
        op("Reshape", "c2 rows_of", "flat"),
        op("Transpose", "flat", "rows", perm=[0, 2, 1]),
        op("Split", "rows", "offset side raw", axis=2, num_outputs=3),
        op("Add", "offset grid", "centre"),
        op("Softplus", "side", "more"),
        op("Add", "more least", "size"),
        op("Sub", "centre size", "low"),
        op("Add", "centre size", "high"),
        op("Concat", "low high", "boxes", axis=2),
        op("Sigmoid", "raw", "scores"),
    ]
    shapes = {"w0": (12, 3, 3, 3), "b0": (12,), "w1": (12, 12, 3, 3), "b1": (12,)}
    tensors = weights_for(nodes, {**shapes, "w2": (6, 12, 1, 1), "b2": (6,)})
    tensors["rows_of"] = ints(0, 6, -1)
    tensors["least"] = np.array(1, np.float32)
    tensors["grid"] = np.float32(4) * np.indices((4, 4), np.float32).reshape(2, 16).T
    inputs = {"image": ("N", 3, 8, 8)}
    return Model.from_proto(make_model(nodes, inputs, ["boxes", "scores"], tensors, opset=18))


def detections(model: Model, count: int) -> dict[str, Any]:
    """Images with what the network finds best as truth, one box of it moved away."""
    arrays = {"image": images(count + 120)[120:]}
    found = collect_outputs(model, dataset(arrays, model.inputs, "test"), 1)
    best = np.argsort(-found["scores"].max(axis=2), axis=1)[:, :4]
    true_boxes = np.take_along_axis(found["boxes"], best[:, :, None], axis=1)
    scores = np.take_along_axis(found["scores"], best[:, :, None], axis=1)
    true_classes = scores.argmax(axis=2)
    true_boxes[::3, 3] += 100
    true_classes[:, 2] = -1
    return {**arrays, "true_boxes": true_boxes, "true_classes": true_classes}


def test_a_detector_from_file_to_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = detector()
    save(model.view.proto, folder / "detector.onnx")
    val = detections(model, 81)
    np.savez(folder / "train.npz", image=images(120))
    np.savez(folder / "val.npz", **val)
    (command,) = commands("detector.onnx")
    code, out = run(capsys, *command, "--json")
    document = json.loads(out)
    metric = function(folder, "detection.py:mean_average_precision")
    pruned = Model.load(folder / "detector.pruned.onnx")
    for half, told in zip(halves(81), (document["decided"], document["accuracy"]), strict=True):
        assert (told["metric"], told["samples"]) == ("mean_average_precision", len(half))
        for network, key in ((model, "before"), (pruned, "after")):
            assert told[key] == pytest.approx(expected(metric, network, val, half))
        low, high = told["loss_interval_95"]
        assert low <= told["before"] - told["after"] <= high
    decided, other = (
        document[key]["before"] - document[key]["after"] for key in ("decided", "accuracy")
    )
    assert 0.2 < document["decided"]["before"] < 1
    assert decided <= 0.02 + 1e-9
    assert document["confirmed"] is (other <= 0.02 + 1e-9)
    assert code == (0 if document["confirmed"] else 4)
    assert document["energy_ratio"] < 0.98


def expected(metric: Function, network: Model, val: dict[str, Array], rows: Array) -> Any:
    """What the metric gives for a network on some of the inputs."""
    arrays = {name: array[rows] for name, array in val.items()}
    data = dataset(arrays, network.inputs, "test")
    return metric(collect_outputs(network, data, 1), arrays)


def tagger() -> Model:
    nodes = [
        op("Gather", "table tokens", "e", "embed"),
        op("MatMul", "e w0", "m0", "one"),
        op("Add", "m0 b0", "a0"),
        op("Relu", "a0", "r0"),
        op("MatMul", "r0 w1", "m1", "two"),
        op("Add", "m1 b1", "a1"),
        op("Relu", "a1", "r1"),
        op("MatMul", "r1 w2", "logits", "three"),
    ]
    shapes = {"w0": (12, 24), "b0": (24,), "w1": (24, 24), "b1": (24,), "w2": (24, 4)}
    tensors = {"table": normal((40, 12), 7, 1.0), **weights_for(nodes, shapes)}
    inputs = [value("tokens", ("N", 10), TensorProto.INT64)]
    return Model.from_proto(make_model(nodes, inputs, ["logits"], tensors))


def sentences(model: Model, count: int) -> dict[str, Any]:
    """Sentences with the network's own tags, every seventh wrong, and lengths of 3 to 10."""
    rng = np.random.default_rng(5)
    tokens = rng.integers(0, 40, (count, 10))
    outputs = collect_outputs(model, dataset({"tokens": tokens}, model.inputs, "test"), 1)
    tags = outputs["logits"].argmax(axis=2)
    tags.ravel()[::7] = (tags.ravel()[::7] + 1) % 4
    lengths = rng.integers(3, 11, count)
    tags[np.arange(10) >= lengths[:, None]] = 0
    return {"tokens": tokens, "tags": tags, "lengths": lengths}


def test_a_tagger_from_file_to_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tagger()
    save(model.view.proto, folder / "tagger.onnx")
    val = sentences(model, 120)
    np.savez(folder / "train.npz", tokens=val["tokens"][:60])
    np.savez(folder / "val.npz", **val)
    sweep, prune, compare = commands("tagger.onnx")
    told = partial(expected, function(folder, "tagging.py:token_f1"), val=val)
    whole = np.arange(120)

    _, out = run(capsys, *sweep, "--csv", "-")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["accuracy_metric"] for row in rows] == ["token_f1"] * 2
    for row in rows:
        assert float(row["accuracy_before"]) == pytest.approx(told(network=model, rows=whole))

    _, out = run(capsys, *prune)
    assert "token_f1 on 60 inputs" in out
    pruned = Model.load(folder / "tagger.pruned.onnx")
    before, after = (told(network=each, rows=whole) for each in (model, pruned))
    decided = halves(120)[0]
    lost = told(network=model, rows=decided) - told(network=pruned, rows=decided)
    assert 0.75 < before < 1
    assert lost < 0.05

    _, out = run(capsys, *compare, "--no-latency", "--json")
    accuracy = json.loads(out)["accuracy"]
    assert accuracy["metric"] == "token_f1"
    assert (accuracy["before"], accuracy["after"]) == pytest.approx((before, after))

    by_python(folder)


def by_python(folder: Path) -> None:
    """The page's script prints the function's name and two shares."""
    done = subprocess.run(
        [sys.executable, "by_hand.py"], cwd=folder, capture_output=True, text=True, check=True
    )
    name, before, after = done.stdout.split()
    assert name == "token_f1"
    assert 0.75 < float(before) < 1
    assert 0 < float(after) <= 1


def test_every_block_is_run() -> None:
    """What is neither a file nor a command of an example is the summary at the top."""
    known = {*files().values()}
    run_here = [line for model in ("detector", "tagger") for line in commands(model)]
    others = [block for block in blocks() if block not in known]
    lines = [line for block in others for line in block.splitlines()]
    assert len(lines) == len(run_here) + 1
    assert set(files()) == {"top5.py", "detection.py", "tagging.py", "by_hand.py"}
