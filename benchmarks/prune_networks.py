#!/usr/bin/env python3
"""Energy, accuracy and time of `eapc prune` on real networks, one row a run.

    python benchmarks/prune_networks.py                 # every row
    python benchmarks/prune_networks.py resnet squeeze  # rows whose name has one of the words

Each run is the command as a user types it, in a process of its own; CPU seconds are that
process's, imports and evaluation included.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_data import shared_folder


@dataclass(frozen=True)
class Row:
    """A model, its data (names without folder and ending) and the options of the command."""

    name: str
    model: str
    calibration: str = ""
    evaluation: str = ""
    options: tuple[str, ...] = ()


CIFAR = ("cifar10_calibration", "cifar10_eval")
IMAGENET = ("imagenet_calibration", "imagenet_eval")
FIRST = ("--samples", "1024")
FOLDED, UNFOLDED = "cifar10_resnet20_folded", "cifar10_resnet20_bn"
RESNET32 = "cifar10_resnet32_bn"

UNIFORM_90 = {"resnet20": "0.532", "resnet32": "0.514"}
"""What 90 % zeros in every layer come to: the budget that is shared out beside it."""


def goals(network: str) -> dict[str, tuple[str, ...]]:
    """Uniform sparsities, and what the second of them takes, shared out by error curves."""
    energy = UNIFORM_90[network]
    return {
        "uniform 80 %": ("--sparsity", "0.8"),
        "uniform 90 %": ("--sparsity", "0.9"),
        f"energy {energy}": ("--target-energy", energy),
    }


ROWS = (
    *(
        Row(f"{network} {form}, {goal}", model, *CIFAR, (*FIRST, *options))
        for network, form, model in (
            ("resnet20", "folded", FOLDED),
            ("resnet20", "bn", UNFOLDED),
            ("resnet32", "bn", RESNET32),
        )
        for goal, options in goals(network).items()
    ),
    Row("resnet20 folded, no goal", FOLDED, *CIFAR, FIRST),
    Row("resnet20 folded, as typed", FOLDED, "", CIFAR[1]),
    Row("resnet20 bn, as typed", UNFOLDED, "", CIFAR[1]),
    Row("squeezenet, energy 0.8", "imagenet_squeezenet1_1", *IMAGENET, ("--target-energy", "0.8")),
    Row("squeezenet, energy 0.4", "imagenet_squeezenet1_1", *IMAGENET, ("--target-energy", "0.4")),
    Row("squeezenet, as typed", "imagenet_squeezenet1_1", "", IMAGENET[1]),
    Row("mnist-8, no goal", "mnist-8", "mnist_calibration", "mnist_eval"),
    Row("mnist-8, as typed", "mnist-8", "", "mnist_eval"),
)


def run(row: Row, shared: Path, output: Path) -> tuple[dict[str, Any] | None, int, str, float]:
    """(JSON document, exit code, last line of standard error, CPU seconds) of one command."""
    command = [sys.executable, "-m", "eapc.cli", "prune", str(shared / f"models/{row.model}.onnx")]
    for option, name in (("--calib", row.calibration), ("--eval", row.evaluation)):
        command += [option, str(shared / f"data/{name}.npz")] if name else []
    command += [*row.options, "-o", str(output), "--force", "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return (json.loads(done.stdout) if done.stdout else None), done.returncode, last, cpu


def describe(row: Row, shared: Path, output: Path) -> str:
    """One line of the table."""
    document, code, last, cpu = run(row, shared, output)
    if document is None:
        return f"{row.name:32}{code:5}  {last}"
    accuracy = document["accuracy"]
    points = f"{100 * accuracy['before']:7.2f} {100 * accuracy['after']:7.2f}" if accuracy else ""
    after = document["after"]
    zeros = 1 - after["nonzero_weights"] / after["weights"]
    line = f"{row.name:32}{code:5}{document['energy_ratio']:9.4f}{100 * zeros:8.1f} {points:16}"
    return f"{line}{cpu:8.1f}" + (f"  {last}" if code else "")


def print_table(rows: Sequence[Row], words: Sequence[str]) -> None:
    """Run and print the rows named by any of the words, all if there are none."""
    shared = shared_folder()
    print(f"{'run':32}{'exit':>5}{'energy':>9}{'zeros %':>8}  {'top-1 %: before after':16}   CPU s")
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            if not words or any(word in row.name for word in words):
                print(describe(row, shared, Path(folder) / "pruned.onnx"), flush=True)


if __name__ == "__main__":
    print_table(ROWS, sys.argv[1:])
