"""Weights on a grid: whole multiples of a step, for the least error of the layer's outputs.

The best real weights are rounded a few inputs at a time; after each step the others are fitted
again, so that they make up for what was rounded (Optimal Brain Quantizer [1], with inputs in the
order that they have). Then one weight after another takes the multiple that is best with all
others as they are, until none moves: a row v has the error v H v^T - 2 g v^T, which over one
weight alone is least at

    v_j + (g - v H)_j / H_jj                                                                (1)

so that the nearest multiple to that is best.

[1] Frantar, Singh, Alistarh 2022, Optimal Brain Compression: a framework for accurate
    post-training quantization and pruning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eapc.model import nearest_steps
from eapc.solvers.blas import single_thread
from eapc.solvers.least_squares import conjugate_gradients
from eapc.solvers.problem import LayerProblem, scaled

Float32 = NDArray[np.float32]

_STEPS = 32
"""Inputs are rounded in so many steps, one at a time where there are no more."""

_ITERATIONS = 4
"""Of conjugate gradients after each step, which changes little."""

_TOLERANCE = 1e-3

_SWEEPS = 10
"""Rounds over all weights; the first two or three move most of those that move."""

_BLOCK = 64
"""Inputs whose residuals are kept up to date one by one; those of the others follow a block."""


@dataclass(frozen=True)
class WeightGrid:
    """Multiples n * step of low <= n <= high, each (groups, m, k); steps are 0 or more.

    0 is always one of them. A step of 0 leaves nothing but 0. With `zeros` what is no zero may
    become one.
    """

    step: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    zeros: bool = False

    def part(self, inputs: slice | int) -> WeightGrid:
        """That of some of the k inputs."""
        step, low, high = (each[:, :, inputs] for each in (self.step, self.low, self.high))
        return WeightGrid(step, low, high, self.zeros)

    def nearest(self, weight: NDArray[np.floating], mask: NDArray[np.bool_]) -> Float32:
        """The nearest multiples: 0 off the mask, and on it if that may be."""
        if self.zeros:
            wanted = weight / np.where(self.step == 0, 1, self.step)
            steps = np.clip(np.rint(wanted), self.low, self.high)
            return np.where(mask, steps * self.step, 0).astype(np.float32)
        steps = nearest_steps(weight, self.step, self.low, self.high)
        one = np.where(self.high >= 1, 1, -1)
        steps = np.where(steps == 0, one, steps)
        return np.where(mask, steps * self.step, 0).astype(np.float32)


@single_thread()
def on_grid(problem: LayerProblem, weight: Float32, grid: WeightGrid) -> Float32:
    """A weight (groups, m, k) of multiples with the zeros of `weight`, for the least objective.

    `weight` is the best without a grid. What is no zero becomes none, but for steps of 0 and
    grids with `zeros`.
    """
    layer, mask = scaled(problem), (weight != 0) & (grid.step != 0)
    own = replace(grid, step=grid.step * layer.unit)
    rounded = fed_back(layer.problem, layer.scaled(weight), mask, own)
    found = descended(layer.problem, rounded, mask, own)
    return grid.nearest(layer.unscaled(found), mask)


def fed_back(
    problem: LayerProblem, weight: Float32, mask: NDArray[np.bool_], grid: WeightGrid
) -> Float32:
    """Rounded a few inputs at a time, the others fitted to what is left each time."""
    fixed, free = np.zeros_like(weight), mask.copy()
    for inputs in _parts(mask.shape[2], -(-mask.shape[2] // _STEPS)):
        fixed[:, :, inputs] = grid.part(inputs).nearest(weight[:, :, inputs], mask[:, :, inputs])
        free[:, :, inputs] = False
        left = replace(problem, G=problem.G - problem.gram.times(fixed))
        weight = conjugate_gradients(left, free, weight, _TOLERANCE, _ITERATIONS)
    return fixed


def descended(
    problem: LayerProblem, weight: Float32, mask: NDArray[np.bool_], grid: WeightGrid
) -> Float32:
    """Equation 1 for one input after another, of all rows at once, until nothing moves."""
    weight = weight.copy()
    for _ in range(_SWEEPS):
        residual = problem.G - problem.gram.times(weight)
        has_moved = False
        for inputs in _parts(mask.shape[2], _BLOCK):
            rows = problem.gram.columns(inputs)
            change = _moved(rows[:, :, inputs], weight, residual, mask, grid, inputs)
            if change.any():
                has_moved = True
                residual -= np.matmul(change, rows)
        if not has_moved:
            break
    return weight


def _moved(
    corner: Float32,
    weight: Float32,
    residual: Float32,
    mask: NDArray[np.bool_],
    grid: WeightGrid,
    inputs: slice,
) -> Float32:
    """Move the weights of a block of inputs, in place; by how much, (groups, m, block)."""
    left, before = residual[:, :, inputs].copy(), weight[:, :, inputs].copy()
    for place, j in enumerate(range(inputs.start, inputs.stop)):
        now = weight[:, :, j]
        wanted = now + left[:, :, place] / corner[:, place, place][:, None]
        best = grid.part(j).nearest(wanted, mask[:, :, j])
        left -= (best - now)[:, :, None] * corner[:, place][:, None, :]
        weight[:, :, j] = best
    return weight[:, :, inputs] - before


def _parts(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(count, start + size))
