#!/usr/bin/env python3
"""What few, or wrongly scaled, calibration inputs cost: accuracy and what was said of it.

    python benchmarks/few_inputs.py [--networks digits,resnet20] [--counts 1,2,8,64,256,1024]
        [--shares zeros=.5,zeros=.8,channels=.3] [--seeds 1] [--json FILE]

Each row prunes a network to a share of zeros, or takes a share of every group's channels out, on
that many calibration inputs, as they should be and without their scaling (`unscaled`). Accuracy
is top-1 on labelled inputs; beside it that of magnitude (or l1 channels) at the same share with
no refit, and the warnings. ResNet-20 is that of EAPC_DATA. With `--seeds` the inputs are other
ones each time: the figures are those of the worst.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from shared_data import ROOT, shared_folder

import eapc
from eapc.commands.compiler import run
from eapc.data import Dataset, load_data
from eapc.evaluation import AccuracyJudge
from eapc.model import Model
from eapc.pipeline import Recipe

THREADS = 1


@dataclass(frozen=True)
class Network:
    """A model with inputs to calibrate on and a judge of its accuracy."""

    name: str
    model: Model
    calibration: Dataset
    judge: AccuracyJudge

    @classmethod
    def load(cls, name: str) -> Network:
        """One of those that are known by name."""
        if name == "digits":
            path, data = ROOT / "models/digits.onnx", ROOT / "models/digits"
        else:
            shared = shared_folder()
            path, data = shared / f"models/cifar10_{name}_bn.onnx", shared / "data/cifar10"
        calibration, evaluation = (f"{data}_{end}.npz" for end in ("calibration", "eval"))
        model = Model.load(path)
        judged = load_data(evaluation, model.inputs)
        inputs = load_data(calibration, model.inputs)
        return cls(name, model, inputs, AccuracyJudge.of(model, judged, THREADS))

    def inputs(self, count: int, seed: int, is_scaled: bool) -> Dataset:
        """That many of the calibration inputs."""
        chosen = np.random.default_rng(seed).permutation(len(self.calibration))[:count]
        taken = self.calibration.take(np.sort(chosen))
        return taken if is_scaled else replace(taken, affine=None)


@dataclass(frozen=True)
class Row:
    """Accuracies in [0, 1], the worst of the seeds, and what was said on the first.

    `accuracy` is None where the inputs were refused.
    """

    network: str
    share: str
    inputs: int
    scaled: bool
    original: float
    without_refit: float
    accuracy: float | None
    cpu_seconds: float
    said: tuple[str, ...]

    @property
    def below(self) -> float:
        """Points below what is pruned without a refit; none where nothing was."""
        return 0.0 if self.accuracy is None else 100 * (self.without_refit - self.accuracy)

    def __str__(self) -> str:
        scaling = "" if self.scaled else " unscaled"
        accuracy = "refused" if self.accuracy is None else f"{100 * self.accuracy:7.1f}"
        others = f"no refit {100 * self.without_refit:5.1f}, dense {100 * self.original:.1f}"
        figures = f"{accuracy} ({others})"
        said = "; ".join(self.said) or "-"
        return f"{self.network} {self.share} {self.inputs:>5}{scaling}: {figures}  {said}"


class Warnings(logging.Handler):
    """Takes up what users are warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


def rows(
    network: Network, shares: Sequence[str], counts: Sequence[int], seeds: int
) -> Iterator[Row]:
    """A row per share, number of inputs and scaling; the plain result is worked out once."""
    for share in shares:
        plain = network.judge.accuracy(plainly_pruned(network, share))
        for is_scaled in (True, False):
            if not is_scaled and network.calibration.affine is None:
                continue
            for count in counts:
                yield one_row(network, share, count, is_scaled, seeds, plain)


def one_row(
    network: Network, share: str, count: int, is_scaled: bool, seeds: int, plain: Any
) -> Row:
    """The worst of several draws of the inputs."""
    found: list[tuple[float | None, tuple[str, ...]]] = []
    begun = time.process_time()
    for seed in range(seeds):
        said = Warnings()
        logging.getLogger("eapc").addHandler(said)
        try:
            model = pruned(network, share, network.inputs(count, seed, is_scaled))
            found.append((network.judge.accuracy(model).after, tuple(said.lines)))
        except eapc.DataError as error:
            found.append((None, (str(error),)))
        logging.getLogger("eapc").removeHandler(said)
    return Row(
        *(network.name, share, count, is_scaled, plain.before, plain.after),
        min((accuracy for accuracy, _ in found if accuracy is not None), default=None),
        round((time.process_time() - begun) / seeds, 2),
        found[0][1],
    )


def pruned(network: Network, share: str, inputs: Dataset) -> Model:
    """The network with a share of zeros or without a share of the channels, refitted."""
    kind, amount = share.split("=")
    settings = eapc.Settings(calibration=inputs, threads=THREADS)
    recipe = Recipe(structured=kind == "channels")
    goal = eapc.Sparsity(float(amount))
    return eapc.prune(network.model, settings, goal=goal, recipe=recipe).model


def plainly_pruned(network: Network, share: str) -> Model:
    """The same share by magnitude or l1 norm, without a refit."""
    kind, amount = share.split("=")
    settings = eapc.Settings(calibration=network.calibration.first(64), threads=THREADS)
    if kind == "zeros":
        recipe = Recipe(method="magnitude")
        goal = eapc.Sparsity(float(amount))
        return eapc.prune(network.model, settings, goal=goal, recipe=recipe).model
    steps = f"prune-channels{{fraction={amount},criterion=l1}}"
    return run(network.model, steps, settings).compilation.model


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy on few or wrongly scaled inputs.")
    parser.add_argument("--networks", default="digits,resnet20")
    parser.add_argument("--counts", default="1,2,8,64,256,1024")
    parser.add_argument("--shares", default="zeros=.5,zeros=.8,channels=.3")
    parser.add_argument("--seeds", type=int, default=1, help="draws of the inputs")
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    known = parser.parse_args()
    counts = [int(count) for count in known.counts.split(",")]
    found = []
    for name in known.networks.split(","):
        for row in rows(Network.load(name), known.shares.split(","), counts, known.seeds):
            print(row, flush=True)
            found.append(row)
    worst = max(found, key=lambda row: row.below)
    print(f"furthest below no refit: {worst.below:.1f} points, {worst}")
    if known.json:
        known.json.write_text(json.dumps([asdict(row) for row in found], indent=1))


if __name__ == "__main__":
    main()
