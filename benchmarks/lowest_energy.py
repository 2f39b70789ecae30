#!/usr/bin/env python3
"""The lowest energy within a point of the dense accuracy, beside what weights cannot save.

    python benchmarks/lowest_energy.py                      # three networks, batch 1 and 16
    python benchmarks/lowest_energy.py resnet20 --drop 0.03

Each row is `eapc prune --max-drop`: half of the evaluation images decide, the accuracies are
those of the other half. `floor` is the energy with every weight zero, feature maps as they
are; all energies are fractions of the dense network's on `--hw` at that batch.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from tasks import TASKS, Task

from eapc.commands.compiler import analyze, prune
from eapc.commands.preparation import Settings
from eapc.goals import MaxDrop
from eapc.layers import find_layers
from eapc.model import Model


def floor(model: Model, settings: Settings) -> float:
    """Energy without any weights of prunable layers over the energy with all of them."""
    zeros = {
        tied.weight: tied.stored(model, np.zeros_like(tied.matrix(model)))
        for tied in find_layers(model).layers
    }
    energies = [
        analyze(one, settings).energy.energy_mac_units for one in (model.with_weights(zeros), model)
    ]
    return energies[0] / energies[1]


def row(name: str, task: Task, hardware: str, batch: int, drop: float) -> str:
    model = task.load()
    settings, images = task.settings(hardware=hardware, batch=batch), task.images(model)
    start = time.process_time()
    done = prune(model, settings, goal=MaxDrop(drop), evaluation=images)
    spent = time.process_time() - start
    lowest = floor(model, Settings(hardware=hardware, batch=batch))
    assert done.accuracy is not None  # there are labels
    before, after = 100 * done.accuracy.before, 100 * done.accuracy.after
    return (
        f"{name:12}{batch:>6}{done.energy_ratio:>9.3f}{lowest:>8.3f}"
        f"{before:>9.2f}{after:>8.2f}{spent:>7.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="The lowest energy within some loss.")
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(TASKS)}; all by default")
    parser.add_argument("--hw", default="eyeriss", metavar="NAME|PATH")
    parser.add_argument("--batches", nargs="+", type=int, default=(1, 16))
    parser.add_argument("--drop", type=float, default=0.01)
    options = parser.parse_args()
    print(
        f"{'network':12}{'batch':>6}{'energy':>9}{'floor':>8}{'before':>9}{'after':>8}{'CPU s':>7}"
    )
    for name in options.networks or TASKS:
        for batch in options.batches:
            print(row(name, TASKS[name], options.hw, batch, options.drop), flush=True)


if __name__ == "__main__":
    main()
