#!/usr/bin/env python3
"""What is left of a classifier that has to tell fewer classes apart, at equal relative accuracy.

    python benchmarks/fewer_classes.py                          # ResNet-20, half an hour
    python benchmarks/fewer_classes.py resnet20 --classes 3,5 --budgets 0.5 0.4 --ways zeros
    python benchmarks/fewer_classes.py squeezenet --csv classes.csv

Each set of classes is pruned to one budget after the other, each a fraction of the energy of the
network cut to them, until accuracy falls more than a point below that of the cut network on the
images of these classes; the row is the last budget before that. Columns: accuracy of the cut and
of the pruned network, then non-zero weights, MACs of two non-zero operands and energy over those
of the uncut network. A way is `zeros`, or `both`: channels, then zeros. The set of all classes
is the uncut network. Sets without names are drawn with --seed; all calibration inputs are read.

SqueezeNet's data hold fewer than one image of most classes: there all images are fitted and told
by, whatever they show, and accuracy is the share of the cut network's own answers that stay.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tasks import TASKS, Task

from eapc.classes import ClassMap, keep_classes
from eapc.commands.class_choice import with_classes
from eapc.commands.preparation import Settings, checked, load_dataset
from eapc.data import Dataset
from eapc.energy import EnergyReport
from eapc.goals import Pruned, TargetEnergy, measured
from eapc.pipeline import Recipe
from eapc.runtime import collect_outputs

BUDGETS = (0.8, 0.7, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2)
WAYS = {"zeros": Recipe(), "both": Recipe(structured=True, zeros=True)}
POINT = 0.01
COLUMNS = ("set", "classes", "way", "budget", "cut", "pruned", "weights", "macs", "energy")


@dataclass(frozen=True)
class ClassSet:
    """Some of a network's classes, and what to call them."""

    name: str
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """The cheapest result within a point; the ratios are to the uncut network."""

    budget: float
    cut: float
    pruned: float
    weights: float
    macs: float
    energy: float

    @classmethod
    def of(cls, budget: float, done: Pruned) -> Found:
        """The figures of one result."""
        assert done.uncut is not None
        assert done.accuracy is not None
        return cls(budget, done.accuracy.before, done.accuracy.after, *left(done.after, done.uncut))


def main() -> int:
    parser = argparse.ArgumentParser(description="Prune classifiers of fewer classes.")
    parser.add_argument("task", nargs="?", choices=("resnet20", "squeezenet"), default="resnet20")
    parser.add_argument("--classes", action="append", help="3,5 in place of the sets; repeatable")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=tuple(WAYS))
    parser.add_argument("--seed", type=int, default=0, help="of the sets that are drawn")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="write the rows there as well")
    known = parser.parse_args()
    given = [ClassSet("given", tuple(map(int, t.split(",")))) for t in known.classes or ()]
    sets = given or list(sets_of(known.task, known.seed))
    bench = Bench(TASKS[known.task], known.threads, by_labels=known.task == "resnet20")
    rows = []
    print("".join(f"{name:>9}" for name in COLUMNS))
    for each in sets:
        for way in known.ways:
            rows.append(row_of(each, way, bench.cheapest(each, WAYS[way], known.budgets)))
            print("".join(f"{cell:>9}" for cell in rows[-1]), flush=True)
    if known.csv:
        with known.csv.open("w", newline="") as stream:
            csv.writer(stream).writerows([COLUMNS, *rows])
    return 0


def sets_of(task: str, seed: int) -> Iterator[ClassSet]:
    """The sets that a task is run with."""
    rng = np.random.default_rng(seed)
    if task == "squeezenet":
        for count in (10, 100):
            yield ClassSet("drawn", drawn(rng, 1000, count))
        return
    yield ClassSet("easy", (0, 1))  # airplane, automobile
    yield ClassSet("hard", (3, 5))  # cat, dog
    for count in (2, 5):
        yield ClassSet("drawn", drawn(rng, 10, count))
    yield ClassSet("all", tuple(range(10)))


def drawn(rng: np.random.Generator, classes: int, count: int) -> tuple[int, ...]:
    """So many of the classes, in ascending order."""
    return tuple(sorted(rng.choice(classes, count, replace=False).tolist()))


class Bench:
    """Prunes one network to any of its classes; see the module for `by_labels`."""

    def __init__(self, task: Task, threads: int, by_labels: bool) -> None:
        self._model = task.load()
        self._threads, self._by_labels = threads, by_labels
        self._settings = replace(task.settings(threads=threads), samples=None)
        self._images = task.images(self._model)

    def cheapest(self, chosen: ClassSet, recipe: Recipe, budgets: Sequence[float]) -> Found | None:
        """The last of falling budgets at which all so far were within a point; None if none was."""
        found = None
        settings, images = self._data(chosen)
        goals = [TargetEnergy(budget) for budget in sorted(budgets, reverse=True)]
        recipe = with_classes(recipe, chosen.classes)
        begun = checked(self._model, settings, goals, recipe, images, (), False).with_inputs(None)
        trials = begun.trials(begun.compilation)  # curves are measured once
        for goal in goals:
            done = begun.beside_uncut(measured(goal.pursue(trials), trials))
            tried = Found.of(goal.value, done)
            print(f"{chosen.classes}: {tried}", file=sys.stderr)
            if tried.pruned < tried.cut - POINT:
                return found
            found = tried
        return found

    def _data(self, chosen: ClassSet) -> tuple[Settings, Dataset]:
        """Inputs to fit and to judge on; without labels the cut network's answers are labels."""
        if self._by_labels:
            return self._settings, self._images
        kept = ClassMap(chosen.classes)
        cut = keep_classes(self._model, chosen.classes, kept)
        (scores,) = collect_outputs(cut, self._images, self._threads).values()
        answers = np.asarray(chosen.classes)[scores.argmax(axis=1)]
        assert isinstance(self._settings.calibration, Path)
        fitted = replace(load_dataset(self._settings.calibration, cut.inputs), labels=None)
        return replace(self._settings, calibration=fitted), replace(self._images, labels=answers)


def left(report: EnergyReport, uncut: EnergyReport) -> tuple[float, float, float]:
    """Non-zero weights, MACs of two non-zero operands and energy over those of the uncut."""
    return (
        report.nonzero_weights / uncut.nonzero_weights,
        report.nonskipped_macs / uncut.nonskipped_macs,
        report.energy_mac_units / uncut.energy_mac_units,
    )


def row_of(chosen: ClassSet, way: str, found: Found | None) -> tuple[str, ...]:
    """The cells of a row."""
    count = len(chosen.classes)
    shown = ",".join(map(str, chosen.classes)) if count <= 2 else str(count)
    if found is None:
        return (chosen.name, shown, way, *["-"] * 6)
    shares = (found.cut, found.pruned, found.weights, found.macs, found.energy)
    return (chosen.name, shown, way, f"{found.budget:g}", *(f"{100 * s:.1f}" for s in shares))


if __name__ == "__main__":
    sys.exit(main())
