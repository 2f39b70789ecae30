"""`eapc prune MODEL` as typed, without data: what is said of the inputs that were made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from builders import ints, make_model, normal, op, scalar, value
from onnx import NodeProto, TensorProto

from eapc.cli import main

pytestmark = pytest.mark.usefixtures("kept_logging")

WEIGHTS = {"w": normal((6, 16), 1, 1.0), "v": normal((16, 3), 2, 1.0)}


def saved(folder: Path, *behind: NodeProto, **more: np.ndarray) -> Path:
    """Two layers and what is to follow, in a file."""
    nodes = [op("MatMul", "x w", "a", "one"), op("Relu", "a", "r"), op("MatMul", "r v", "z", "two")]
    tensors = {**WEIGHTS, **more}
    path = folder / "net.onnx"
    onnx.save(make_model([*nodes, *behind], {"x": ("N", 6)}, ["y"], tensors), path)
    return path


@pytest.mark.parametrize(
    ("behind", "why"),
    [
        ([op("Mul", "z big", "b"), op("Sigmoid", "b", "y")], "are saturated, at one end of"),
        ([op("Mul", "z big", "b"), op("Tanh", "b", "y")], "are saturated, at one end of"),
        ([op("Mul", "z big", "b"), op("Softmax", "b", "y")], "are saturated, at one end of"),
        ([op("Log", "z", "y")], "are not finite on some of"),
        ([op("Mul", "z none", "y")], "are the same for all"),
    ],
    ids=["sigmoid", "tanh", "softmax", "log", "zero"],
)
def test_outputs_that_tell_nothing_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], behind: list[NodeProto], why: str
) -> None:
    path = saved(tmp_path, *behind, big=scalar(1e5), none=scalar(0.0))
    assert main(["prune", str(path)]) == 3
    out, err = capsys.readouterr()
    *_, last = err.splitlines()
    assert out == ""
    assert last.startswith("eapc: the outputs ")
    assert why in last
    assert (
        "51 made-up inputs that are held out: nothing tells what they lose; give real ones" in last
    )
    assert "by --calib" in last
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]


def flexible(folder: Path) -> Path:
    """A sequence of any length with its mask, and a rate that only some values are good for."""
    inputs = [
        value("x", (1, "T", 6)),
        value("sr", (), TensorProto.INT64),
    ]
    nodes = [
        op("Equal", "sr rate", "is"),
        op("Cast", "is", "one", to=TensorProto.FLOAT),
        op("MatMul", "x w", "a", "layer"),
        op("Mul", "a one", "y"),
    ]
    path = folder / "net.onnx"
    onnx.save(make_model(nodes, inputs, ["y"], {**WEIGHTS, "rate": ints(8000)}), path)
    return path


@pytest.mark.parametrize("command", ["prune", "sweep", "compare"])
def test_every_report_says_what_was_made_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = str(flexible(tmp_path))
    arguments = {
        "prune": ["prune", path, "--sparsity", "0.5", "--force"],
        "sweep": ["sweep", path, "--sparsity", "0.5"],
        "compare": ["compare", path, path, "--no-latency"],
    }[command]
    notes = (
        "axis 1 of input 'x' is dynamic and taken to be 64; --input-shape sets it",
        "input 'sr' is set to 8000, which the graph compares it with; --calib sets it",
    )
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    told = document["warnings"] if command == "compare" else document["assumed_sizes"]
    for note in notes:
        assert note in " ".join(shown.split())
        assert note in told
    assert document["synthesised_inputs"].startswith("unit normal")
    assert document["synthesised_inputs"] in " ".join(shown.split())
