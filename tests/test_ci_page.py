"""docs/ci.md: its commands run as they stand, and end as it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs" / "ci.md").read_text(encoding="utf-8")
DATA = ("digits.onnx", "digits_calibration.npz", "digits_eval.npz")


def blocks(kind: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def steps() -> list[str]:
    """What the workflow runs, but for installing eapc."""
    (workflow,) = map(yaml.safe_load, blocks("yaml"))
    (job,) = workflow["jobs"].values()
    return [step["run"] for step in job["steps"] if step.get("run", "pip").split()[0] != "pip"]


class Server:
    """A folder with the files that the page names, and a shell whose `eapc` is this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "models").mkdir()
        for name in DATA:
            shutil.copy(PROJECT / "models" / name, folder / "models")
        command = folder / "bin" / "eapc"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m eapc.cli "$@"\n')
        command.chmod(0o755)
        path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
        self._env = {**os.environ, "PATH": path, "PYTHONPATH": str(PROJECT)}

    def __call__(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", script],
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server that has run the first block."""
    found = Server(tmp_path_factory.mktemp("server"))
    done = found(blocks("sh")[0])
    assert done.returncode == 0, done.stderr
    return found


def test_the_page_has_the_blocks_that_are_run() -> None:
    assert len(blocks("sh")) == 2
    assert len(steps()) == 2


def test_the_script_tells_a_dear_network_from_a_broken_build(server: Server) -> None:
    done = server(blocks("sh")[1])
    (said,) = re.findall(r"^    (eapc: new\.onnx: .*)$", PAGE, re.MULTILINE)
    assert (done.returncode, done.stdout) == (0, f"too dear: {said}\n")
    broken = server(blocks("sh")[1].replace("analyze new.onnx", "analyze none.onnx"))
    assert broken.returncode == 3
    assert "none.onnx" in broken.stdout


def test_the_figures_are_those_of_the_page(server: Server) -> None:
    done = server("eapc analyze new.onnx --max-energy 70% --baseline models/digits.onnx")
    before, after, share = re.findall(r"took ([\d.]+) µJ and takes ([\d.]+), ([\d.]+) %", PAGE)[0]
    assert re.search(rf"baseline +digits\.onnx: .*, {before} µJ", done.stdout)
    assert re.search(rf"energy +.*, {after} µJ;", done.stdout)
    assert f"--max-energy 70%: {share}%, within" in done.stdout


@pytest.mark.parametrize("step", steps())
def test_the_workflow_runs(server: Server, step: str) -> None:
    done = server(step)
    assert done.returncode == 0, done.stderr
