"""Pruning one layer: the named methods, and the two ways to use a layer problem cheaply."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eapc.registry import METHODS
from eapc.solvers.admm import QUICK, STANDARD, THOROUGH, AdmmSettings, admm
from eapc.solvers.blas import single_thread
from eapc.solvers.least_squares import conjugate_gradients, least_squares
from eapc.solvers.method import Method, Solver
from eapc.solvers.patterns import UNSTRUCTURED, Pattern
from eapc.solvers.problem import LayerProblem, scaled


def _admm(settings: AdmmSettings) -> Solver:
    """A mask by ADMM, then least squares on it."""

    def prune(problem: LayerProblem, nonzeros: int, pattern: Pattern) -> NDArray[np.float32]:
        layer = scaled(problem)
        mask, start = admm(layer.problem, nonzeros, pattern, settings)
        return layer.unscaled(least_squares(layer.problem, mask, start))

    return prune


ADMM = Method(_admm(STANDARD), _admm(THOROUGH), refits_behind_activations=True)

_QUICK_FIT_ITERATIONS = 3


@single_thread()
def solve(
    problem: LayerProblem,
    nonzeros: int,
    *,
    method: str = "admm",
    pattern: Pattern = UNSTRUCTURED,
    thorough: bool = False,
) -> NDArray[np.float32]:
    """The weight (groups, m, k) of the pattern that a method finds.

    It has at most `nonzeros` non-zeros, or the number that the pattern fixes, whichever
    `Pattern.attainable` says. `thorough` makes no difference to methods with one result.

    Raises UsageError if the method is unknown, ValueError if `nonzeros` is negative.
    """
    METHODS.require(method)
    _require_count(nonzeros)
    if pattern.attainable(problem.weight.shape, nonzeros) == 0:
        return np.zeros_like(problem.weight)
    chosen: Method = METHODS[method]
    prune = chosen.thorough if thorough and chosen.thorough else chosen.standard
    return prune(problem, nonzeros, pattern)


@single_thread()
def refit(
    problem: LayerProblem,
    mask: NDArray[np.bool_],
    start: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """The best weight (groups, m, k) that is zero wherever `mask` is false.

    A `start` near it, of the same shape, saves iterations; by default the problem's weight.
    """
    layer = scaled(problem)
    begin = None if start is None else layer.scaled(start)
    return layer.unscaled(least_squares(layer.problem, mask, begin))


@single_thread()
def quick_prune(problem: LayerProblem, nonzeros: Sequence[int]) -> list[NDArray[np.float32]]:
    """A weight for each number of non-zeros, roughly fitted: points of an error curve.

    A few iterations of ADMM and of conjugate gradients: so the curve is that of the method
    which the points stand for.

    Raises ValueError if a number of non-zeros is negative.
    """
    layer = scaled(problem)
    pruned = []
    for count in nonzeros:
        _require_count(count)
        mask, start = admm(layer.problem, count, UNSTRUCTURED, QUICK)
        fitted = conjugate_gradients(layer.problem, mask, start, 0.0, _QUICK_FIT_ITERATIONS)
        pruned.append(layer.unscaled(fitted))
    return pruned


def _require_count(nonzeros: int) -> None:
    if nonzeros < 0:
        raise ValueError(f"nonzeros: expected 0 or more, got {nonzeros}")
