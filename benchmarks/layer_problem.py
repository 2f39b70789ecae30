"""Score the layer solver beside the reference scores of other methods.

    python benchmarks/layer_problem.py [--shapes 64x576 256x2304] [--sparsities 0.5 0.9]
                                       [--seeds 0 1 2 3] [--method admm] [--thorough]

The problems and the reference come from $EAPC_DATA/benchmarks (../shared by default); the
second moments are not timed. One BLAS thread, CPU seconds; the error is the mean over the
seeds (and seed 0's, which the reference has), on inputs that were not fitted. The last two
columns are the rate of the solver's matrix products over its whole time, and the share of
what the largest of them reach alone.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from eapc.solvers import METHODS, LayerProblem, MomentAccumulator, solve  # noqa: E402
from eapc.solvers.blas import single_thread  # noqa: E402


def main() -> None:
    options = parse_options()
    folder = Path(os.environ.get("EAPC_DATA", ROOT.parent / "shared")) / "benchmarks"
    if not (folder / "layer_problem.py").exists():
        print(f"skipped: {folder}/layer_problem.py is absent; point EAPC_DATA at its data")
        return
    generator = load_generator(folder / "layer_problem.py")
    reference = load_reference(folder / "layer_reference.csv")
    print("method      shape    sparsity    error   seed 0    CPU s  GFLOP/s  share")
    with single_thread():
        for shape in options.shapes:
            rate = product_rate(*shape)
            problems = [make_layer(generator, shape, seed) for seed in options.seeds]
            for sparsity in options.sparsities:
                score(problems, shape, sparsity, rate, options)
                print_reference(reference, shape, sparsity)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Score the layer solver.")
    parser.add_argument("--shapes", nargs="+", type=parse_shape, default=[(64, 576)])
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.5, 0.7, 0.9])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--method", choices=sorted(METHODS), default="admm")
    parser.add_argument("--thorough", action="store_true")
    return parser.parse_args()


def parse_shape(text: str) -> tuple[int, int]:
    outputs, inputs = text.split("x")
    return int(outputs), int(inputs)


def load_generator(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("layer_problem_generator", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_reference(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def make_layer(generator: ModuleType, shape: tuple[int, int], seed: int) -> tuple[Any, ...]:
    """The layer problem, about zero as the score is, and what scores a weight."""
    m, k = shape
    weight, x_fit, x_test = generator.make_problem(m, k, seed=seed)
    moments = MomentAccumulator(1, k, m)
    moments.add(x_fit[None], (x_fit @ weight.T)[None])
    problem = LayerProblem.from_moments(weight[None], moments.finish().uncentred())
    return problem, lambda w: generator.relative_output_error(weight, w[0], x_test)


def score(
    problems: list[tuple[Any, ...]],
    shape: tuple[int, int],
    sparsity: float,
    rate: float,
    options: argparse.Namespace,
) -> None:
    errors, seconds, flops = [], [], []
    for problem, error in problems:
        nonzeros = int((1 - sparsity) * problem.weight.size)
        with counted_products() as count:
            begin = time.process_time()
            weight = solve(problem, nonzeros, method=options.method, thorough=options.thorough)
            seconds.append(time.process_time() - begin)
        errors.append(error(weight))
        flops.append(sum(count))
    name = options.method + (" thorough" if options.thorough else "")
    speed = sum(flops) / sum(seconds)
    print(
        f"{name:13s} {shape[0]}x{shape[1]:<6d} {sparsity:4.2f}  {statistics.mean(errors):9.6f} "
        f"{errors[0]:9.6f} {statistics.median(seconds):7.3f} {speed / 1e9:8.1f} "
        f"{speed / rate:5.0%}"
    )


def print_reference(
    reference: list[dict[str, str]], shape: tuple[int, int], sparsity: float
) -> None:
    for row in reference:
        same_shape = row["outputs_x_inputs"] == f"{shape[0]}x{shape[1]}"
        if same_shape and float(row["sparsity"]) == sparsity:
            error, seconds = (
                float(row["relative_output_error"]),
                float(row["cpu_seconds_one_thread"]),
            )
            print(f"    {row['method']:24s} {'':9s} {error:9.6f} {seconds:7.3f}")


@contextmanager
def counted_products() -> Iterator[list[int]]:
    """Collect the floating-point operations of every `np.matmul`."""
    counts: list[int] = []
    product = np.matmul

    def counted(a: Any, b: Any, **options: Any) -> Any:
        counts.append(2 * a.size * b.shape[-1])
        return product(a, b, **options)

    with mock.patch.object(np, "matmul", counted):
        yield counts


def product_rate(m: int, k: int) -> float:
    """Floating-point operations a second of (m, k) @ (k, k) in float32: the best of ten."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, k), dtype=np.float32)
    b = rng.standard_normal((k, k), dtype=np.float32)
    out = np.empty_like(a)
    repeats = max(1, int(1e9 / (2 * m * k * k)))
    best = float("inf")
    for _ in range(10):
        begin = time.process_time()
        for _ in range(repeats):
            np.matmul(a, b, out=out)
        best = min(best, (time.process_time() - begin) / repeats)
    return 2 * m * k * k / best


if __name__ == "__main__":
    main()
