#!/usr/bin/env python3
"""`prune --structured --zeros` of two checkouts: how long it takes, and how good the result is.

    python benchmarks/structured_zeros.py --before PATH --after PATH time [--runs 3]
    python benchmarks/structured_zeros.py --before PATH --after PATH quality [--energies 0.3,0.2]
    python benchmarks/structured_zeros.py ... quality --network resnet20|resnet32

`time`: CPU seconds of `--max-drop 0.01` on the digits network, the checkouts in turn (A B A B), on
one thread; the ratio of each pair, their median and range. `quality`: `--target-energy` with four
seeds; goal met, energy ratio and accuracy, and the mean difference of accuracy with its paired
95 % interval (Student's t over the seeds). ResNets are those of EAPC_DATA.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkouts import Checkout
from scipy.stats import t as student
from shared_data import ROOT, shared_folder

SEEDS = range(4)
ENERGIES = {"digits": "0.3,0.2", "resnet20": "0.65,0.55", "resnet32": "0.65,0.55"}
GOAL_MISSED = 4


@dataclass(frozen=True)
class Network:
    """A model with its calibration and evaluation data, and options of every run."""

    model: Path
    calibration: Path
    evaluation: Path
    options: tuple[str, ...] = ()

    def command(self, *options: str) -> list[str]:
        """Arguments of `eapc` that prune channels and zeros."""
        files = [str(self.model), "--calib", str(self.calibration), "--eval", str(self.evaluation)]
        common = ("--structured", "--zeros", "--json", "--threads", "1", "-o", "out.onnx")
        return ["prune", *files, *self.options, *common, *options]


@dataclass(frozen=True)
class Outcome:
    """What a run came to; accuracy in [0, 1]."""

    met: bool
    energy: float
    accuracy: float
    cpu_seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare --structured --zeros of two checkouts.")
    parser.add_argument("--before", type=Path, required=True, help="a checkout with a .venv")
    parser.add_argument("--after", type=Path, required=True, help="another one")
    parser.add_argument("what", choices=("time", "quality"))
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs that are timed")
    parser.add_argument("--network", choices=tuple(ENERGIES), default="digits")
    parser.add_argument("--energies", help="by default " + str(ENERGIES))
    known = parser.parse_args()
    checkouts = [Checkout(known.before), Checkout(known.after)]
    if known.what == "time":
        compare_times(checkouts, known.runs)
    else:
        energies = (known.energies or ENERGIES[known.network]).split(",")
        compare_quality(checkouts, network_of(known.network), energies)
    return 0


def network_of(name: str) -> Network:
    """The shipped network, or one of EAPC_DATA; ends the program with a reason where absent."""
    if name == "digits":
        models = ROOT / "models"
        data = (models / "digits_calibration.npz", models / "digits_eval.npz")
        return Network(models / "digits.onnx", *data)
    shared = shared_folder()
    data = (shared / "data/cifar10_calibration.npz", shared / "data/cifar10_eval.npz")
    network = Network(shared / f"models/cifar10_{name}_bn.onnx", *data, ("--samples", "1024"))
    for path in (network.model, *data):
        if not path.is_file():
            sys.exit(f"skipped: no file {path}")
    return network


def run(checkout: Checkout, arguments: Sequence[str]) -> Outcome:
    """Prune in a new folder; ends the program where the command fails."""
    with tempfile.TemporaryDirectory() as folder:
        done = checkout.eapc(arguments, Path(folder))
    if done.code not in (0, GOAL_MISSED):
        sys.exit(f"{checkout.folder}: exit {done.code}: {done.errors}")
    document: dict[str, Any] = json.loads(done.output)
    accuracy = document["accuracy"]["after"]
    return Outcome(document["goal_met"], document["energy_ratio"], accuracy, done.cpu_seconds)


def compare_times(checkouts: Sequence[Checkout], runs: int) -> None:
    """Run both in turn and print a row for each pair."""
    command = network_of("digits").command("--max-drop", "0.01")
    print(f"{'pair':6}{'before':>9}{'after':>9}{'ratio':>8}  CPU seconds")
    ratios = []
    for pair in range(runs):
        before, after = (run(checkout, command) for checkout in checkouts)
        ratios.append(after.cpu_seconds / before.cpu_seconds)
        row = f"{before.cpu_seconds:9.1f}{after.cpu_seconds:9.1f}{ratios[-1]:8.3f}"
        print(f"{pair + 1:<6}{row}  {described(before)}; {described(after)}", flush=True)
    middle, least, most = statistics.median(ratios), min(ratios), max(ratios)
    print(f"ratio {middle:.3f}, from {least:.3f} to {most:.3f} in {runs} pairs")


def compare_quality(
    checkouts: Sequence[Checkout], network: Network, energies: Sequence[str]
) -> None:
    """Print a row for each energy and seed, and what the seeds of an energy say together."""
    print(f"{'energy':8}{'seed':>4}  before -> after: goal, energy ratio, accuracy")
    for energy in energies:
        changes = []
        for seed in SEEDS:
            command = network.command("--target-energy", energy, "--seed", str(seed))
            with ThreadPoolExecutor(len(checkouts)) as pool:
                before, after = pool.map(run, checkouts, [command] * len(checkouts))
            changes.append(100 * (after.accuracy - before.accuracy))
            ratio = f"energy {100 * (after.energy / before.energy - 1):+.2f} %"
            both = f"{described(before)} -> {described(after)}"
            print(f"{energy:8}{seed:4}  {both}; {ratio}", flush=True)
        mean, half = statistics.mean(changes), half_interval(changes)
        print(f"{energy:8}      accuracy {mean:+.2f} points, 95 % interval ± {half:.2f}")


def described(outcome: Outcome) -> str:
    """Goal, energy ratio and accuracy."""
    met = "met" if outcome.met else "missed"
    return f"{met} at {outcome.energy:.4f}, {100 * outcome.accuracy:.2f} %"


def half_interval(changes: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the mean of paired differences."""
    error = statistics.stdev(changes) / math.sqrt(len(changes))
    return float(student.ppf(0.975, len(changes) - 1)) * error


if __name__ == "__main__":
    sys.exit(main())
