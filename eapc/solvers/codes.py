"""Weights as whole multiples of one step per row, steps and multiples chosen together.

A row v = s q of codes q from -last to last has the error s^2 q H q^T - 2 s g q^T, which for given
codes is least at

    s = (g q^T) / (q H q^T)                                                                   (1)

So the first steps, of the least error by the diagonal of H, and the codes by them (see `grids`)
are improved in turn: the step by equation 1, then one code after another. Neither raises the
error. Where all rows have one step, both sums of equation 1 are those of all rows.

Few codes are far apart, and weights rounded one by one end in a poor corner. There the codes are
first sought by ADMM, as the places of zeros are (see `admm`): V fits the outputs, Z is the nearest
weight of so many non-zeros on a grid of its own steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    start, units = layer.scaled(weight), _units(layer, last)
    steps = fitting_factors(start, units)
    rounded = fed_back(layer.problem, start, mask, _at(units, steps))
    best = _improved(layer.problem, rounded, units, steps, mask)
    if last <= _FEW_CODES:
        pattern = None if mask.all() else pattern
        found, steps = _sought(layer, start, steps, mask, last, pattern)
        own = mask if pattern is None else found != 0
        best = _better(layer.problem, best, _improved(layer.problem, found, units, steps, own))
    found, steps = best
    return CodedWeight(layer.unscaled(found), np.where(found.any(axis=2, keepdims=True), steps, 0))


@single_thread()
def rescaled(
    problem: LayerProblem, weight: Float32, grid: WeightGrid, is_one: bool = False
) -> CodedWeight:
    """The weight on a grid whose steps have a factor for each row, or one for all: its `steps`.

    `weight` is the best without a grid. What is zero stays so, and nothing else becomes it.
    """
    layer, mask = scaled(problem), (weight != 0) & (grid.step != 0)
    units = replace(grid, step=grid.step * layer.unit)
    start = np.where(mask, layer.scaled(weight), 0)
    factors = fitting_factors(start, units, is_one)
    factors = np.where(factors > 0, factors, 1)
    rounded = fed_back(layer.problem, start, mask, _at(units, factors))
    found, factors = _improved(layer.problem, rounded, units, factors, mask, is_one)
    return CodedWeight(_at(grid, factors).nearest(layer.unscaled(found), mask), factors)


def fitting_factors(values: NDArray[np.floating], grid: WeightGrid, is_one: bool = False) -> Steps:
    """The factor of each row's steps, or of all, for the least sum of (v - f s q)^2.

    q are the best codes of the values v (groups, m, k) by steps f s of the grid.
    """
    axis = None if is_one else 2
    step, reach = np.where(grid.step == 0, 1, grid.step), np.where(values < 0, -grid.low, grid.high)
    ratio = np.abs(values / step) / np.where(reach > 0, reach, 1)
    whole = np.where(reach > 0, ratio, 0).max(axis=axis, keepdims=True)
    best, least = whole.copy(), np.full(whole.shape, np.inf)
    for fraction in _SHRINK:
        error = np.square(values - _rounded(values, _at(grid, whole * fraction)))
        total = error.sum(axis=axis, keepdims=True)
        best = np.where(total < least, whole * fraction, best)
        least = np.minimum(total, least)
    return np.asarray(best, np.float64)


def _rounded(values: NDArray[np.floating], grid: WeightGrid) -> Steps:
    codes = np.rint(values / np.where(grid.step == 0, 1, grid.step))
    return np.asarray(np.clip(codes, grid.low, grid.high) * grid.step)


def _at(grid: WeightGrid, factors: Steps) -> WeightGrid:
    return replace(grid, step=factors * grid.step)


def _units(layer: ScaledProblem, last: int) -> WeightGrid:
    """The grid of codes up to `last` whose steps are 1, in the scaled problem's units."""
    step = np.broadcast_to(layer.unit, layer.problem.weight.shape)
    high = np.broadcast_to(np.float64(last), step.shape)
    return WeightGrid(step, -high, high, zeros=True)


def _improved(
    problem: LayerProblem,
    weight: Float32,
    grid: WeightGrid,
    factors: Steps,
    mask: NDArray[np.bool_],
    is_one: bool = False,
) -> tuple[Float32, Steps]:
    """A weight on a grid, its codes and the factors of its steps (equation 1) bettered in turn."""
    weight = descended(problem, weight, mask, _at(grid, factors))
    sums = "gmk,gmk->" if is_one else "gmk,gmk->gm"
    for _ in range(_ROUNDS):
        product, square = (
            np.asarray(np.einsum(sums, weight, other, dtype=np.float64))
            for other in (problem.G, problem.gram.times(weight))
        )
        factor = np.divide(product, square, out=np.ones_like(square), where=square > 0)
        factor = np.where(factor > 0, factor, 1)[..., None]
        factors = factors * factor
        moved = (weight * factor).astype(np.float32)
        found = descended(problem, moved, mask, _at(grid, factors))
        is_same = np.array_equal(found, moved)
        weight = found
        if is_same:
            break
    return weight, factors


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
    nonzeros, ends = int(np.count_nonzero(mask)), np.full(values.shape, float(last))
    for _ in range(2):
        rounded = _rounded(values, WeightGrid(steps * unit, -ends, ends))
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
