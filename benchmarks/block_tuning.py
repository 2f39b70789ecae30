#!/usr/bin/env python3
"""What brings a pruned network's outputs back without labels or torch: `--repair`, and onnxsim.

    pip install onnxsim==0.8.1
    python benchmarks/block_tuning.py                            # ResNet-20 at 90 % zeros
    python benchmarks/block_tuning.py --sparsity 0.95 --iterations 100

All rows have the same zeros and calibration images. onnxsim trains each block of two layers towards
the original's activations there; without it its row is left out. Fine-tuning of the whole network
has a benchmark of its own, finetuning.py.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time
from dataclasses import replace

from shared_data import shared_folder
from tasks import TASKS

from eapc.commands.compiler import prune
from eapc.commands.preparation import load_dataset
from eapc.data import Dataset
from eapc.evaluation import AccuracyJudge
from eapc.goals import Sparsity
from eapc.model import Model
from eapc.pipeline import Recipe

_BATCH = 64


def tuned_by_blocks(original: Model, pruned: Model, images: Dataset, iterations: int) -> Model:
    """What onnxsim makes of a pruned network, zeros kept."""
    found, _ = importlib.import_module("onnxsim").apply_block_finetune_all_blocks(
        original.to_proto(embed=True),
        pruned.to_proto(embed=True),
        calibration_data=list(images.batches(_BATCH)),
        num_iterations=iterations,
        preserve_sparsity=True,
    )
    return Model.from_proto(found)


def main() -> None:
    parser = argparse.ArgumentParser(description="Repair beside a peer's tuning by blocks.")
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--repair", type=int, default=3, help="rounds")
    parser.add_argument("--iterations", type=int, default=20, help="onnxsim's, of each block")
    parser.add_argument("--images", type=int, default=512, help="that are learnt from")
    given = parser.parse_args()
    task = TASKS["resnet20"]
    original, goal = task.load(), Sparsity(given.sparsity)
    settings = replace(task.settings(threads=1), samples=given.images)
    judge = AccuracyJudge.of(original, task.images(original), 1)

    def told(name: str, model: Model, started: float) -> None:
        spent = time.process_time() - started
        print(f"{name:22}{judge.accuracy(model).after:8.2%}{spent:8.0f} CPU s", flush=True)

    start = time.process_time()
    pruned = prune(original, settings, goal=goal).model
    told("pruned", pruned, start)
    start = time.process_time()
    told(
        "pruned and repaired",
        prune(original, settings, goal=goal, recipe=Recipe(repair=given.repair)).model,
        start,
    )
    if importlib.util.find_spec("onnxsim") is None:
        print("onnxsim: not installed")
        return
    data = load_dataset(shared_folder() / f"data/{task.data}_calibration.npz", original.inputs)
    start = time.process_time()
    tuned = tuned_by_blocks(original, pruned, data.first(given.images), given.iterations)
    told("onnxsim, by blocks", tuned, start)


if __name__ == "__main__":
    main()
