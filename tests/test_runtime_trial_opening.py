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

_SAYS_NOTHING = """
import sys, time
with open(sys.argv[1], "a") as log:
    log.write("x")
time.sleep(600)
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


def fake(
    monkeypatch: pytest.MonkeyPatch, script: str, log: Path, seconds: float = 60
) -> TrialOpener:
    opener = TrialOpener([sys.executable, "-c", script, str(log)], seconds)
    monkeypatch.setattr(sessions, "trial_opener", lambda: opener)
    return opener


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


def test_no_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opener = fake(monkeypatch, _SAYS_NOTHING, tmp_path / "log", 2)
    path, out = save(product(), tmp_path / "half.onnx"), tmp_path / "out.onnx"
    assert main(["prune", str(path), "-o", str(out), "--sparsity", "0.5"]) == 3
    said = capsys.readouterr().err.splitlines()[-1]
    assert "onnxruntime has not opened the model in float16 within 2 s; convert" in said
    assert opener._child is None
    assert (tmp_path / "log").read_text() == "x"  # one wait, however often the model is opened


def test_a_model_that_is_never_read_is_not_waited_for(tmp_path: Path) -> None:
    opener = TrialOpener([sys.executable, "-c", _SAYS_NOTHING, str(tmp_path / "log")], 0.5)
    with pytest.raises(ModelError, match=r"within 0\.5 s"):
        opener.require_opening(product(), bytes(1 << 20), 1)  # more than a pipe holds


def test_an_interrupted_trial_leaves_no_child(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opener = fake(monkeypatch, _ANSWERS, tmp_path / "log")
    monkeypatch.setattr(trial_opening, "_answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Session(product(), 1)
    assert opener._child is None


def interrupted(*_: object) -> bytes:
    raise KeyboardInterrupt


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
