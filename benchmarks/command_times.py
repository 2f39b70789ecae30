#!/usr/bin/env python3
"""CPU seconds of whole commands: `--help`, `--version`, and `analyze` on recipes.

    python benchmarks/command_times.py [recipe ...]

Median and smallest of five runs, each a process of its own.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from shared_data import ROOT

RECIPES = ("alexnet", "resnet50", "transformer12")
REPEATS = 5


def cpu_seconds(*arguments: str) -> float:
    """User and system seconds of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "eapc.cli", *arguments]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(label: str, *arguments: str) -> None:
    """Print one line of the table."""
    times = [cpu_seconds(*arguments) for _ in range(REPEATS)]
    print(f"{label:28}{statistics.median(times):8.2f}{min(times):8.2f}", flush=True)


def main(recipes: list[str]) -> None:
    """Time the commands."""
    print(f"{'command':28}{'median':>8}{'least':>8}  CPU seconds")
    report("eapc --help", "--help")
    report("eapc --version", "--version")
    with tempfile.TemporaryDirectory() as folder:
        for name in recipes:
            model = str(Path(folder) / f"{name}.onnx")
            maker = [sys.executable, str(ROOT / "models/recipes.py"), name, model]
            subprocess.run(maker, check=True, stdout=subprocess.DEVNULL)
            report(f"eapc analyze {name}", "analyze", model)


if __name__ == "__main__":
    main(sys.argv[1:] or list(RECIPES))
