#!/usr/bin/env python3
"""Top-1 accuracy of quantized networks: eapc's, and onnxruntime's of the same pruned float file.

    python benchmarks/quantized_accuracy.py resnet20 --bits 8 --sparsity 0.8 --draws 3
    python benchmarks/quantized_accuracy.py resnet20 --bits 2
    python benchmarks/quantized_accuracy.py squeezenet --bits 4 --sparsity 0.5

Each draw takes 1,024 (or all) of the calibration images at random, the first draw the first ones;
the network is pruned, quantized by eapc with weights of `--bits` and activations of 8, and by
onnxruntime's `quantize_static` (QDQ, int8 weights per channel, 8 bits alone). Differences are of
the same evaluation images, with a 95 % interval over images of one draw, over draws of several.
Networks and images are those of EAPC_DATA.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from scipy.stats import t as student
from shared_data import shared_folder

from eapc.commands import compiler
from eapc.commands.compiler import Settings
from eapc.data import Dataset, load_data
from eapc.energy import GivenBits
from eapc.goals import Sparsity
from eapc.model import Array, Model
from eapc.quantization import quantize
from eapc.runtime import Engine, collect_outputs

NETWORKS = {
    "resnet20": ("cifar10_resnet20_bn", "cifar10"),
    "resnet32": ("cifar10_resnet32_bn", "cifar10"),
    "squeezenet": ("imagenet_squeezenet1_1", "imagenet"),
}
IMAGES = 1024
THREADS = 1


@dataclass(frozen=True)
class Draw:
    """Which evaluation images each network names rightly, and CPU seconds that eapc took."""

    dense: Array
    pruned: Array
    eapc: Array
    peer: Array | None
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description="Accuracy of quantized networks.")
    parser.add_argument("network", choices=tuple(NETWORKS))
    parser.add_argument("--bits", type=int, default=8, help="of weights: 2 to 8")
    parser.add_argument("--sparsity", type=float, default=0.0, help="zeros of every layer")
    parser.add_argument("--draws", type=int, default=1, help="draws of calibration images")
    known = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        network = load_network(known.network, shared_folder(), Path(folder))
        draws = []
        for seed in range(known.draws):
            draws.append(drawn(network, seed, known.bits, known.sparsity, Path(folder)))
            print(f"draw {seed}: {row(draws[-1])}", flush=True)
    for name, line in summary(draws):
        print(f"{name:28}{line}")
    return 0


@dataclass(frozen=True)
class Network:
    """A float network with its images."""

    model: Model
    calibration: Dataset
    evaluation: Dataset


def load_network(name: str, shared: Path, folder: Path) -> Network:
    """The network with its BatchNormalizations folded, as both quantizers ask for."""
    stem, data = NETWORKS[name]
    path, folded = shared / f"models/{stem}.onnx", folder / "folded.onnx"
    if not path.is_file():
        sys.exit(f"skipped: no file {path}")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    options.log_severity_level = 3
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    model = Model.load(folded, warn=False)
    files = (shared / f"data/{data}_{part}.npz" for part in ("calibration", "eval"))
    return Network(model, *(load_data(file, model.inputs) for file in files))


def drawn(network: Network, seed: int, bits: int, sparsity: float, folder: Path) -> Draw:
    """Prune and quantize on one draw of calibration images."""
    data = images_of(network.calibration, seed)
    pruned = network.model
    if sparsity:
        settings = Settings(calibration=data, threads=THREADS)
        done = compiler.prune(network.model, settings, goal=Sparsity(sparsity))
        pruned = done.compilation.model
    start, engine = time.process_time(), Engine(THREADS)
    ours = quantize(pruned, data, GivenBits(bits, 8), engine, reference=network.model)
    seconds = time.process_time() - start
    peer = quantized_by_peer(pruned, data, folder) if bits == 8 else None
    dense, before, after = (hits(each, network) for each in (network.model, pruned, ours.model))
    return Draw(dense, before, after, None if peer is None else hits(peer, network), seconds)


def images_of(calibration: Dataset, seed: int) -> Dataset:
    """The first images, or others drawn at random."""
    total = calibration.usable
    if seed == 0 or total <= IMAGES:
        return calibration.take(slice(0, IMAGES))
    chosen = np.random.default_rng(seed).choice(total, IMAGES, replace=False)
    return calibration.take(np.sort(chosen))


class Images(CalibrationDataReader):  # type: ignore[misc]
    """Calibration images for the peer, a batch at a time."""

    def __init__(self, data: Dataset) -> None:
        self._batches = iter(data.batches(64))

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, None at the end."""
        return next(self._batches, None)


def quantized_by_peer(model: Model, data: Dataset, folder: Path) -> Model:
    """What onnxruntime makes of the same network and images."""
    source, result = folder / "float.onnx", folder / "peer.onnx"
    model.save(source, force=True)
    quantize_static(
        source, result, Images(data), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return Model.load(result, warn=False)


def hits(model: Model, network: Network) -> Array:
    """1 for each evaluation image whose label the network finds, else 0."""
    outputs = next(iter(collect_outputs(model, network.evaluation, THREADS).values()))
    scores = outputs.reshape(len(outputs), -1)
    return np.asarray(scores.argmax(axis=1) == network.evaluation.labels, np.float64)


def row(draw: Draw) -> str:
    """The accuracies of a draw."""
    known = {"float": draw.dense, "pruned": draw.pruned, "eapc": draw.eapc, "peer": draw.peer}
    parts = [f"{name} {100 * each.mean():.2f}" for name, each in known.items() if each is not None]
    return f"{', '.join(parts)} %; eapc {draw.seconds:.0f} CPU s"


def summary(draws: Sequence[Draw]) -> Iterator[tuple[str, str]]:
    """Differences in points, each with a 95 % interval."""
    yield "eapc - pruned float", interval([each.eapc - each.pruned for each in draws])
    both = [(each, each.peer) for each in draws if each.peer is not None]
    if both:
        yield "onnxruntime - pruned float", interval([peer - each.pruned for each, peer in both])
        yield "eapc - onnxruntime", interval([each.eapc - peer for each, peer in both])


def interval(changes: Sequence[Array]) -> str:
    """The mean, and half the width over draws, or over images of a single one."""
    values = changes[0] if len(changes) == 1 else np.array([each.mean() for each in changes])
    half = float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values)
    return f"{100 * float(values.mean()):+.2f} ± {100 * half / math.sqrt(len(values)):.2f} points"


if __name__ == "__main__":
    sys.exit(main())
