#!/usr/bin/env python3
"""Networks with a third of their channels silenced, before and after these are taken out.

python benchmarks/lossless_channels.py [--alone] [network ...]

A seeded third of the channels of every group gets zeros for its filters, biases and
normalisation; `shrink-channels` must find exactly those, and outputs must stay. Networks are the
recipes of models/, by name, or ONNX files. Prints a table; ends with 1 where anything differs.
With `--alone` the silent channels of each group are also taken out alone, and `error` is the worst.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from shared_data import ROOT

from eapc.channels import find_groups
from eapc.commands.compiler import run
from eapc.model import Model, infer_shapes, input_shapes

sys.path[:0] = [str(ROOT / "models"), str(ROOT / "tests")]
builders = importlib.import_module("channel_builders")
RECIPES = importlib.import_module("recipes").RECIPES

DEFAULT = (
    "resnet18",
    "resnet50",
    "mobilenetv2",
    "googlenet",
    "squeezenet1_1",
    "alexnet",
    "vgg16",
    "transformer12",
)
TOLERANCE = 1e-5
HEADER = ("network", "groups", "channels", "silenced", "removed", "weights", "left", "error", "s")
LINE = "{:<20}{:>8}{:>10}{:>10}{:>9}{:>13}{:>13}{:>10}{:>8}"


def load(name: str) -> Model:
    """A recipe with seeded weights, or a file."""
    return Model.from_proto(RECIPES[name](0, None)) if name in RECIPES else Model.load(name)


def weights_in(model: Model) -> int:
    """Elements of all initializers."""
    tensors = model.view.proto.graph.initializer
    return sum(int(np.prod(tensor.dims)) for tensor in tensors)


def channels_in(model: Model) -> int:
    """Channels of all groups, and one for each that has no choice left."""
    shapes = infer_shapes(model, input_shapes(model, {}, None))
    return sum(group.size for group in find_groups(model, shapes).groups)


def line_for(name: str, alone: bool) -> tuple[str, bool]:
    """The table's line for one network, and whether it is as it should be."""
    model = load(name)
    start = time.process_time()
    groups = builders.groups_of(model)
    seconds = time.process_time() - start
    gone = builders.a_third(groups)
    quiet = builders.silenced(model, groups, gone)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.onnx"
        run(quiet, "shrink-channels", output=out)
        written = Model.load(out)
        error = difference(quiet, written)
    for group, channels in gone.items() if alone else ():
        error = max(error, builders.removal_error(model, {group: channels}))
    before = sum(group.size for group in groups.groups)
    silenced, removed = sum(map(len, gone.values())), before - channels_in(written)
    figures = (
        len(groups.groups),
        before,
        silenced,
        removed,
        weights_in(model),
        weights_in(written),
    )
    text = LINE.format(Path(name).stem, *figures, f"{error:.1e}", f"{seconds:.2f}")
    return text, error < TOLERANCE and silenced == removed


def difference(one: Model, other: Model) -> float:
    """The largest difference of outputs, relative to their scale."""
    feed = builders.feed_of(one)
    after = builders.outputs_of(other, feed)
    return max(
        float(np.abs(after[name] - wanted).max() / np.abs(wanted).max())
        for name, wanted in builders.outputs_of(one, feed).items()
    )


def main() -> int:
    """Print the table; 1 where a network is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=DEFAULT, metavar="network")
    parser.add_argument("--alone", action="store_true", help="also take out each group alone")
    options = parser.parse_args()
    print(LINE.format(*HEADER))
    fine = True
    for name in options.networks:
        text, is_fine = line_for(name, options.alone)
        fine &= is_fine
        print(text if is_fine else f"{text}  WRONG", flush=True)
    return int(not fine)


if __name__ == "__main__":
    sys.exit(main())
