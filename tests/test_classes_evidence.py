"""What says that outputs are scores of classes, and what is refused where nothing does."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from builders import Array, make_model, normal, op, save
from onnx import ModelProto

from eapc.cli import main

SAMPLES = 64


def network(scores: int, ending: str = "", names: str = "") -> ModelProto:
    """6 numbers to so many, by way of 4."""
    tensors = {"a": normal((6, 4)), "b": normal((4, scores))}
    nodes = [
        op("Gemm", "x a", "h"),
        op("Relu", "h", "r"),
        op("Gemm", "r b", "s" if ending else "y"),
    ]
    nodes += [op(ending, "s", "y")] if ending else []
    made = make_model(nodes, {"x": ("N", 6)}, ["y"], tensors)
    if names:
        made.metadata_props.add(key="names", value=names)
    return made


@pytest.fixture
def folder(tmp_path: Path, kept_logging: None) -> Path:  # noqa: ARG001
    x = normal((SAMPLES, 6), 3)
    np.savez(tmp_path / "plain.npz", x=x)
    labels: Array = np.arange(SAMPLES) % 6
    np.savez(tmp_path / "labelled.npz", x=x, y=labels)
    return tmp_path


def pruned(folder: Path, made: ModelProto, *more: str) -> int:
    model = save(made, folder / "net.onnx")
    given = ["--calib", str(folder / "plain.npz"), "--sparsity", "0.5", "--threads", "1", *more]
    return main(["prune", str(model), "--classes", "1,2", "-o", str(folder / "out.onnx"), *given])


def test_as_many_outputs_as_an_input_has_numbers_are_no_classes_by_themselves(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pruned(folder, network(6)) == 3
    assert capsys.readouterr().err.splitlines()[-1] == (
        "eapc: net.onnx: no classifier head to cut: no Softmax, names or labels say that its 6 "
        "outputs are scores of classes, and an input has as many numbers, as of an autoencoder; "
        "labels y of --calib or --eval say so"
    )
    assert not (folder / "out.onnx").exists()


@pytest.mark.parametrize(
    ("made", "more"),
    [
        (network(6, "Softmax"), ()),
        (network(6, names="['a', 'b', 'c', 'd', 'e', 'f']"), ()),
        (network(6), ("--calib", "labelled.npz")),
        (network(6), ("--eval", "labelled.npz")),
    ],
)
def test_whatever_says_that_they_are_does(
    folder: Path, caplog: pytest.LogCaptureFixture, made: ModelProto, more: tuple[str, ...]
) -> None:
    with caplog.at_level(logging.WARNING):
        assert pruned(folder, made, *(str(folder / m) if ".npz" in m else m for m in more)) == 0
    assert "scores of classes" not in caplog.text


def test_where_nothing_says_so_a_warning_does(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names of another number of classes say nothing."""
    assert pruned(folder, network(5, names="['a', 'b']")) == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "scores of" in line]
    assert said == (
        "eapc: warning: --classes: net.onnx: no Softmax, names or labels say that its 5 outputs "
        "are scores of classes; labels y of --calib or --eval say so"
    )
