#!/usr/bin/env python3
"""What judging a network takes in two checkouts, in turns.

    python benchmarks/judging_time.py --before PATH --after PATH [--pairs 5]

CPU seconds of a judge on calibration inputs and of ten verdicts on the network itself: agreement
and divergence, the original's outputs included. The ratio of each pair (A B A B), its median and
range. Networks are those of EAPC_DATA, and the digits network.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from checkouts import Checkout
from shared_data import ROOT, shared_folder

JUDGED = """
import sys, time
from eapc.data import load_data
from eapc.evaluation import AgreementJudge
from eapc.model import Model
model = Model.load(sys.argv[1])
data = load_data(sys.argv[2], model.inputs).first(int(sys.argv[3]))
begun = time.process_time()
judge = AgreementJudge.of(model, data, 1)
for _ in range(10):
    judge.agreement(model, 0.98, 0.05)
    judge.divergence(model)
print(time.process_time() - begun)
"""


def cases() -> list[tuple[str, Path, Path, int]]:
    """Name, model, inputs and how many of them."""
    models = shared_folder()
    data, files, own = models / "data", models / "models", ROOT / "models"
    return [
        ("digits", own / "digits.onnx", own / "digits_calibration.npz", 240),
        ("resnet20", files / "cifar10_resnet20_bn.onnx", data / "cifar10_calibration.npz", 128),
        ("squeezenet", files / "imagenet_squeezenet1_1.onnx", data / "imagenet_calibration.npz", 8),
        ("mixed", models / "cases/mixed_output.onnx", models / "cases/mixed_calib.npz", 48),
    ]


def seconds(checkout: Checkout, model: Path, data: Path, count: int) -> float:
    """CPU seconds of judging in a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        done = checkout.run(["-c", JUDGED, str(model), str(data), str(count)], Path(folder))
    if done.code:
        sys.exit(done.errors)
    return float(done.output)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the time that judging takes.")
    parser.add_argument("--before", type=Path, required=True, help="a checkout with a .venv")
    parser.add_argument("--after", type=Path, required=True, help="another one")
    parser.add_argument("--pairs", type=int, default=5)
    known = parser.parse_args()
    before, after = Checkout(known.before), Checkout(known.after)
    for name, model, data, count in cases():
        inputs = (model, data, count)
        pairs = [(seconds(before, *inputs), seconds(after, *inputs)) for _ in range(known.pairs)]
        ratios = sorted(b / a for a, b in pairs)
        spent = statistics.median(b for _, b in pairs)
        print(
            f"{name}: {spent:.2f} s, ratio {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
