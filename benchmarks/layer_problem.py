"""Score the layer solvers beside each other and beside the scores of others.

    python benchmarks/layer_problem.py                # 64x576 and 256x2304: a minute
    python benchmarks/layer_problem.py --large        # and 512x4608, 1024x4096: ten more
    python benchmarks/layer_problem.py --shapes 64x576 --patterns 2:4 kernel --methods admm eap

The problems and the reference come from $EAPC_DATA/benchmarks (../shared by default); the
second moments are not timed. One BLAS thread, CPU seconds; inputs count as three by three
kernel positions where a pattern asks. Columns: the output error on inputs that were not
fitted, mean over the seeds (four for the small shape, one for others) and seed 0's; that over
exact Optimal Brain Surgeon's, which the reference has for seed 0; CPU seconds; and the share
of the machine's float32 matrix product rate, of products alone and with factorisations.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
from shared_data import ROOT, shared_folder

sys.path.insert(0, str(ROOT))

from eapc.registry import METHODS
from eapc.solvers import (
    LayerProblem,
    MomentAccumulator,
    blas,
    parse_pattern,
    single_thread,
    solve,
)

SMALL, LARGE = ((64, 576), (256, 2304)), ((512, 4608), (1024, 4096))
EXACT = "exact_obs_reference_code"
POSITIONS = 9
HEADER = (
    "shape     pattern        zeros method             error    seed 0  of OBS    CPU s share  all"
)

Shape = tuple[int, int]
Scores = dict[tuple[str, float, str], tuple[float, float]]


@dataclass(frozen=True)
class Task:
    """One layer to prune, and what scores the result."""

    problem: LayerProblem
    error: Callable[[np.ndarray], float]


def main() -> None:
    options = parse_options()
    folder = shared_folder() / "benchmarks"
    generator = load_generator(folder / "layer_problem.py")
    reference = load_reference(folder / "layer_reference.csv")
    shapes = options.shapes or (SMALL + LARGE if options.large else SMALL)
    print(HEADER)
    with single_thread():
        for shape in shapes:
            rate = product_rate(*shape)
            seeds = options.seeds or (range(4) if shape == SMALL[0] else range(1))
            tasks = [make_task(generator, shape, seed) for seed in seeds]
            for text in options.patterns:
                for sparsity in options.sparsities if text == "unstructured" else (0.5,):
                    score_all(tasks, shape, text, sparsity, rate, options.methods, reference)
                    if text == "unstructured":
                        print_reference(reference, shape, sparsity)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Score the layer solvers.")
    parser.add_argument("--shapes", nargs="+", type=parse_shape)
    parser.add_argument("--large", action="store_true", help="512x4608 and 1024x4096 too")
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.5, 0.7, 0.9])
    parser.add_argument("--patterns", nargs="+", default=["unstructured"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int)
    return parser.parse_args()


def parse_shape(text: str) -> Shape:
    outputs, inputs = text.split("x")
    return int(outputs), int(inputs)


def load_generator(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("layer_problem_generator", path)
    if spec is None or spec.loader is None or not path.exists():
        sys.exit(f"skipped: {path} is absent; point EAPC_DATA at its data")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_reference(path: Path) -> Scores:
    """{(shape, sparsity, method): (error, CPU seconds)}; empty without the file."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {
            (row["outputs_x_inputs"], float(row["sparsity"]), row["method"]): (
                float(row["relative_output_error"]),
                float(row["cpu_seconds_one_thread"]),
            )
            for row in csv.DictReader(file)
        }


def make_task(generator: ModuleType, shape: Shape, seed: int) -> Task:
    """The layer problem, about zero as the score is."""
    m, k = shape
    weight, x_fit, x_test = generator.make_problem(m, k, seed=seed)
    moments = MomentAccumulator(1, k, m)
    moments.add(x_fit[None], (x_fit @ weight.T)[None])
    problem = LayerProblem.from_moments(weight[None], moments.finish().uncentred())
    return Task(problem, lambda w: generator.relative_output_error(weight, w[0], x_test))


def score_all(
    tasks: list[Task],
    shape: Shape,
    text: str,
    sparsity: float,
    rate: float,
    methods: list[str],
    reference: Scores,
) -> None:
    exact = reference.get((name_of(shape), sparsity, EXACT)) if text == "unstructured" else None
    for method in methods:
        for thorough in (False, True) if METHODS[method].thorough else (False,):
            name = method + (" thorough" if thorough else "")
            pattern = parse_pattern(text, POSITIONS)
            errors, seconds, products, work = score(
                tasks, sparsity, method=method, thorough=thorough, pattern=pattern
            )
            of_exact = f"{errors[0] / exact[0]:6.3f}" if exact else "     -"
            print(
                f"{name_of(shape):9s} {text:14s} {sparsity:4.2f} {name:14s} "
                f"{statistics.mean(errors):9.6f} {errors[0]:9.6f}  {of_exact} {seconds:8.3f} "
                f"{products / rate:5.0%} {work / rate:5.0%}",
                flush=True,
            )


def score(
    tasks: list[Task], sparsity: float, **options: Any
) -> tuple[list[float], float, float, float]:
    """Errors, median CPU seconds, operations a second of products alone and of all."""
    errors, seconds, products, factorisations = [], [], 0.0, 0.0
    for task in tasks:
        nonzeros = int((1 - sparsity) * task.problem.weight.size)
        with counted() as count:
            begin = time.process_time()
            weight = solve(task.problem, nonzeros, **options)
            seconds.append(time.process_time() - begin)
        errors.append(task.error(weight))
        products += count["product"]
        factorisations += count["factorisation"]
    total = sum(seconds)
    return (
        errors,
        statistics.median(seconds),
        products / total,
        (products + factorisations) / total,
    )


def print_reference(reference: Scores, shape: Shape, sparsity: float) -> None:
    for (where, zeros, method), (error, seconds) in reference.items():
        if (where, zeros) == (name_of(shape), sparsity):
            print(
                f"    reference              {zeros:4.2f} {method:24s}{error:9.6f} {seconds:16.3f}"
            )


def name_of(shape: Shape) -> str:
    return f"{shape[0]}x{shape[1]}"


@contextmanager
def counted() -> Iterator[dict[str, float]]:
    """Collect the floating-point operations of matrix products and of factorisations."""
    counts = {"product": 0.0, "factorisation": 0.0}
    product, inverses, factors = np.matmul, blas.inverses, blas.inverse_factors

    def counting_product(a: Any, b: Any, **options: Any) -> Any:
        counts["product"] += 2 * a.size * b.shape[-1]
        return product(a, b, **options)

    def cubes(function: Callable[..., Any], factor: float) -> Callable[..., Any]:
        def counting(matrices: Any, *arguments: Any) -> Any:
            counts["factorisation"] += factor * matrices.size * matrices.shape[-1]
            return function(matrices, *arguments)

        return counting

    with (
        mock.patch.object(np, "matmul", counting_product),
        mock.patch.object(blas, "inverses", cubes(inverses, 1)),
        mock.patch.object(blas, "inverse_factors", cubes(factors, 2 / 3)),
        mock.patch.object(blas, "solve", cubes(blas.solve, 1 / 3)),
    ):
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
