#!/usr/bin/env python3
"""The lowest energy within a point of accuracy: by zeros, bits, both, and channels as well.

    python benchmarks/bits_and_zeros.py resnet20
    python benchmarks/bits_and_zeros.py resnet20 --hw nvdla-like --calibration 256 --rows 1 3
    python benchmarks/bits_and_zeros.py resnet32 --energy 0.3 --rows 3 5

Each row but that of 8 bits alone is `eapc prune --max-drop`: half of the evaluation images decide.
`energy` is the modelled energy over that of the dense network at 16 bits, `loss` the points of
top-1 accuracy that are lost on the other half, which took part in no choice, with the bounds of
95 of 100 cases. With `--energy` rows are `--target-energy`: no image decides, and all tell.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from tasks import TASKS, Task

from eapc.commands.compiler import prune
from eapc.data import Dataset
from eapc.energy import GivenBits
from eapc.evaluation import Accuracy, AccuracyJudge
from eapc.goals import Goal, MaxDrop, Pruned, TargetEnergy, Width
from eapc.model import Model
from eapc.pipeline import Recipe

ROWS = {
    "zeros": Recipe(),
    "8 bits": Recipe(bits=GivenBits(8, 8)),
    "zeros and 8 bits": Recipe(bits=GivenBits(8, 8)),
    "channels, zeros and 8 bits": Recipe(structured=True, zeros=True, bits=GivenBits(8, 8)),
    "zeros and mixed bits": Recipe(mixed_bits=True),
    "channels, zeros, mixed bits": Recipe(structured=True, zeros=True, mixed_bits=True),
}
"""What each row prunes and quantizes."""

_ALONE = "8 bits"


def loss(done: Pruned, images: Dataset) -> Accuracy:
    """Accuracy on images that decided nothing: half of them for 8 bits alone, as for a search."""
    if not isinstance(done.goal, Width):
        assert done.accuracy is not None  # there are labels
        return done.accuracy
    _, other = AccuracyJudge.of(done.compilation.reference, images, 0).halves()
    return other.accuracy(done.model)


def row(name: str, model: Model, task: Task, hardware: str, aim: Goal) -> str:
    """A row of the table."""
    goal: Goal = Width("8") if name == _ALONE else aim
    images, start = task.images(model), time.process_time()
    settings = task.settings(hardware=hardware)
    done = prune(model, settings, goal=goal, recipe=ROWS[name], evaluation=images)
    spent, found = time.process_time() - start, loss(done, images)
    low, high = found.loss_interval
    bounds = f"{100 * low:.1f} to {100 * high:.1f}"
    return (
        f"{name:28}{done.energy_ratio:>8.3f}{100 * found.before:>9.2f}{100 * found.after:>8.2f}"
        f"{100 * found.loss:>7.2f}{bounds:>14}{done.sparsity:>8.1%}{spent:>7.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Zeros, bits and channels under one bound.")
    parser.add_argument("network", choices=tuple(TASKS))
    parser.add_argument("--hw", default="eyeriss", metavar="NAME|PATH")
    parser.add_argument("--drop", type=float, default=0.01)
    parser.add_argument("--energy", type=float, help="a budget in place of a bound on the loss")
    parser.add_argument("--calibration", type=int, metavar="N", help="so many images to fit")
    parser.add_argument("--rows", nargs="+", type=int, metavar="N", help="1 to 6; all by default")
    options = parser.parse_args()
    task = TASKS[options.network]
    if options.calibration:
        task = replace(task, calibration=options.calibration)
    model, names = task.load(), tuple(ROWS)
    aim: Goal = MaxDrop(options.drop) if options.energy is None else TargetEnergy(options.energy)
    print(
        f"{options.network:28}{'energy':>8}{'before':>9}{'after':>8}{'loss':>7}"
        f"{'95 of 100':>14}{'zeros':>8}{'CPU s':>7}"
    )
    for place in options.rows or range(1, len(names) + 1):
        print(row(names[place - 1], model, task, options.hw, aim), flush=True)


if __name__ == "__main__":
    main()
