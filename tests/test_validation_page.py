"""The committed page of published figures is what its command writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
DATA = Path(os.environ.get("EAPC_DATA", PROJECT.parent / "shared"))


def run(*arguments: str, data: Path = DATA) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "benchmarks/validate_energy.py"), *arguments]
    environment = {**os.environ, "EAPC_DATA": str(data)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not (DATA / "references").is_dir(), reason="set EAPC_DATA")
def test_page_is_current(tmp_path: Path) -> None:
    done = run("--write", str(tmp_path / "page.md"))
    assert done.returncode == 0, done.stdout + done.stderr
    committed = (PROJECT / "docs/energy-validation.md").read_text(encoding="utf-8")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == committed, (
        "run: python benchmarks/validate_energy.py --write docs/energy-validation.md"
    )


def test_command_says_that_figures_are_absent(tmp_path: Path) -> None:
    done = run(data=tmp_path)
    assert done.returncode == 0
    assert "EAPC_DATA" in done.stdout
