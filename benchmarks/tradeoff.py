#!/usr/bin/env python3
"""Accuracy over energy: the shared-out budget beside peers at uniform sparsity, image by image.

    python benchmarks/tradeoff.py                       # SqueezeNet 1.1, half an hour
    python benchmarks/tradeoff.py resnet20 --budgets 0.7 0.65 --methods wanda sparsegpt
    python benchmarks/tradeoff.py squeezenet --csv tradeoff.csv

A peer prunes every layer to the same sparsity; between two sparsities each image counts as
right by the share that its two neighbours give, so that peers are compared at the very
energy that a budget came to. Columns: energy and top-1 of the budget, then for each peer
its top-1 there and the difference with a 95 % interval of the paired images.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tasks import TASKS, Task

from eapc.commands.compiler import prune
from eapc.goals import Goal, Sparsity, TargetEnergy
from eapc.model import Model
from eapc.pipeline import Recipe
from eapc.runtime import collect_outputs

PEERS = ("magnitude", "wanda", "sparsegpt", "eap")
BUDGETS = (0.9, 0.85, 0.8, 0.75, 0.7, 0.65)
SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

Flags = NDArray[np.float64]


class Point(NamedTuple):
    """One pruned network: its energy, and which images it gets right."""

    energy: float
    right: Flags


class Bench:
    """Prunes one network in many ways and looks at the same images each time."""

    def __init__(self, task: Task) -> None:
        self._model = task.load()
        self._settings = task.settings()
        self._images = task.images(self._model)

    def dense(self) -> Point:
        """The network as it is."""
        return Point(1.0, self._right(self._model))

    def pruned(self, goal: Goal, method: str = "admm") -> Point:
        """The network pruned to a goal by a method."""
        recipe, images = Recipe(method=method), self._images
        done = prune(self._model, self._settings, goal=goal, recipe=recipe, evaluation=images)
        return Point(done.energy_ratio, self._right(done.model))

    def _right(self, model: Model) -> Flags:
        (scores,) = collect_outputs(model, self._images).values()
        assert self._images.labels is not None  # evaluation data has labels
        answers = scores.reshape(len(scores), -1).argmax(axis=1)
        return np.asarray(answers == self._images.labels[: len(answers)].ravel(), np.float64)


def at_energy(points: Sequence[Point], energy: float) -> Flags | None:
    """Each image between the two points around an energy; None outside all of them."""
    ordered = sorted(points, key=lambda point: point.energy)
    for low, high in itertools.pairwise(ordered):
        if low.energy <= energy <= high.energy:
            span = high.energy - low.energy
            share = (energy - low.energy) / span if span else 1.0
            return np.asarray((1 - share) * low.right + share * high.right)
    return None


def difference(ours: Flags, theirs: Flags) -> tuple[float, float]:
    """Points of accuracy ahead, and half the width of a 95 % interval, images paired."""
    ahead = 100 * (ours - theirs)
    return float(ahead.mean()), 1.96 * float(ahead.std(ddof=1)) / float(np.sqrt(len(ahead)))


def compare(options: argparse.Namespace) -> Iterator[list[str]]:
    """The table's rows, the first its head."""
    bench = Bench(TASKS[options.network])
    dense = bench.dense()
    yield ["budget", "energy", "top-1", *(f"{name}, ahead" for name in options.methods)]
    yield ["dense", "1.000", f"{100 * dense.right.mean():.2f}"]
    peers = {
        name: [dense, *(bench.pruned(Sparsity(s), name) for s in options.sparsities)]
        for name in options.methods
    }
    for name, points in peers.items():
        for sparsity, point in zip(options.sparsities, points[1:], strict=True):
            accuracy = 100 * point.right.mean()
            yield [f"{name} {sparsity:g}", f"{point.energy:.3f}", f"{accuracy:.2f}"]
    for budget in options.budgets:
        ours = bench.pruned(TargetEnergy(budget))
        cells = [describe(ours, points) for points in peers.values()]
        accuracy = 100 * ours.right.mean()
        yield [f"{budget:g}", f"{ours.energy:.3f}", f"{accuracy:.2f}", *cells]


def describe(ours: Point, points: Sequence[Point]) -> str:
    """A peer's accuracy at the same energy, and how far the budget is ahead of it."""
    theirs = at_energy(points, ours.energy)
    if theirs is None:
        return "out of reach"
    ahead, width = difference(ours.right, theirs)
    return f"{100 * theirs.mean():.2f}, {ahead:+.2f} +- {width:.2f}"


def main() -> None:
    options = parse_options()
    rows = []
    for row in compare(options):
        print(f"{row[0]:16}" + "".join(f"{cell:>12}" for cell in row[1:3]), end="")
        print("".join(f"{cell:>26}" for cell in row[3:]), flush=True)
        rows.append(row)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            csv.writer(file).writerows(rows)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Accuracy over energy, beside peers.")
    parser.add_argument("network", nargs="?", choices=TASKS, default="squeezenet")
    parser.add_argument("--methods", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--budgets", nargs="+", type=float, default=BUDGETS)
    parser.add_argument("--sparsities", nargs="+", type=float, default=SPARSITIES)
    parser.add_argument("--csv", type=Path, help="write the table here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
