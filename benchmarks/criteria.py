#!/usr/bin/env python3
"""Accuracy by criterion, raw and refitted: fewer filters in the first layer of every block.

    python benchmarks/criteria.py                        # ResNet-20, 30 and 50 %, no fine-tuning
    python benchmarks/criteria.py obs l1 --fractions 0.3

Raw: the filters are gone and nothing else has changed. Refitted: every layer behind them gets
its least-squares weights and bias. 1,024 calibration images, 4,000 evaluation images.
"""

from __future__ import annotations

import argparse
import time

from shared_data import shared_folder

from eapc.commands.preparation import Settings, load_dataset, prepare
from eapc.evaluation import AccuracyJudge
from eapc.pipeline import Compilation, Pipeline, load_passes
from eapc.registry import CRITERIA

MODEL, DATA = "cifar10_resnet20_folded", "cifar10"
FIRST_OF_BLOCKS = "/layer*/conv1/Conv"


def begin(calibration: int, evaluation: int) -> tuple[Compilation, AccuracyJudge]:
    """The network with its energy, and a judge of accuracy."""
    folder = shared_folder()
    settings = Settings(
        calibration=folder / f"data/{DATA}_calibration.npz", samples=calibration, threads=1
    )
    compilation = prepare(folder / f"models/{MODEL}.onnx", settings)
    images = load_dataset(folder / f"data/{DATA}_eval.npz", compilation.model.inputs)
    judge = AccuracyJudge.of(compilation.model, images.first(evaluation), 1)
    return Pipeline.parse("annotate-energy", load_passes()).run(compilation), judge


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy by criterion, raw and refitted.")
    parser.add_argument("criteria", nargs="*", help=f"of {', '.join(CRITERIA)}; all by default")
    parser.add_argument("--fractions", nargs="+", type=float, default=(0.3, 0.5))
    parser.add_argument("--calibration", type=int, default=1024)
    parser.add_argument("--evaluation", type=int, default=4000)
    options = parser.parse_args()
    compilation, judge = begin(options.calibration, options.evaluation)
    print(f"{'criterion':18}{'gone':>6}{'raw':>8}{'refitted':>10}{'CPU s':>7}")
    for fraction in options.fractions:
        for name in options.criteria or CRITERIA:
            start = time.process_time()
            chosen = f"fraction={fraction}, criterion={name}, include={FIRST_OF_BLOCKS}"
            pruned = _run(f"prune-channels{{{chosen}}}", compilation)
            raw = judge.accuracy(pruned.model).after
            fitted = _run("reconstruct-outputs{keep_mask=true}, shrink-channels", pruned)
            after = judge.accuracy(fitted.model).after
            spent = time.process_time() - start
            print(
                f"{name:18}{fraction:>6.0%}{100 * raw:>8.2f}{100 * after:>10.2f}{spent:>7.0f}",
                flush=True,
            )


def _run(text: str, compilation: Compilation) -> Compilation:
    return Pipeline.parse(text, load_passes()).run(compilation)


if __name__ == "__main__":
    main()
