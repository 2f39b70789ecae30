#!/usr/bin/env python3
"""What fine-tuning brings back: accuracy before and after, at sparsities and energies.

    python benchmarks/finetuning.py                              # ResNet-20, an hour
    python benchmarks/finetuning.py resnet20 --sparsity 0.9 --epochs 30
    python benchmarks/finetuning.py resnet32 --energy 0.5 0.4 --minutes 5
    python benchmarks/finetuning.py resnet20 --lowest 0.01 0.03
    python benchmarks/finetuning.py resnet20 --energy 0.6 0.4 --save tuned --hw mine.yaml
    python benchmarks/finetuning.py resnet20 --sparsity 0.8 --bits weights=2 --epochs 5

Networks are pruned on 1,024 calibration images, to a sparsity or by channels and zeros to an
energy, and trained on the images of cifar10_finetune.npz towards the dense network's outputs. The
accuracy is that on images that took part in neither. With `--bits` they are quantized on the
calibration images and trained on their grids; `--on calibration` trains on these images alone.
`--lowest` walks down the energies until a
network loses more than so much, untrained and trained; each drop is decided on one half of the
images and told of the other. `--save` keeps the networks of the goals, trained, in a folder:
`dynamic_inference.py` takes them.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from shared_data import shared_folder
from tasks import TASKS, Task

from eapc.commands.compiler import prune
from eapc.commands.finetuning import finetune
from eapc.energy import GivenBits, read_bits
from eapc.evaluation import AccuracyJudge
from eapc.goals import Goal, Sparsity, TargetEnergy
from eapc.model import Model
from eapc.pipeline import Recipe
from eapc.tuning import Options

BUDGETS = tuple(percent / 100 for percent in range(85, 20, -5))


class Bench:
    """Prunes and trains one network, and judges it."""

    def __init__(self, task: Task, options: Options, hardware: str, on: str = "finetune") -> None:
        self._model, self._options = task.load(), options
        self._settings = task.settings(threads=1, hardware=hardware)
        images = task.images(self._model)
        self.judge = AccuracyJudge.of(self._model, images, 1)
        self._data = shared_folder() / f"data/{task.data}_{on}.npz"
        self._samples = task.calibration if on == "calibration" else None

    def pruned(self, goal: Goal, recipe: Recipe) -> tuple[Model, float]:
        """The network pruned to a goal, and its energy over the dense one's."""
        found = prune(self._model, self._settings, goal=goal, recipe=recipe)
        return found.model, found.energy_ratio

    def trained(self, pruned: Model) -> tuple[Model, str]:
        """A pruned network after training, and what that took."""
        start, spent = time.perf_counter(), time.process_time()
        settings = replace(self._settings, calibration=self._data, samples=self._samples)
        done = finetune(pruned, self._model, settings, self._options)
        took = f"{time.process_time() - spent:.0f} CPU s, {time.perf_counter() - start:.0f} s"
        rate = f"{len(done.tuned.epochs)} epochs at {done.tuned.learning_rate:g}"
        return done.model, f"{rate}, {took}"


def rows(
    bench: Bench, goals: Sequence[Goal], folder: Path | None, bits: GivenBits | None
) -> Iterator[str]:
    """A line for each goal: energy, accuracy before and after. The networks go to `folder`."""
    for goal in goals:
        by_channels = not isinstance(goal, Sparsity)
        recipe = Recipe(structured=by_channels, zeros=by_channels, bits=bits)
        model, energy = bench.pruned(goal, recipe)
        before = bench.judge.accuracy(model)
        trained, took = bench.trained(model)
        after = bench.judge.accuracy(trained).after
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            trained.save(folder / f"{goal.value:g}.onnx", force=True)
        yield (
            f"{goal!s:24} energy {energy:.3f}  dense {before.before:.2%}  "
            f"pruned {before.after:.2%}  trained {after:.2%}  ({took})"
        )


def lowest(bench: Bench, drops: Sequence[float]) -> Iterator[str]:
    """The lowest energies within each drop, untrained and trained."""
    decides, tells = bench.judge.halves()
    for is_trained in (False, True):
        found: dict[float, str] = {}
        for budget in BUDGETS:
            model, energy = bench.pruned(TargetEnergy(budget), Recipe(structured=True, zeros=True))
            model = bench.trained(model)[0] if is_trained else model
            loss = decides.accuracy(model).loss
            for drop in (drop for drop in drops if loss <= drop):
                found[drop] = f"{energy:.3f}, {tells.accuracy(model).loss:.2%} lost on others"
            if loss > max(drops):
                break
        for drop in drops:
            name = "trained" if is_trained else "untrained"
            yield f"within {drop:.1%} {name}: energy {found.get(drop, 'above .85')}"


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description="What fine-tuning brings back.")
    parser.add_argument("network", nargs="?", default="resnet20", choices=sorted(TASKS))
    parser.add_argument("--sparsity", nargs="*", type=float, default=[])
    parser.add_argument("--energy", nargs="*", type=float, default=[])
    parser.add_argument("--lowest", nargs="*", type=float, default=[])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--bits", type=read_bits, metavar="8|weights=4,activations=6")
    parser.add_argument("--on", default="finetune", choices=("finetune", "calibration"))
    parser.add_argument("--hw", default="eyeriss", metavar="NAME|PATH")
    parser.add_argument("--save", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    options = Options(epochs=given.epochs, minutes=given.minutes)
    bench = Bench(TASKS[given.network], options, given.hw, given.on)
    goals: list[Goal] = [Sparsity(each) for each in given.sparsity]
    goals += [TargetEnergy(each) for each in given.energy]
    if not goals and not given.lowest:
        goals = [Sparsity(0.9), *(TargetEnergy(each) for each in (0.67, 0.5, 0.4, 0.3))]
    for line in rows(bench, goals, given.save, given.bits):
        print(line, flush=True)
    for line in lowest(bench, given.lowest):
        print(line, flush=True)


if __name__ == "__main__":
    main()
