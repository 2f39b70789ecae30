"""What would end the process as onnxruntime opens it ends another one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from builders import make_model, normal, op, save, value
from onnx import ModelProto, TensorProto, helper

from eapc.cli.app import main
from eapc.errors import ModelError
from eapc.runtime import Session, sessions, trial_opening
from eapc.runtime.trial_opening import TrialOpener, trial_opener

_ENDS_ITSELF = """
import os, signal, sys
with open(sys.argv[1], "a") as log:
    log.write("x")
sys.stdin.buffer.readline()
os.kill(os.getpid(), signal.SIGTERM)
"""

_ANSWERS = """
import json, sys
for line in sys.stdin.buffer:
    sys.stdin.buffer.read(json.loads(line)["size"])
    with open(sys.argv[1], "a") as log:
        log.write("x")
    sys.stdout.buffer.write(b".")
    sys.stdout.buffer.flush()
"""


def product(seed: int = 0, kind: int = TensorProto.FLOAT16) -> ModelProto:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    inputs, outputs = [value("x", ("N", 4), kind)], [value("y", ("N", 4), kind)]
    weights = {"w": normal((4, 4), seed).astype(dtype)}
    return make_model([op("MatMul", "x w", "y")], inputs, outputs, weights)


def fake(monkeypatch: pytest.MonkeyPatch, script: str, log: Path) -> None:
    opener = TrialOpener([sys.executable, "-c", script, str(log)])
    monkeypatch.setattr(sessions, "trial_opener", lambda: opener)


def test_a_signal_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake(monkeypatch, _ENDS_ITSELF, tmp_path / "log")
    for times in (1, 2):  # what ended one process is tried in a new one
        with pytest.raises(ModelError, match=r"ends the process \(SIGTERM\) .* float16; convert"):
            Session(product(), 1)
        assert (tmp_path / "log").read_text() == "x" * times
    Session(product(kind=TensorProto.FLOAT), 1)


def test_a_signal_is_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(monkeypatch, _ENDS_ITSELF, tmp_path / "log")
    path = save(product(), tmp_path / "half.onnx")
    assert main(["prune", str(path), "-o", str(tmp_path / "out.onnx"), "--sparsity", "0.5"]) == 3
    assert "SIGTERM" in capsys.readouterr().err.splitlines()[-1]


def test_new_weights_are_not_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    fake(monkeypatch, _ANSWERS, log)
    for seed in range(3):
        Session(product(seed), 1)
    Session(save(product(4), tmp_path / "half.onnx"), 1)
    assert log.read_text() == "x"
    Session(product(), 1, optimise=False)
    assert log.read_text() == "xx"


def test_what_opens_and_what_is_refused_keeps_the_child() -> None:
    opener = TrialOpener([sys.executable, "-c", trial_opening._CHILD, *sys.path])
    for source in (product().SerializeToString(), b"no model", "/no/such/file.onnx"):
        opener.require_opening(product(len(source)), source, 1)
    child = opener._child
    assert child is not None
    assert child.poll() is None
    opener.close()
    assert child.returncode == 0


def test_without_a_process_models_are_opened_all_the_same() -> None:
    TrialOpener(["/no/such/python"]).require_opening(product(), b"", 1)
    assert trial_opener() is trial_opener()
