"""Weights as whole multiples of one step per row, steps and multiples chosen together.

A row v = s q of codes q from -last to last has the error s^2 q H q^T - 2 s g q^T, which for given
codes is least at

    s = (g q^T) / (q H q^T)                                                                   (1)

So the first steps, of the least error by the diagonal of H, and the codes by them (see `grids`)
are improved in turn: the step by equation 1, then one code after another. Neither raises the
error.

Few codes are far apart, and weights rounded one by one end in a poor corner. There the codes are
first sought by ADMM, as the places of zeros are (see `admm`): V fits the outputs, Z is the nearest
weight of so many non-zeros on a grid of its own steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eapc.solvers.admm import AdmmSettings
from eapc.solvers.blas import single_thread
from eapc.solvers.grids import Float32, WeightGrid, descended, fed_back
from eapc.solvers.patterns import Pattern
from eapc.solvers.problem import LayerProblem, ScaledProblem, scaled

Steps = NDArray[np.float64]
"""(groups, m, 1)"""

_SHRINK = np.linspace(1.0, 0.1, 46)
"""Fractions of a row's largest weight that are tried as its last code."""

_ROUNDS = 4
"""Of steps and codes in turn; most is won in the first two."""

_FEW_CODES = 3
"""Codes on either side of 0 up to which they are sought together: widths of 2 and 3 bits."""

_SEARCH = AdmmSettings(iterations=60, stages=6, first_rho=0.3, annealed=0.0)
"""Within 1 % of the output error of 200 iterations from 0.03 on, on layers of 144 and 288 inputs.

A last coupling of 0.3 leaves up to 15 % more error, where inputs are correlated.
"""


@dataclass(frozen=True)
class CodedWeight:
    """A weight (groups, m, k) of whole multiples of `steps` (groups, m, 1); 0 for rows of zeros."""

    weight: Float32
    steps: Steps


@single_thread()
def coded(
    problem: LayerProblem, weight: Float32, bits: int, pattern: Pattern | None = None
) -> CodedWeight:
    """The weight on grids of codes up to 2^(bits-1) - 1 on either side of 0.

    `weight` is the best without a grid. Its zeros stay; with a `pattern` and few codes others of
    that pattern may take their place, as many in all. Without zeros there are none to be placed.
    """
    last = 2 ** (bits - 1) - 1
    layer, mask = scaled(problem), weight != 0
    start = layer.scaled(weight)
    steps = nearest_steps_of_rows(start, layer.unit, last)
    rounded = fed_back(layer.problem, start, mask, _grid(layer, steps, last))
    best = _improved(layer, rounded, steps, mask, last)
    if last <= _FEW_CODES:
        pattern = None if mask.all() else pattern
        found, steps = _sought(layer, start, steps, mask, last, pattern)
        own = mask if pattern is None else found != 0
        best = _better(layer.problem, best, _improved(layer, found, steps, own, last))
    found, steps = best
    return CodedWeight(layer.unscaled(found), np.where(found.any(axis=2, keepdims=True), steps, 0))


def nearest_steps_of_rows(values: NDArray[np.floating], unit: Steps, last: int) -> Steps:
    """The step s of each row of the least sum of (v - s u q)^2 over its values, q its best codes.

    `values` (groups, m, k) are in units u (groups, 1 or m, k).
    """
    whole = np.abs(values / unit).max(axis=2, keepdims=True) / last
    best, least = whole.copy(), np.full(whole.shape, np.inf)
    for fraction in _SHRINK:
        error = np.square(values - _rounded(values, unit, whole * fraction, last))
        total = error.sum(axis=2, keepdims=True)
        best = np.where(total < least, whole * fraction, best)
        least = np.minimum(total, least)
    return np.asarray(best, np.float64)


def _rounded(values: NDArray[np.floating], unit: Steps, steps: Steps, last: int) -> Steps:
    size = steps * unit
    codes = np.rint(values / np.where(size == 0, 1, size))
    return np.asarray(np.clip(codes, -last, last) * size)


def _grid(layer: ScaledProblem, steps: Steps, last: int) -> WeightGrid:
    """The grid of rows' steps, in the scaled problem's units."""
    step = np.broadcast_to(steps * layer.unit, layer.problem.weight.shape)
    high = np.broadcast_to(np.float64(last), step.shape)
    return WeightGrid(step, -high, high, zeros=True)


def _improved(
    layer: ScaledProblem, weight: Float32, steps: Steps, mask: NDArray[np.bool_], last: int
) -> tuple[Float32, Steps]:
    """A weight on a grid, its codes and steps (equation 1) bettered in turn."""
    weight = descended(layer.problem, weight, mask, _grid(layer, steps, last))
    for _ in range(_ROUNDS):
        product = np.einsum("gmk,gmk->gm", weight, layer.problem.G, dtype=np.float64)
        square = np.einsum(
            "gmk,gmk->gm", weight, layer.problem.gram.times(weight), dtype=np.float64
        )
        factor = np.divide(product, square, out=np.ones_like(square), where=square > 0)
        factor = np.where(factor > 0, factor, 1)[:, :, None]
        steps = steps * factor
        moved = (weight * factor).astype(np.float32)
        found = descended(layer.problem, moved, mask, _grid(layer, steps, last))
        is_same = np.array_equal(found, moved)
        weight = found
        if is_same:
            break
    return weight, steps


def _sought(
    layer: ScaledProblem,
    start: Float32,
    steps: Steps,
    mask: NDArray[np.bool_],
    last: int,
    pattern: Pattern | None,
) -> tuple[Float32, Steps]:
    """Codes and steps by ADMM, on the mask or on another of as many and of the pattern."""
    problem, kept = layer.problem, start.copy()
    dual = np.zeros_like(kept)
    rho, inverse = 0.0, problem.gram
    for iteration in range(_SEARCH.iterations):
        now = _SEARCH.rho(iteration)
        if now != rho:
            dual *= np.float32(rho / now)
            rho, inverse = now, problem.gram.inverse(now)
        fitted = inverse.times(problem.G + np.float32(rho) * (kept - dual)) + dual
        kept, steps = _projected(fitted, layer.unit, steps, mask, last, pattern)
        dual = fitted - kept
    return kept, steps


def _projected(
    values: Float32,
    unit: Steps,
    steps: Steps,
    mask: NDArray[np.bool_],
    last: int,
    pattern: Pattern | None,
) -> tuple[Float32, Steps]:
    """The nearest weight on grids of rows' own steps, which begin at `steps`.

    The nearest of a pattern leaves out those that gain least over 0.
    """
    nonzeros = int(np.count_nonzero(mask))
    for _ in range(2):
        rounded = _rounded(values, unit, steps, last)
        if pattern is not None:
            gain = np.square(values) - np.square(values - rounded)
            mask = pattern.mask(np.sqrt(np.maximum(gain, 0)), nonzeros)
        rounded *= mask
        product = (values * rounded).sum(axis=2, keepdims=True, dtype=np.float64)
        square = np.square(rounded).sum(axis=2, keepdims=True)
        factor = np.divide(product, square, out=np.ones_like(square), where=square > 0)
        steps = steps * factor
    return (rounded * factor).astype(np.float32), steps


def _better(
    problem: LayerProblem, one: tuple[Float32, Steps], other: tuple[Float32, Steps]
) -> tuple[Float32, Steps]:
    return min(one, other, key=lambda pair: problem.objective(pair[0]))
