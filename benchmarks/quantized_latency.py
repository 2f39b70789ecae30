#!/usr/bin/env python3
"""What 8 bits save of the time on this computer: float, int8, and int8 with channels gone.

    python benchmarks/quantized_latency.py [--rounds N] [--fraction F] [network ...]

All files of a network run in turns, three runs each, on one thread, batch 1. Printed are medians
over the rounds of each file's time over the float file's, with bounds that hold them with 95 %
confidence, the quickest over the float's quickest, which a busy computer spoils least, and how
many of its nodes onnxruntime runs on integers. Of the channels the same fraction goes everywhere,
0.3 and a half: 30 % leave counts that are no multiples of 16, the step of kernels on integers.
Networks: resnet20 (CIFAR-10), vww (MobileNet of MLPerf Tiny). Ends with 1 where int8 of resnet20
takes more than 0.55 of the float's time or leaves a Conv or Add in floats.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from shared_data import shared_folder

from eapc.commands.compiler import Settings, prune
from eapc.commands.turns import turns_of
from eapc.data import Dataset, load_data
from eapc.energy import GivenBits
from eapc.goals import Sparsity
from eapc.model import Model
from eapc.pipeline import Recipe
from eapc.profiling import integer_use, run_in_turns
from eapc.quantization import quantize
from eapc.synthesis import synthesise

MOST = 0.55
FILES = {"resnet20": "cifar10_resnet20_folded.onnx", "vww": "mlperf_tiny_vww_float.onnx"}
_SAMPLES = 64


def vector_instructions() -> str:
    """Whether the processor multiplies bytes in one instruction."""
    facts = Path("/proc/cpuinfo")
    flags = facts.read_text(errors="replace") if facts.is_file() else ""
    known = [name for name in ("avx512_vnni", "avx_vnni", "asimddp") if name in flags]
    return ", ".join(known) or "none: products of bytes take several instructions each"


def thrice(run: Callable[[], object]) -> Callable[[], None]:
    """Three runs as one: whoever runs one network again and again finds it in the caches."""

    def runs() -> None:
        for _ in range(3):
            run()

    return runs


def inputs_of(name: str, model: Model) -> Dataset:
    """CIFAR-10 images, or noise, which times the same."""
    if name == "resnet20":
        path = shared_folder() / "data/cifar10_calibration.npz"
        return load_data(path, model.inputs, _SAMPLES)
    return synthesise(model, {}, _SAMPLES, np.random.default_rng(0), 1)


def main() -> int:
    """A row for each file of the networks that are named, or of all."""
    parser = argparse.ArgumentParser(description="Float and int8, in turns.")
    parser.add_argument("networks", nargs="*", help=", ".join(FILES))
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--fraction", type=float, default=0.3)
    options = parser.parse_args()
    print(f"dot products of bytes: {vector_instructions()}")
    fine = [measured(name, options.rounds, options.fraction) for name in options.networks or FILES]
    return int(not all(fine))


def measured(name: str, rounds: int, fraction: float) -> bool:
    """Print a network's rows; whether int8 is as quick as it should be."""
    model = Model.load(shared_folder() / "models" / FILES[name])
    data = inputs_of(name, model)
    settings = Settings(calibration=data, threads=1)
    recipe = Recipe(structured=True, bits=GivenBits(8, 8))
    files = {
        "float": model,
        "int8": quantize(model, data).model,
        f"int8, {fraction:.0%} of channels gone": prune(
            model, settings, goal=Sparsity(fraction), recipe=recipe
        ).model,
        "int8, half of channels gone": prune(
            model, settings, goal=Sparsity(0.5), recipe=recipe
        ).model,
    }
    turns = turns_of(list(files.values()), data, 1, 1)
    laps = run_in_turns([thrice(run) for run in turns.runs], rounds)
    print(f"{name}: float takes {laps.median_ms[0] / 3:.4f} ms")
    for place, (label, each) in enumerate(files.items()):
        ratio, use = laps.ratio(place, 0), integer_use(each, 1)
        said = f"{ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
        quickest = laps.ms[:, place].min() / laps.ms[:, 0].min()
        print(f"  {label:32}{said:26}quickest {quickest:.3f}  {use}", flush=True)
    use = integer_use(files["int8"], 1)
    whole = all(use.fused.get(op) == use.able.get(op) for op in ("Conv", "Add"))
    return name != "resnet20" or (whole and laps.ratio(1, 0).median <= MOST)


if __name__ == "__main__":
    sys.exit(main())
