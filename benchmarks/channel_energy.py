#!/usr/bin/env python3
"""Zeros, channels, and both: the lowest modelled energy within one and three points.

    python benchmarks/channel_energy.py                      # resnet32 and squeezenet on eyeriss
    python benchmarks/channel_energy.py resnet20 --batch 16 --drops 0.01 0.02
    python benchmarks/channel_energy.py resnet20 --energies 0.75 0.65 0.55

Each row is `eapc prune --max-drop`, alone, with `--structured`, or with `--structured --zeros`.
Half of the evaluation images decide; the accuracies are those of the other half. With `--energies`
it is `--target-energy`, and all images count. Energies are fractions of the dense network's; CPU
seconds are those of a kind's rows together.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence

from tasks import TASKS, Task

from eapc.commands.sweep import sweep
from eapc.goals import Goal, MaxDrop, TargetEnergy
from eapc.pipeline import Recipe

RECIPES: Mapping[str, Recipe] = {
    "zeros": Recipe(),
    "channels": Recipe(structured=True),
    "both": Recipe(structured=True, zeros=True),
}


def rows(
    name: str, task: Task, kinds: Sequence[str], hardware: str, batch: int, goals: Sequence[Goal]
) -> Iterator[str]:
    """One line per kind and goal."""
    model = task.load()
    settings, images = task.settings(hardware=hardware, batch=batch), task.images(model)
    for kind in kinds:
        start = time.process_time()
        done = sweep(
            model,
            settings,
            goals=goals,
            recipe=RECIPES[kind],
            evaluation=images,
        )
        spent = time.process_time() - start
        for goal, found in zip(goals, done.rows, strict=True):
            accuracy = found.accuracy
            assert accuracy is not None  # there are labels
            yield (
                f"{name:12}{kind:10}{goal!s:22}"
                f"{found.energy_ratio:>9.3f}{100 * accuracy.before:>9.2f}"
                f"{100 * accuracy.after:>8.2f}{spent:>7.0f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="The lowest energy by zeros, channels and both.")
    known = ", ".join(TASKS)
    parser.add_argument("networks", nargs="*", help=f"of {known}; resnet32 and squeezenet")
    parser.add_argument("--kinds", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--hw", default="eyeriss", metavar="NAME|PATH")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--drops", nargs="+", type=float, default=(0.01, 0.03))
    parser.add_argument("--energies", nargs="+", type=float, help="in place of drops")
    options = parser.parse_args()
    goals: list[Goal] = [TargetEnergy(each) for each in options.energies or ()]
    goals = goals or [MaxDrop(drop) for drop in options.drops]
    head = ("network", "kind", "goal", "energy", "before", "after", "CPU s")
    print("{:12}{:10}{:22}{:>9}{:>9}{:>8}{:>7}".format(*head))
    for name in options.networks or ("resnet32", "squeezenet"):
        task = TASKS[name]
        for line in rows(name, task, options.kinds, options.hw, options.batch, goals):
            print(line, flush=True)


if __name__ == "__main__":
    main()
