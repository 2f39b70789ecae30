#!/usr/bin/env python3
"""What `eapc prune MODEL` makes of a network without data, and what that is worth on real inputs.

    python benchmarks/as_typed.py                    # every model
    python benchmarks/as_typed.py mnist fcn_dynamic  # those whose name has one of the words

Real inputs are the data sets of images where a network was trained on such, photographs at the
network's own size and scale for those trained on others, and else random numbers of the size that
eapc took. The error is E||y - y'||^2 / E||y - E y||^2 of the worst output, agreement that of the
largest score.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from shared_data import shared_folder

Array = NDArray[Any]
Feeds = list[dict[str, Array]]

_SAMPLES = 500
_PHOTOGRAPHS = 60
_RANDOM = 40


def labelled(name: str) -> Callable[[Path, str], Feeds]:
    """Images of a data set as its network sees them."""

    def feeds(shared: Path, model_input: str) -> Feeds:
        with np.load(shared / f"data/{name}.npz") as data:
            x = data["x"][:_SAMPLES].astype(np.float32)
            scale, mean, std = (
                np.reshape(data[key], (1, -1, 1, 1)) if key in data else default
                for key, default in (("scale", 1.0), ("mean", 0.0), ("std", 1.0))
            )
        seen = ((x * scale - mean) / std).astype(np.float32)
        return [{model_input: row[None]} for row in seen]

    return feeds


def photographs(
    rows: int, columns: int, scale: float, offset: float
) -> Callable[[Path, str], Feeds]:
    """Photographs, every so many pixels taken, as x * scale + offset."""

    def feeds(shared: Path, model_input: str) -> Feeds:
        with np.load(shared / "data/imagenet_eval.npz") as data:
            x = data["x"][:_PHOTOGRAPHS]
        down, across = (np.arange(n) * x.shape[2] // n for n in (rows, columns))
        taken = x[:, :, down][:, :, :, across].astype(np.float32) * scale + offset
        return [{model_input: row[None].astype(np.float32)} for row in taken]

    return feeds


def numbers(**shapes: tuple[int, ...]) -> Callable[[Path, str], Feeds]:
    """Normal numbers of a shape for each input, and the length of the first in the others."""

    def feeds(shared: Path, model_input: str) -> Feeds:  # noqa: ARG001 (the others' form)
        rng = np.random.default_rng(7)
        first = next(iter(shapes.values()))
        return [
            {
                name: np.full(shape, first[1])
                if len(shape) == 1
                else rng.standard_normal(shape, dtype=np.float32)
                for name, shape in shapes.items()
            }
            for _ in range(_RANDOM)
        ]

    return feeds


def stored(name: str) -> Callable[[Path, str], Feeds]:
    """Inputs that lie beside a case."""

    def feeds(shared: Path, model_input: str) -> Feeds:
        with np.load(shared / f"cases/{name}.npz") as data:
            x = data[data.files[0]].astype(np.float32)
        return [{model_input: row[None]} for row in x]

    return feeds


CIFAR = labelled("cifar10_eval")

MODELS: Mapping[str, Callable[[Path, str], Feeds] | None] = {
    "models/cifar10_resnet20_bn": CIFAR,
    "models/cifar10_resnet20_external": CIFAR,
    "models/cifar10_resnet20_folded": CIFAR,
    "models/cifar10_resnet32_bn": CIFAR,
    "models/imagenet_squeezenet1_1": labelled("imagenet_eval"),
    "models/mnist-8": labelled("mnist_eval"),
    "models/ultraface_rfb320": photographs(240, 320, 1 / 128, -127 / 128),
    "models/silero_vad": None,
    "models/mlperf_tiny_vww_float": photographs(96, 96, 1 / 255, 0),
    "models/superres_prepost_op18": None,
    "cases/fcn_dynamic": numbers(x=(1, 3, 64, 64)),
    "cases/dead_branch": numbers(x=(1, 8, 16, 16)),
    "cases/length_mask": numbers(x=(1, 64, 32), len=(1,)),
    "cases/batch_in_name_only": numbers(x=(1, 10, 32)),
    "cases/gru_dominates": numbers(x=(1, 10, 32)),
    "cases/mixed_output": stored("mixed_calib"),
}
"""Models and their real inputs; None for those that cannot be run or pruned."""


@dataclass(frozen=True)
class Worth:
    """The error of the worst output on real inputs, and the share of answers that are the same."""

    error: float
    agreement: float | None


def worth(model: Path, pruned: Path, feeds: Feeds) -> Worth:
    """What a pruned network's outputs are worth beside the original's."""
    sessions = [onnxruntime.InferenceSession(str(path)) for path in (model, pruned)]
    before, after = ([session.run(None, feed) for feed in feeds] for session in sessions)
    errors, agreement = [], None
    for one, other in zip(zip(*before, strict=True), zip(*after, strict=True), strict=True):
        y, z = (np.stack(values).astype(np.float64) for values in (one, other))
        errors.append(float(np.square(y - z).sum() / np.square(y - y.mean(axis=0)).sum()))
        if len(before[0]) == 1 and y.ndim == 3 and y.shape[1] == 1:
            agreement = float((y.argmax(axis=-1) == z.argmax(axis=-1)).mean())
    return Worth(max(errors), agreement)


def row(name: str, shared: Path, output: Path) -> tuple[str, str]:
    """The table's row for a model, and the last line that the command said."""
    model, make = shared / f"{name}.onnx", MODELS[name]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "eapc.cli", "prune", str(model), "-o", str(output), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    start = f"{Path(name).name:26}{done.returncode:>5}{seconds:8.0f}"
    said = done.stderr.strip().splitlines()
    if done.returncode or not output.exists():
        written = "A FILE WAS WRITTEN" if output.exists() else "no file"
        return f"{start}  {written}", said[-1] if said else ""
    document = json.loads(done.stdout)
    after, found = document["after"], document["agreement"]
    zeros = 1 - after["nonzero_weights"] / after["weights"]
    figures = f"{document['energy_ratio']:8.3f}{zeros:8.3f}{found['value']:10.3f}"
    if make is None:
        return f"{start}{figures}", document["synthesised_inputs"] or ""
    real = worth(model, output, make(shared, _input_of(model)))
    same = "-" if real.agreement is None else f"{real.agreement:.3f}"
    good = real.error <= 0.1 or (real.agreement or 0) >= 0.95
    ends = f"{real.error:8.3f}{same:>8}  {'' if good else 'WORSE THAN IT SAYS'}"
    return f"{start}{figures}{ends}", document["synthesised_inputs"] or ""


def _input_of(model: Path) -> str:
    """The name of the first input."""
    return str(onnxruntime.InferenceSession(str(model)).get_inputs()[0].name)


def main(words: list[str]) -> None:
    """Print the table, with what each command said below its row."""
    onnxruntime.set_default_logger_severity(3)
    shared = shared_folder()
    heads = (("exit", 5), ("CPU s", 8), ("energy", 8), ("zeros", 8), ("reported", 10))
    real = (("real", 8), ("same", 8))
    print(f"{'model':26}" + "".join(f"{name:>{width}}" for name, width in (*heads, *real)))
    for name in MODELS:
        if words and not any(word in name for word in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            figures, said = row(name, shared, Path(folder) / "out.onnx")
        print(f"{figures.rstrip()}\n    {said}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
