"""Weights on a grid: two and three weights by hand, against all multiples there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from test_solvers import problem_of

from eapc.solvers import DenseGram, LayerProblem, RowGram, WeightGrid, on_grid, refit
from eapc.solvers.grids import fed_back


def grid_of(weight: NDArray[np.float32], step: float, low: int = -8, high: int = 7) -> WeightGrid:
    full = np.ones(weight.shape)
    return WeightGrid(step * full, low * full, high * full)


def best_of_all(problem: LayerProblem, mask: NDArray[np.bool_], grid: WeightGrid) -> float:
    """The least objective of one row, by trying every multiple of every weight."""
    choices = [
        [n for n in range(int(low), int(high) + 1) if n != 0] if held else [0]
        for low, high, held in zip(grid.low.flat, grid.high.flat, mask.flat, strict=True)
    ]
    tried = (np.array(each, np.float32).reshape(mask.shape) for each in product(*choices))
    return min(problem.objective((each * grid.step).astype(np.float32)) for each in tried)


def test_two_weights_by_hand() -> None:
    """Both 0.6, H = [[1, 0.9], [0.9, 1]]: 1 and 1 lose 0.608, 1 and 0 would lose 0.088.

    0 is no choice for what is to stay, so that the second takes the nearer of -1 and 1.
    v_2 + (g - v H)_2 / H_22 is 0.6 - 0.9 * 0.4 = 0.24, whose nearest is 0, and so 1.
    """
    problem = problem_of([[0.6, 0.6]], [[1, 0.9], [0.9, 1]])
    grid = grid_of(problem.weight, 1)
    np.testing.assert_array_equal(on_grid(problem, problem.weight, grid), [[[1, 1]]])


def test_the_second_weight_makes_up_for_the_first() -> None:
    """1.4 becomes 1, which leaves 2.4 + 0.9 * 0.4 = 2.76 for the other: 3 instead of 2."""
    problem = problem_of([[1.4, 2.4]], [[1, 0.9], [0.9, 1]])
    grid = grid_of(problem.weight, 1)
    mask = np.ones((1, 1, 2), np.bool_)
    np.testing.assert_array_equal(grid.nearest(problem.weight, mask), [[[1, 2]]])
    np.testing.assert_array_equal(fed_back(problem, problem.weight, mask, grid), [[[1, 3]]])
    np.testing.assert_array_equal(on_grid(problem, problem.weight, grid), [[[1, 3]]])


def test_a_weight_moves_once_others_are_known() -> None:
    """The first is rounded before all others, and moves on where they end elsewhere.

    With the second at its bound of 1 (it would be 2.4) the first takes 1.4 + 0.9 * 1.4 = 2.66.
    """
    problem = problem_of([[1.4, 2.4]], [[1, 0.9], [0.9, 1]])
    grid = grid_of(problem.weight, 1, high=7)
    high = np.array([[[7.0, 1.0]]])
    found = on_grid(problem, problem.weight, WeightGrid(grid.step, grid.low, high))
    np.testing.assert_array_equal(found, [[[3, 1]]])


def test_zeros_stay_and_steps_of_zero_hold_nothing() -> None:
    problem = problem_of([[1.4, 0, 2.4]], np.eye(3).tolist())
    grid = grid_of(problem.weight, 0.5)
    step = np.array([[[0.5, 0.5, 0.0]]])
    found = on_grid(problem, problem.weight, WeightGrid(step, grid.low, grid.high))
    np.testing.assert_array_equal(found, [[[1.5, 0, 0]]])


def test_a_range_above_zero_only() -> None:
    """Unsigned codes with the zero point 0: what is negative takes 1 step."""
    problem = problem_of([[-0.7, 0.2]], np.eye(2).tolist())
    grid = grid_of(problem.weight, 0.5, low=0)
    np.testing.assert_array_equal(on_grid(problem, problem.weight, grid), [[[0.5, 0.5]]])


@pytest.mark.parametrize("k", [2, 3])
def test_near_the_best_of_all_multiples(k: int) -> None:
    """Of 40 rows most are the best there is, and none is worse than plain rounding."""
    rng, best = np.random.default_rng(k), 0
    for _ in range(40):
        root = rng.standard_normal((k, k + 1))
        problem = problem_of([(4 * rng.random(k) - 2).tolist()], (root @ root.T).tolist())
        mask = np.ones((1, 1, k), np.bool_)
        grid = grid_of(problem.weight, 0.7, -3, 3)
        found = on_grid(problem, problem.weight, grid)
        plain = problem.objective(grid.nearest(problem.weight, mask))
        least = best_of_all(problem, mask, grid)
        now = problem.objective(found)
        assert (found != 0).all()
        assert least - 1e-3 <= now <= plain + 1e-3
        best += now <= least + 1e-3
    assert best >= 28


def test_many_inputs_in_both_forms_of_the_gram_matrix() -> None:
    """Of 80 inputs, more than a block, half stay; the error is well below plain rounding's."""
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((2, 60, 80)) @ rng.standard_normal((80, 80)) / 9).astype(np.float32)
    weight = rng.standard_normal((2, 6, 80)).astype(np.float32)
    rows = RowGram(x, np.full((2, 80), 0.5, np.float32))
    dense = DenseGram(rows.dense())
    np.testing.assert_allclose(rows.columns(slice(3, 9)), dense.columns(slice(3, 9)), atol=1e-4)
    mask = rng.random(weight.shape) < 0.5
    grid = grid_of(weight, 0.3)
    errors = []
    for gram in (rows, dense):
        problem = LayerProblem(weight, gram, gram.times(weight))
        fitted = refit(problem, mask)
        base = problem.objective(fitted)
        found = on_grid(problem, fitted, grid)
        np.testing.assert_array_equal(found != 0, mask)
        np.testing.assert_allclose(found / 0.3, np.rint(found / 0.3), atol=1e-4)
        plain = problem.objective(grid.nearest(fitted, mask)) - base
        errors.append((problem.objective(found) - base) / plain)
    assert max(errors) < 0.5
    assert errors[0] == pytest.approx(errors[1], rel=0.1)
