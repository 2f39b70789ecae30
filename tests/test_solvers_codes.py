"""Codes and the steps of their rows: a few weights by hand, against all codes there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from test_solvers import layer, problem_of

from eapc.solvers import LayerProblem, coded, parse_pattern, refit
from eapc.solvers.codes import _projected, fitting_factors, rescaled
from eapc.solvers.grids import WeightGrid, on_grid
from eapc.solvers.patterns import Unstructured


def grid_of(shape: tuple[int, ...], low: int, high: int) -> WeightGrid:
    """Codes of step 1."""
    return WeightGrid(np.ones(shape), np.full(shape, float(low)), np.full(shape, float(high)))


def best_of_all(problem: LayerProblem, last: int) -> float:
    """The least objective of one row over all codes, each with its best step."""
    choices = product(range(-last, last + 1), repeat=problem.weight.shape[2])
    found = []
    for codes in choices:
        row = np.array(codes, np.float32).reshape(problem.weight.shape)
        square = float((row * problem.gram.times(row)).sum())
        found.append(-(float((row * problem.G).sum()) ** 2) / square if square else 0.0)
    return min(found)


def test_two_weights_share_the_step_that_the_outputs_ask_for() -> None:
    """H = diag(1, 3): 1 and 2 as codes 1 and 1 have s = (1 * 1 + 3 * 2) / (1 + 3) = 1.75.

    They lose 0.75^2 + 3 * 0.25^2 = 0.75, codes 0 and 1 of s = 2 would lose 1.
    """
    found = coded(problem_of([[1, 2]], [[1, 0], [0, 3]]), np.array([[[1, 2]]], np.float32), bits=2)
    np.testing.assert_allclose(found.weight, [[[1.75, 1.75]]], rtol=1e-6)
    np.testing.assert_allclose(found.steps, [[[1.75]]], rtol=1e-6)


def test_what_is_small_becomes_zero() -> None:
    """Codes 1, -1, 0 of s = 1 lose 0.03; 1, -1, 1 of s = 0.7 lose 0.04 + 0.16 + 0.36."""
    problem = problem_of([[0.9, -1.1, 0.1]], np.eye(3).tolist())
    found = coded(problem, problem.weight, bits=2)
    np.testing.assert_allclose(found.weight, [[[1, -1, 0]]], rtol=1e-6)


def test_first_steps_leave_the_least_square_of_what_is_lost() -> None:
    """1 and four times 0.3 lose 0.392 as five codes of 0.44, 0.36 as one of 1 and zeros.

    With 0.9 in place of 1 five of the mean, 0.42, lose less: 0.288.
    """
    grid = grid_of((1, 1, 5), -1, 1)
    assert fitting_factors(np.array([[[1, 0.3, 0.3, 0.3, 0.3]]]), grid).item() == 1
    found = fitting_factors(np.array([[[0.9, 0.3, 0.3, 0.3, 0.3]]]), grid)
    assert found.item() == pytest.approx(0.42, abs=0.01)


def test_a_grid_is_stretched_by_a_factor_for_each_row_or_for_all() -> None:
    """H = diag(1, 3), codes up to 1: rows (1, 2) and (2, 4) have steps of 1.75 and 3.5.

    One step for all is (1 + 6 + 2 + 12) / 8 = 2.625.
    """
    problem = problem_of([[1, 2], [2, 4]], [[1, 0], [0, 3]])
    grid = grid_of((1, 2, 2), -1, 1)
    rows = rescaled(problem, problem.weight, grid)
    np.testing.assert_allclose(rows.weight, [[[1.75, 1.75], [3.5, 3.5]]], rtol=1e-6)
    np.testing.assert_allclose(rows.steps, [[[1.75], [3.5]]], rtol=1e-6)
    whole = rescaled(problem, problem.weight, grid, is_one=True)
    np.testing.assert_allclose(whole.weight, np.full((1, 2, 2), 2.625), rtol=1e-6)
    assert whole.steps.shape == (1, 1, 1)


def test_what_is_to_stay_becomes_no_zero_and_zeros_stay() -> None:
    problem = problem_of([[0.9, -1.1, 0.1]], np.eye(3).tolist())
    weight = np.array([[[0.9, 0, 0.1]]], np.float32)
    found = rescaled(problem, weight, grid_of((1, 1, 3), -1, 1)).weight
    np.testing.assert_array_equal(found != 0, weight != 0)


def test_survivors_beyond_the_range_lose_less_by_a_longer_step() -> None:
    """Weights of about 100 are cut off at 4 steps of 1."""
    weight, _, problem = layer()
    large = (weight * 100).astype(np.float32)
    problem = LayerProblem(large, problem.gram, problem.G * 100)
    grid = grid_of(weight.shape, -4, 4)
    stays = problem.objective(on_grid(problem, large, grid))
    assert problem.objective(rescaled(problem, large, grid).weight) < stays


def test_the_projection_takes_the_weights_that_gain_most_and_their_step() -> None:
    """By 1.5, what 2, 1.8 and 1 gain over 0 is 3.75, 3.15 and 0.75; s of the first two is 1.9."""
    values = np.array([[[2, 1.8, -0.2, 1]]], np.float32)
    ones, mask = np.ones(values.shape), np.array([[[True, False, True, False]]])
    found, steps = _projected(values, ones, np.full((1, 1, 1), 1.5), mask, 1, Unstructured())
    np.testing.assert_allclose(found, [[[1.9, 1.9, 0, 0]]], rtol=1e-6)
    np.testing.assert_allclose(steps, [[[1.9]]], rtol=1e-6)


def test_the_projection_keeps_the_zeros_of_a_mask() -> None:
    """Off the mask is the first; 1.8 and 1 are both nearer to 1.5 than to 0: s = 1.4."""
    values = np.array([[[2, 1.8, -0.2, 1]]], np.float32)
    mask = np.array([[[False, True, True, True]]])
    found, _ = _projected(values, np.ones((1, 1, 4)), np.full((1, 1, 1), 1.5), mask, 1, None)
    np.testing.assert_allclose(found, [[[0, 1.4, 0, 1.4]]], rtol=1e-6)


def nearest(weight: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    last = 2 ** (bits - 1) - 1
    steps = fitting_factors(weight, grid_of(weight.shape, -last, last))
    return np.asarray(steps * np.clip(np.rint(weight / steps), -last, last), np.float32)


@pytest.mark.parametrize(("bits", "share"), [(8, 0.8), (4, 0.8), (3, 0.8), (2, 0.8)])
def test_fitted_codes_lose_less_than_the_nearest(bits: int, share: float) -> None:
    """Of what weights without a grid gain, the nearest codes lose more on correlated inputs."""
    weight, _, problem = layer(groups=2)
    mask = np.abs(weight) > 0.5
    fitted = refit(problem, mask)
    least = problem.objective(fitted)
    lost = problem.objective(coded(problem, fitted, bits).weight) - least
    assert lost < share * (problem.objective(nearest(fitted, bits)) - least)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_weights_are_codes_of_their_steps_with_the_same_zeros(bits: int) -> None:
    weight, _, problem = layer()
    start = np.where(np.abs(weight) > 0.5, weight, 0).astype(np.float32)
    start[:, 2] = 0
    found = coded(problem, start, bits)
    assert not found.weight[start == 0].any()
    assert found.steps[0, 2] == 0
    codes = found.weight / np.where(found.steps == 0, 1, found.steps)
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-3)
    assert np.abs(codes).max() <= 2 ** (bits - 1) - 0.99


def test_zeros_may_move_where_their_number_is_given() -> None:
    """Of three weights the zero is that of the largest: it comes back in place of the least."""
    problem = problem_of([[2, 1.9, 0.1]], np.eye(3).tolist())
    start = np.array([[[0, 1.9, 0.1]]], np.float32)
    kept = coded(problem, start, bits=2).weight
    moved = coded(problem, start, bits=2, pattern=Unstructured()).weight
    np.testing.assert_allclose(kept, [[[0, 1.9, 0]]], rtol=1e-6)
    np.testing.assert_allclose(moved, [[[1.95, 1.95, 0]]], rtol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_near_the_best_of_all_codes(seed: int) -> None:
    _, _, problem = layer(m=1, k=7, seed=seed)
    best = best_of_all(problem, 1)
    assert problem.objective(coded(problem, problem.weight, bits=2).weight) <= 0.98 * best


def test_zeros_that_move_are_as_many() -> None:
    weight, _, problem = layer(groups=2)
    start = refit(problem, np.abs(weight) > 1)
    moved = coded(problem, start, bits=2, pattern=Unstructured()).weight
    kept = coded(problem, start, bits=2).weight
    assert np.count_nonzero(moved) <= np.count_nonzero(start)
    assert problem.objective(moved) < problem.objective(kept)


def test_a_weight_without_zeros_is_given_none_by_a_pattern() -> None:
    _, _, problem = layer()
    one = coded(problem, problem.weight, bits=3, pattern=parse_pattern("2:4"))
    other = coded(problem, problem.weight, bits=3)
    np.testing.assert_array_equal(one.weight, other.weight)
