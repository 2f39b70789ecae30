#!/usr/bin/env python3
"""Measured speed of channel choices at equal accuracy: instructed by latency, and uniform.

    python benchmarks/channel_speed.py resnet32 --profile host.yaml
    python benchmarks/channel_speed.py squeezenet --profile host2.yaml --drop 0.01

The profile comes from `eapc profile MODEL --threads 1 -o host.yaml`. Instructed: `eapc prune
--structured --hw host.yaml --max-drop`, whose counts follow the machine's steps. Uniform: the same
fraction of every group by l1, refitted just as well, for several fractions; of those whose accuracy
drops no more, the fastest counts. Accuracy is that of the half of the images that decides, then of
the other half. Latencies are measured in onnxruntime, all networks in turns: the median of each
round's ratio to the dense network, with its 95 % interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tasks import TASKS

from eapc.commands.preparation import prepare, with_objective
from eapc.evaluation import AccuracyJudge
from eapc.goals import Goal, MaxDrop, Sparsity, TargetLatency, Trials
from eapc.hardware import load_machine
from eapc.model import Model
from eapc.pipeline import Recipe
from eapc.profiling import run_in_turns
from eapc.runtime import open_model

UNIFORM = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4)


class Bench:
    """One network pruned in several ways, judged on the same images, run in turns."""

    def __init__(self, name: str, profile: Path) -> None:
        task = TASKS[name]
        self.model = task.load()
        self._compilation = prepare(self.model, task.settings(hardware=profile, threads=1))
        self._images = task.images(self.model)
        self._judge = AccuracyJudge.of(self.model, self._images, 1)
        self.machine = load_machine(profile)

    def trials(self, recipe: Recipe) -> Trials:
        """Trials by a recipe, with labels."""
        found = with_objective(recipe, self._compilation)
        return Trials(self._compilation, found, self._judge)

    def accuracies(self, model: Model) -> tuple[float, float]:
        """Points lost on the half that decides, and on the other."""
        first, second = self._judge.halves()
        return 100 * first.accuracy(model).loss, 100 * second.accuracy(model).loss

    def ratios(self, models: Sequence[Model], rounds: int) -> list[str]:
        """Latency of each over the dense network's, in turns."""
        feed = dict(next(self._images.batches(1)))
        sessions = [open_model(each, 1) for each in (self.model, *models)]
        runs = [partial(session.run, feed) for session in sessions]
        laps = run_in_turns(runs, rounds, 10)
        found = [laps.ratio(i + 1, 0) for i in range(len(models))]
        return [f"{r.median:.3f} ({r.low:.3f}-{r.high:.3f})" for r in found]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measured speed of channel choices.")
    parser.add_argument("network", choices=TASKS)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--drop", type=float, default=0.01)
    parser.add_argument("--targets", nargs="*", type=float, default=())
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    bench = Bench(options.network, options.profile)
    instructed = bench.trials(Recipe(structured=True))
    names: list[str] = []
    models: list[Model] = []
    expected: list[str] = []
    goals: list[Goal] = [
        MaxDrop(options.drop),
        *(TargetLatency(value) for value in options.targets),
    ]
    for goal in goals:
        found = goal.pursue(instructed)
        names.append(f"instructed, {goal}")
        models.append(found.model)
        expected.append("" if found.latency is None else f"{found.latency.ratio:.3f}")
    uniform = bench.trials(Recipe(structured=True, criterion="l1"))
    for fraction in UNIFORM:
        names.append(f"uniform l1, {fraction:.0%} gone")
        models.append(Sparsity(fraction).pursue(uniform).model)
        expected.append("")
    print(f"{'choice':32}{'points lost':>12}{'other half':>12}{'profile':>9}  measured ratio")
    measured = bench.ratios(models, options.rounds)
    for name, model, ratio, profile in zip(names, models, measured, expected, strict=True):
        decided, other = bench.accuracies(model)
        print(f"{name:32}{decided:>12.2f}{other:>12.2f}{profile:>9}  {ratio}", flush=True)


if __name__ == "__main__":
    main()
