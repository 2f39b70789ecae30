#!/usr/bin/env python3
"""The staircase of this machine: latency over single output channels, as CSV and a plot.

    python benchmarks/staircase.py [--most 96] [--rounds 7] [--threads N] [folder]

Three layers: 3x3, 64 channels in, 8x8 positions; 3x3, 32 channels in, 16x16; 1x1, 64 channels in,
28x28. Each of several rounds times every count of every layer once, in an order that
is shuffled anew, so that a disturbance does not lie on neighbours; the least of all rounds is kept.
Writes staircase.csv and, where matplotlib is installed, staircase.svg into the folder (docs).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from shared_data import ROOT

from eapc.model import Model, infer_shapes, input_shapes
from eapc.profiling import (
    LayerKind,
    LayerTimer,
    ProbeMaker,
    Reading,
    constant_tensors,
    find_kernels,
    layer_kind,
    sized,
)
from eapc.runtime import optimised_model

LAYERS = {
    "3x3, 64 in, 8x8": (64, 3, 8),
    "3x3, 32 in, 16x16": (32, 3, 16),
    "1x1, 64 in, 28x28": (64, 1, 28),
}
REPEATS = 30


def network(channels: int, kernel: int, size: int, most: int) -> Model:
    """The layer, with ReLU, between two others: so it reads and writes the layouts of a network."""
    widths = [(1, channels, 1), (channels, most, kernel), (most, 16, 1)]
    rng = np.random.default_rng(0)
    nodes, weights, x = [], [], "x"
    for index, (read, written, taps) in enumerate(widths):
        shape = (written, read, taps, taps)
        values = rng.normal(0, 1 / (taps * read**0.5), shape).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{index}"))
        pads = [taps // 2] * 4
        nodes.append(helper.make_node("Conv", [x, f"w{index}"], [f"c{index}"], pads=pads))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        x = f"r{index}"
    ends = [helper.make_tensor_value_info("x", 1, [1, 1, size, size])]
    result = [helper.make_tensor_value_info(x, 1, [1, 16, size, size])]
    graph = helper.make_graph(nodes, "staircase", ends, result, weights)
    opset = [helper.make_opsetid("", 17)]
    return Model.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))


class Stairs:
    """One layer's latency by output channels."""

    def __init__(self, channels: int, kernel: int, size: int, most: int, threads: int) -> None:
        self._model = network(channels, kernel, size, most)
        self._shapes = infer_shapes(self._model, input_shapes(self._model, {}, None))
        self._channels = channels
        self._kind = self._middle(optimised_model(self._model.to_proto(), threads))
        whole = sized(self._kind, self._shapes, channels, most)
        self._timer = LayerTimer(ProbeMaker(self._model, {}), threads, REPEATS, 8 * whole.bytes)
        self._timer.calibrate([whole])
        self._readings: dict[int, Reading] = {}

    def _middle(self, optimised: onnx.ModelProto) -> LayerKind:
        kernel = find_kernels(self._model, optimised)[1]
        return layer_kind(kernel, self._shapes, constant_tensors(self._model, optimised))

    def read(self, count: int) -> None:
        """Time one count once more."""
        reading = self._timer.read(sized(self._kind, self._shapes, self._channels, count), REPEATS)
        self._readings[count] = reading.least(self._readings.get(count))

    @property
    def ms(self) -> dict[int, float]:
        """Milliseconds by output channels, the least that was read."""
        return {count: reading.layer_ms for count, reading in sorted(self._readings.items())}


def measure(most: int, rounds: int, threads: int) -> dict[str, dict[int, float]]:
    """Milliseconds by layer and output channels."""
    stairs = {name: Stairs(*layer, most, threads) for name, layer in LAYERS.items()}
    rng = np.random.default_rng(0)
    points = [(name, count) for name in stairs for count in range(1, most + 1)]
    for _ in range(rounds):
        for index in rng.permutation(len(points)):
            name, count = points[index]
            stairs[name].read(count)
    return {name: found.ms for name, found in stairs.items()}


def write_csv(path: Path, found: dict[str, dict[int, float]]) -> None:
    """A row for each count, a column of milliseconds for each layer."""
    counts = sorted(next(iter(found.values())))
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["output_channels", *(f"{name} (ms)" for name in found)])
        writer.writerows([c, *(f"{ms[c]:.5g}" for ms in found.values())] for c in counts)


def plot(path: Path, found: dict[str, dict[int, float]]) -> None:
    """A panel for each layer."""
    from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]

    figure: Any
    figure, panels = pyplot.subplots(1, len(found), figsize=(12, 3.6))
    for panel, (name, ms) in zip(panels, found.items(), strict=True):
        panel.plot(list(ms), [1e3 * value for value in ms.values()], ".", markersize=4)
        panel.set(title=name, xlabel="output channels", ylim=(0, None))
        panel.set_xticks(range(0, max(ms) + 1, 16))
        panel.grid(axis="x", alpha=0.4)
    panels[0].set_ylabel("microseconds")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, write, plot."""
    parser = argparse.ArgumentParser(description="Latency over single output channels.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs")
    parser.add_argument("--most", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    found = measure(options.most, options.rounds, options.threads)
    write_csv(options.folder / "staircase.csv", found)
    try:
        plot(options.folder / "staircase.svg", found)
    except ImportError:
        print("no plot: matplotlib is not installed (the extra `plot`)")


if __name__ == "__main__":
    main()
