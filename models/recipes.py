"""Write a well-known network with seeded random weights: python models/recipes.py alexnet out.onnx.

Shapes and counts are those of the published networks; only the weights are random, scaled so that
activations stay finite and varied (He et al., "Delving deep into rectifiers", ICCV 2015).
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto
from plain_nets import alexnet, googlenet, squeezenet1_0, squeezenet1_1, vgg16
from residual_nets import mobilenetv2, resnet18, resnet50
from transformer import transformer12

Recipe = Callable[[int | None, int | None], ModelProto]
"""(seed, batch) -> model; a seed of None gives weights of zeros, a batch of None a dynamic N."""

RECIPES: dict[str, Recipe] = {
    "alexnet": alexnet,
    "googlenet": googlenet,
    "mobilenetv2": mobilenetv2,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "squeezenet1_0": squeezenet1_0,
    "squeezenet1_1": squeezenet1_1,
    "transformer12": transformer12,
    "vgg16": vgg16,
}


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {value}")
    return value


def natural(text: str) -> int:
    """Parse a whole number of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {value}")
    return value


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; leaves with code 2 on a usage error."""
    parser = argparse.ArgumentParser(prog="recipes.py", description=__doc__.splitlines()[0])
    parser.add_argument("name", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument("output", type=Path, help="the ONNX file to write")
    parser.add_argument("--seed", type=natural, default=0, help="of the weights (default 0)")
    parser.add_argument("--batch", type=positive, help="fixed batch size (default dynamic, N)")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    return parser.parse_args(arguments)


def complaint(options: argparse.Namespace) -> str | None:
    """Say why the request cannot be served, in one line; None where it can."""
    if options.name not in RECIPES:
        return f"no recipe named {options.name!r}; choose one of {', '.join(RECIPES)}"
    if options.output.is_dir():
        return f"{options.output} is a folder; give the name of a file"
    if not options.output.parent.is_dir():
        return f"{options.output.parent} is not a folder; make it first"
    if options.output.exists() and not options.force:
        return f"{options.output} exists; use --force to overwrite it"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one network; returns 0, or 2 where the request is refused."""
    options = parse_arguments(arguments)
    refusal = complaint(options)
    if refusal:
        print(f"recipes.py: {refusal}", file=sys.stderr)
        return 2
    onnx.save(RECIPES[options.name](options.seed, options.batch), options.output)
    print(f"{options.output}: {options.name}, {options.output.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
