"""Pruning one layer: the named methods, and the two ways to use a layer problem cheaply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eapc.errors import UsageError
from eapc.solvers.admm import QUICK, STANDARD, THOROUGH, admm
from eapc.solvers.least_squares import conjugate_gradients, least_squares
from eapc.solvers.problem import LayerProblem, ScaledProblem, scaled
from eapc.solvers.projection import PROJECTIONS, Projection, unstructured

Method = Callable[[ScaledProblem, int, Projection, bool], NDArray[np.float32]]
"""(problem, nonzeros, projection, thorough) -> scaled weight (groups, m, k)."""

_T = TypeVar("_T")

_QUICK_FIT_ITERATIONS = 3


def _admm(
    layer: ScaledProblem, nonzeros: int, project: Projection, thorough: bool
) -> NDArray[np.float32]:
    settings = THOROUGH if thorough else STANDARD
    mask, start = admm(layer.problem, nonzeros, project, settings)
    return least_squares(layer.problem, mask, start)


METHODS: Mapping[str, Method] = MappingProxyType({"admm": _admm})


def solve(
    problem: LayerProblem,
    nonzeros: int,
    *,
    method: str = "admm",
    pattern: str = "unstructured",
    thorough: bool = False,
) -> NDArray[np.float32]:
    """The weight (groups, m, k) with at most `nonzeros` non-zeros that a method finds.

    Raises UsageError if the method or the pattern is unknown, ValueError if `nonzeros` is
    negative.
    """
    prune = _named(METHODS, "method", method)
    project = _named(PROJECTIONS, "pattern", pattern)
    _require_count(nonzeros)
    if nonzeros == 0:
        return np.zeros_like(problem.weight)
    layer = scaled(problem)
    return layer.unscaled(prune(layer, nonzeros, project, thorough))


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
        mask, start = admm(layer.problem, count, unstructured, QUICK)
        fitted = conjugate_gradients(layer.problem, mask, start, 0.0, _QUICK_FIT_ITERATIONS)
        pruned.append(layer.unscaled(fitted))
    return pruned


def _named(table: Mapping[str, _T], kind: str, name: str) -> _T:
    if name not in table:
        raise UsageError(f"unknown {kind} {name!r}; choose from {', '.join(sorted(table))}")
    return table[name]


def _require_count(nonzeros: int) -> None:
    if nonzeros < 0:
        raise ValueError(f"nonzeros: expected 0 or more, got {nonzeros}")
