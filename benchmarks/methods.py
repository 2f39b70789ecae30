#!/usr/bin/env python3
"""Methods, patterns and orders of `eapc prune` side by side, one row a run.

    python benchmarks/methods.py                      # every row, half an hour
    python benchmarks/methods.py resnet32 2:4         # rows whose name has one of the words

ResNet-20 (BatchNormalization folded) and ResNet-32 on CIFAR-10, 1,024 calibration images. All
methods aim at the original network's outputs on the inputs that pruned layers before leave them;
admm, eap and sparsegpt fit biases too, wanda and magnitude move nothing. No row is fine-tuned.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from prune_networks import CIFAR, FIRST, FOLDED, RESNET32, UNIFORM_90, Row, goals, print_table

from eapc.registry import METHODS

NETWORKS = {"resnet20": FOLDED, "resnet32": RESNET32}


def methods(network: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(what is done, its options): every method at every goal."""
    for goal, options in goals(network).items():
        for method in METHODS:
            yield f"{goal}, {method}", (*options, "--method", method)


def variants() -> Iterator[tuple[str, tuple[str, ...]]]:
    """(what is done, its options): what else the command can do, on ResNet-20."""
    for goal, options in goals("resnet20").items():
        yield f"{goal}, admm thorough", (*options, "--thorough")
    budget = UNIFORM_90["resnet20"]
    for order in ("energy", "uniform"):
        yield f"energy {budget}, order {order}", ("--target-energy", budget, "--order", order)
    for pattern in ("2:4", "4:8", "1:4"):
        for method in ("admm", "sparsegpt"):
            yield f"{pattern}, {method}", ("--pattern", pattern, "--method", method)
    for pattern in ("block:4x4", "kernel"):
        yield f"{pattern}, 50 %", ("--pattern", pattern, "--sparsity", "0.5")


def rows(network: str, done: Iterable[tuple[str, tuple[str, ...]]]) -> Iterator[Row]:
    for name, options in done:
        yield Row(f"{network} {name}", NETWORKS[network], *CIFAR, (*FIRST, *options))


ROWS = (
    *rows("resnet20", methods("resnet20")),
    *rows("resnet20", variants()),
    *rows("resnet32", methods("resnet32")),
)


if __name__ == "__main__":
    print_table(ROWS, sys.argv[1:])
