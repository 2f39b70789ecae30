"""Pruning one layer: the named methods, and the two ways to use a layer problem cheaply.

Those that score each weight by itself leave the survivors as they are: what the outputs lose in
mean is for a bias to take up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eapc.registry import METHODS
from eapc.solvers.admm import QUICK, STANDARD, THOROUGH, AdmmSettings, admm
from eapc.solvers.blas import single_thread
from eapc.solvers.least_squares import conjugate_gradients, least_squares
from eapc.solvers.patterns import UNSTRUCTURED, Pattern
from eapc.solvers.problem import LayerProblem, importance, scaled

Solver = Callable[[LayerProblem, int, Pattern], NDArray[np.float32]]
"""(problem, nonzeros, pattern) -> weight (groups, m, k)."""


@dataclass(frozen=True)
class Method:
    """A way to prune one layer, entered under its name in `eapc.registry.METHODS`."""

    standard: Solver
    thorough: Solver | None = None
    """With more time for a better result; None where the method has just one."""
    fits: bool = True
    """Survivors get new values, and a bias the change of the mean; else both stay as they are."""
    refits_behind_activations: bool = False
    """Survivors are fitted again to targets that an activation behind the layer leaves free."""


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


# --- scores --------------------------------------------------------------------------------------


def magnitude(problem: LayerProblem, nonzeros: int, pattern: Pattern) -> NDArray[np.float32]:
    """Keep the largest |w| of the layer [1].

    [1] Han et al. 2015, Learning both weights and connections for efficient neural networks.
    """
    return _kept(problem.weight, pattern.mask(problem.weight, nonzeros))


def wanda(problem: LayerProblem, nonzeros: int, pattern: Pattern) -> NDArray[np.float32]:
    """Keep the largest |w| ||x|| of the layer [1].

    ||x||^2 is diag H: damped, and about the means where a bias takes them up. [1] compares
    the weights of one output for language models, those of a whole layer for image
    classifiers; here it is the layer, as with every method.

    [1] Sun et al. 2023, A simple and effective pruning approach for large language models.
    """
    return _kept(problem.weight, pattern.mask(importance(problem), nonzeros))


def _kept(weight: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(mask, weight, np.float32(0))


MAGNITUDE = Method(magnitude, fits=False)
WANDA = Method(wanda, fits=False)
