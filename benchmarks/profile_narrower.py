#!/usr/bin/env python3
"""Whether a profile of one network tells the latency of the same with fewer channels.

    python benchmarks/profile_narrower.py [--minutes M] [--threads N]

A CIFAR ResNet of 32 layers is profiled; then narrower ones are timed in turns, of which the least
counts, and their latencies are read off the profile. Channels: between blocks, and inside them.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from shared_data import ROOT

from eapc.commands.machine_profile import ProfileSettings, profile
from eapc.commands.preparation import Settings
from eapc.commands.timing import time_nodes
from eapc.model import Model
from eapc.runtime import Stopwatch

sys.path.insert(0, str(ROOT / "models"))
from graph_builder import Builder, weights_from
from residual_nets import conv_bn, shortcut

Widths = tuple[int, int, int]

FULL: Widths = (16, 32, 64)
NARROWER: tuple[tuple[Widths, Widths], ...] = (
    (FULL, FULL),
    (FULL, (8, 16, 32)),
    ((16, 32, 48), (16, 16, 48)),
    ((8, 16, 32), (8, 16, 32)),
    ((12, 24, 48), (12, 24, 48)),
    (FULL, (12, 20, 44)),
    (FULL, (11, 22, 45)),
)
BLOCKS = 5
ROUNDS = 8


def resnet(between: Widths, inside: Widths) -> Model:
    """A CIFAR ResNet of 32 layers on (N, 3, 32, 32)."""
    b = Builder("resnet32", weights_from(0))
    x = b.relu(conv_bn(b, b.input("input", [3, 32, 32]), "", "1", between[0], 3), "relu")
    for stage in range(3):
        for index in range(BLOCKS):
            name, stride = f"layer{stage + 1}.{index}.", 2 if stage and not index else 1
            y = b.relu(conv_bn(b, x, name, "1", inside[stage], 3, stride), f"{name}relu1")
            y = conv_bn(b, y, name, "2", between[stage], 3, scale=0.5)
            x = b.add(y, shortcut(b, x, name, between[stage], stride), f"{name}add")
            x = b.relu(x, f"{name}relu2")
    x = b.flatten(b.unary("GlobalAveragePool", x, "avgpool"), "flatten")
    return Model.from_proto(b.finish(b.fully_connected(x, "fc", 10, gain=1.0), "logits", [10]))


def least_ms(models: list[Model], threads: int) -> list[float]:
    """The least milliseconds of each network, timed in turns."""
    noise = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    watches = [Stopwatch(model.to_proto(), {"input": noise}, threads) for model in models]
    rounds = [[min(watch.seconds(80)) for watch in watches] for _ in range(ROUNDS)]
    return [1e3 * min(times) for times in zip(*rounds, strict=True)]


def main() -> None:
    """Profile, time, compare."""
    parser = argparse.ArgumentParser(description="Narrower networks from one profile.")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    settings = ProfileSettings(threads=options.threads, minutes=options.minutes)
    machine = profile(resnet(FULL, FULL), settings).machine
    models = [resnet(*widths) for widths in NARROWER]
    print(f"{'between blocks':>16}{'inside':>16}{'read off':>10}{'measured':>10}{'ratio':>8}")
    for widths, model, ms in zip(NARROWER, models, least_ms(models, options.threads), strict=True):
        found = time_nodes(model, machine, Settings(threads=options.threads))
        between, inside = (" ".join(map(str, counts)) for counts in widths)
        print(f"{between:>16}{inside:>16}{found.latency_ms:10.3f}{ms:10.3f}", end="")
        print(f"{found.latency_ms / ms:8.2f}{len(found.unmodelled):4} not covered")


if __name__ == "__main__":
    main()
