#!/usr/bin/env python3
"""Methods, patterns and orders of `eapc prune` side by side, one row a run.

    python benchmarks/methods.py                 # every row
    python benchmarks/methods.py wanda "2:4"     # rows whose name has one of the words

ResNet-20 on CIFAR-10, BatchNormalization folded, 1,024 calibration images. All methods aim at
the original network's outputs on the inputs that pruned layers before leave them; admm, eap and
sparsegpt fit biases too, wanda and magnitude move nothing. No row is fine-tuned.
"""

from __future__ import annotations

import sys

from prune_networks import CIFAR, FIRST, FOLDED, Row, print_table

from eapc.solvers import METHODS

ENERGY = "0.629"
"""What uniform 90 % comes to."""


def row(name: str, *options: str) -> Row:
    """One run on the network of all rows."""
    return Row(name, FOLDED, *CIFAR, (*FIRST, *options))


ROWS = (
    *(
        row(f"uniform {percent} %, {method}", "--sparsity", f"0.{percent}", "--method", method)
        for percent in (80, 90)
        for method in METHODS
    ),
    *(
        row(f"uniform {percent} %, admm thorough", "--sparsity", f"0.{percent}", "--thorough")
        for percent in (80, 90)
    ),
    *(
        row(f"{pattern}, {method}", "--pattern", pattern, "--method", method)
        for pattern in ("2:4", "4:8", "1:4")
        for method in ("admm", "sparsegpt")
    ),
    *(
        row(f"{pattern}, 50 %", "--pattern", pattern, "--sparsity", "0.5")
        for pattern in ("block:4x4", "kernel")
    ),
    *(
        row(f"energy {ENERGY}, order {order}", "--target-energy", ENERGY, "--order", order)
        for order in ("shared", "energy", "uniform")
    ),
)


if __name__ == "__main__":
    print_table(ROWS, sys.argv[1:])
