"""Exact least squares on a given support, for all rows of a layer.

Each row v of a layer problem minimises v H v^T - 2 g v^T over its own support S: v_S H_SS =
g_S. Short or shared supports are factorised; otherwise conjugate gradients run for all rows
at once with everything off the support masked out, one matrix product an iteration [1].

[1] Meng et al. 2024, ALPS: Improved optimization for highly sparse one-shot pruning for
    large language models.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eapc.solvers import blas
from eapc.solvers.problem import LayerProblem

TOLERANCE = 1e-3
"""Residual of a row's normal equations, relative to their right-hand side.

What is left of the error beyond it is below the difference between calibration samples.
"""

MAX_ITERATIONS = 200

# Orders of magnitude of one core; only their ratios decide anything.
_EXPECTED_ITERATIONS = 20
_PRODUCT_FLOPS_PER_SECOND = 1e11
_PASSES_WORDS_PER_SECOND = 3e8
_PRODUCT_OVERHEAD_SECONDS = 1e-6
_FACTOR_FLOPS_PER_SECOND = 1e10
_GATHERED_WORDS_PER_SECOND = 3e8
_FACTOR_OVERHEAD_SECONDS = 3e-5

_Support = tuple[int, bytes]


def least_squares(
    problem: LayerProblem,
    mask: NDArray[np.bool_],
    start: NDArray[np.float32] | None = None,
    *,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> NDArray[np.float32]:
    """The best weight (groups, m, k) of those that are zero off `mask`.

    `problem` is a scaled one: its unit diagonal of H preconditions the iteration, which
    begins at `start` (the problem's weight by default), cut to the mask.
    """
    supports = _rows_by_support(mask)
    if _factorising_seconds(supports, mask) < _iterating_seconds(mask, problem.gram.work):
        return _factorise(problem, supports, mask)
    begin = problem.weight if start is None else start
    return conjugate_gradients(problem, mask, begin, tolerance, max_iterations)


def conjugate_gradients(
    problem: LayerProblem,
    mask: NDArray[np.bool_],
    start: NDArray[np.float32],
    tolerance: float,
    max_iterations: int,
) -> NDArray[np.float32]:
    """Least squares on `mask` by at most `max_iterations` products with H.

    A row stops when its residual is `tolerance` of its right-hand side (or of its first
    residual, if that is larger).
    """
    support = mask.astype(np.float32)
    solution = start * support
    target = problem.G * support
    residual = problem.gram.times(solution)
    residual *= support
    np.subtract(target, residual, out=residual)
    direction = residual.copy()
    product = np.empty_like(residual)
    power = _row_dot(residual, residual)
    goal = tolerance**2 * np.maximum(_row_dot(target, target), power)
    for _ in range(max_iterations):
        active = power > goal
        if not active.any():
            break
        problem.gram.times(direction, out=product)
        product *= support
        curvature = _row_dot(direction, product)
        step = _ratio(power, curvature, active & (curvature > 0))
        product *= step
        residual -= product
        np.multiply(direction, step, out=product)
        solution += product
        power, before = _row_dot(residual, residual), power
        direction *= _ratio(power, before, active)
        direction += residual
    return solution


def _row_dot(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inner products of rows, (groups, m, 1)."""
    return np.asarray(np.einsum("gmk,gmk->gm", a, b)[:, :, None])


def _ratio(
    a: NDArray[np.float32], b: NDArray[np.float32], where: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """a / b, and 0 outside `where`."""
    return np.divide(a, b, out=np.zeros_like(a), where=where)


def _rows_by_support(mask: NDArray[np.bool_]) -> dict[_Support, list[int]]:
    """Rows of each group that share a support: {(group, mask's bytes): rows}."""
    supports: dict[_Support, list[int]] = {}
    for group, rows in enumerate(mask):
        for row, support in enumerate(rows):
            supports.setdefault((group, support.tobytes()), []).append(row)
    return supports


def _factorising_seconds(supports: dict[_Support, list[int]], mask: NDArray[np.bool_]) -> float:
    groups, firsts = zip(*((key[0], rows[0]) for key, rows in supports.items()), strict=True)
    sizes = np.count_nonzero(mask[groups, firsts], axis=1).astype(np.float64)
    flops = float((sizes**3).sum()) / 3
    return (
        flops / _FACTOR_FLOPS_PER_SECOND
        + float((sizes**2).sum()) / _GATHERED_WORDS_PER_SECOND
        + len(supports) * _FACTOR_OVERHEAD_SECONDS
    )


def _iterating_seconds(mask: NDArray[np.bool_], work: int) -> float:
    seconds: float = (
        mask.size * work / _PRODUCT_FLOPS_PER_SECOND
        + mask.size / _PASSES_WORDS_PER_SECOND
        + len(mask) * _PRODUCT_OVERHEAD_SECONDS
    )
    return _EXPECTED_ITERATIONS * seconds


def _factorise(
    problem: LayerProblem, supports: dict[_Support, list[int]], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Least squares with one Cholesky factorisation per support."""
    solution = np.zeros_like(problem.weight)
    with blas.single_thread():
        for (group, _), rows in supports.items():
            inputs = np.flatnonzero(mask[group, rows[0]])
            if inputs.size:
                gram = problem.gram.corner(group, inputs)
                entries = np.ix_(np.array(rows), inputs)
                solution[group][entries] = blas.solve(gram, problem.G[group][entries])
    return solution
