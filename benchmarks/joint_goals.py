#!/usr/bin/env python3
"""A cost and a bound together: what was asked, what was reached, and the trade-off between.

    python benchmarks/joint_goals.py [--network digits|resnet20] [--hw PROFILE.yaml]

Sizes packed by gzip and plain, and, with a profile by `eapc profile`, latencies by channels; each
with `--max-drop`. On one thread; ResNet-20 is that of EAPC_DATA, with 256 calibration inputs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from shared_data import ROOT
from tasks import TASKS

import eapc
from eapc.commands.preparation import Settings, load_dataset
from eapc.data import Dataset
from eapc.goals import Target, best_trials
from eapc.model import Model

SIZES = {
    "digits": [("0.25", "gzip"), ("0.1", "gzip"), ("0.1", "")],
    "resnet20": [("0.4", "gzip"), ("0.12", "gzip"), ("0.5", "")],
}
LATENCIES = {"digits": (0.7, 0.4), "resnet20": (0.85, 0.6)}
DROPS = {"digits": 0.01, "resnet20": 0.02}
"""Those beside latencies."""

_DROP = 0.01
SAMPLES = {"digits": 128, "resnet20": 256}


def main() -> None:
    """Pursue each goal in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=SIZES, default="digits")
    parser.add_argument("--hw", type=Path, help="a profile of this machine, for latencies")
    arguments = parser.parse_args()
    network = arguments.network
    model, settings, labelled = loaded(network)
    for target in targets(network, arguments.hw):
        is_of_time = isinstance(target, eapc.TargetLatency)
        machine = replace(settings, hardware=arguments.hw) if is_of_time else settings
        recipe = eapc.Recipe(structured=is_of_time)
        drop = DROPS[network] if is_of_time else _DROP
        goal = eapc.Joint(target, eapc.MaxDrop(drop))
        done = eapc.prune(model, machine, goal=goal, recipe=recipe, evaluation=labelled)
        show(done, target)


def loaded(network: str) -> tuple[Model, Settings, Dataset]:
    """A network, its calibration inputs and its labelled ones."""
    if network == "digits":
        model, data = Model.load(ROOT / "models/digits.onnx"), ROOT / "models/digits"
        labelled = load_dataset(f"{data}_eval.npz", model.inputs)
        settings = Settings(calibration=f"{data}_calibration.npz", samples=SAMPLES[network])
    else:
        task = replace(TASKS[network], calibration=SAMPLES[network])
        model, settings = task.load(), task.settings()
        labelled = task.images(model)
    return model, replace(settings, threads=1), labelled


def targets(network: str, profile: Path | None) -> Iterator[Target]:
    """The costs that are asked for."""
    for size, packed in SIZES[network]:
        yield eapc.TargetSize(size, packed)
    for ratio in LATENCIES[network] if profile else ():
        yield eapc.TargetLatency(ratio)


def show(done: eapc.Pruned, target: Target) -> None:
    """Asked and reached, and the trials that nothing beats where that is out of reach."""
    reached = ", ".join(f"{part.option} {part.reached(done):.4g}" for part in done.goal.parts)
    print(f"{done.name}: {done.shortfall or 'met'}\n  reached {reached}; {done.pipeline}")
    for trial in () if done.goal_met else best_trials(done.trials, target.cost):
        mark = ", written" if trial.is_chosen else ""
        print(f"  {target.cost} {trial.costs[target.cost]:.3f} loses {trial.loss:.4f}{mark}")


if __name__ == "__main__":
    main()
