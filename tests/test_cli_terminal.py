"""What terminals of 80 and 200 columns show, with and without colours, and what is piped.

The screens are recorded in tests/captures; `make golden`
records them anew.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from terminal_captures import CONTROL, PROJECT, in_terminal, lines_of, surroundings

CAPTURES = Path(__file__).parent / "captures"
DIGITS = "models/digits.onnx"


def deep_model(folder: Path) -> Path:
    """Three blocks of two products each and a Relu, with names as exporters make them."""
    nodes, weights, last = [], [], "x"
    for layer in range(3):
        for name in ("query", "value"):
            key = f"/model/encoder/layers.{layer}/attention/self/{name}/MatMul"
            weight = np.full((64, 64), 1.0 + layer, np.float32)
            weights.append(numpy_helper.from_array(weight, f"w{layer}{name}"))
            nodes.append(helper.make_node("MatMul", [last, f"w{layer}{name}"], [key], name=key))
            last = key
    key = "/model/encoder/Reshape"
    weights.append(numpy_helper.from_array(np.array([1, 64]), "shape"))
    nodes.append(helper.make_node("Reshape", [last, "shape"], ["y"], name=key))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy"]
    graph = helper.make_graph(nodes, "deep", ends[:1], ends[1:], weights)
    opset = [helper.make_opsetid("", 17)]
    path = folder / "deep.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


def compare(found: list[str], name: str, regenerate: bool) -> None:
    """Hold lines against those recorded."""
    path = CAPTURES / f"{name}.txt"
    if regenerate:
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in found), encoding="utf-8")
    assert found == path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("columns", [80, 200])
def test_an_analysis_on_a_terminal(columns: int, regenerate: bool) -> None:
    screen = in_terminal(["analyze", DIGITS], columns)
    assert "\x1b[1m" in screen
    found = lines_of(screen)
    assert max(map(len, found)) <= columns
    compare(found, f"digits.{columns}", regenerate)
    plain = in_terminal(["analyze", DIGITS], columns, {"NO_COLOR": "1"})
    assert not CONTROL.search(plain)
    assert lines_of(plain) == found


def test_deep_names_stay_apart_at_80_columns(tmp_path: Path, regenerate: bool) -> None:
    model = deep_model(tmp_path).name
    found = lines_of(in_terminal(["analyze", model], 80, folder=tmp_path))
    compare(found, "deep.80", regenerate)
    names = [line.split()[0] for line in found if line.endswith("100.0%  100.0%")]
    assert len(set(names)) == len(names) == 6
    whole = lines_of(in_terminal(["analyze", model], 200, folder=tmp_path))
    assert any(
        line.startswith("/model/encoder/layers.2/attention/self/value/Mat") for line in whole
    )


def test_blocks_at_80_columns(tmp_path: Path, regenerate: bool) -> None:
    model = deep_model(tmp_path).name
    found = lines_of(
        in_terminal(["analyze", model, "--by", "block", "--top", "2"], 80, folder=tmp_path)
    )
    compare(found, "deep.blocks.80", regenerate)


def test_a_pipe_gets_everything_without_control_codes(regenerate: bool) -> None:
    command = [sys.executable, "-m", "eapc.cli", "analyze", DIGITS]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert not CONTROL.search(done.stdout)
    assert "\x1b" not in done.stdout + done.stderr
    found = done.stdout.splitlines()
    compare(found, "digits.piped", regenerate)
    assert "not shown" not in done.stdout


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
@pytest.mark.parametrize("columns", [80, 200])
def test_tmux_shows_what_was_recorded(columns: int, tmp_path: Path) -> None:
    shown = CAPTURES / f"digits.{columns}.txt"
    program = shlex.join([sys.executable, "-m", "eapc.cli", "analyze", DIGITS])
    tmux = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]
    started = [*tmux, "new-session", "-d", "-x", str(columns), "-y", "60", "-c", str(PROJECT)]
    subprocess.run([*started, f"{program}; echo done; sleep 300"], check=True, env=surroundings())
    try:
        screen = [""]
        deadline = time.monotonic() + 240
        while "done" not in screen and time.monotonic() < deadline:
            time.sleep(0.2)
            seen = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True)
            screen = [line.rstrip() for line in seen.stdout.splitlines()]
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    assert screen[: screen.index("done")] == shown.read_text(encoding="utf-8").splitlines()
