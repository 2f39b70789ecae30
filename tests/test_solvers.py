"""The layer problem: moments, projections, least squares, ADMM and the named methods."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eapc.errors import DataError, UsageError
from eapc.registry import METHODS
from eapc.solvers import (
    DenseGram,
    LayerProblem,
    MomentAccumulator,
    Moments,
    RowGram,
    blas,
    combine,
    quick_prune,
    refit,
    solve,
)
from eapc.solvers.admm import STANDARD, THOROUGH, AdmmSettings
from eapc.solvers.least_squares import _factorise, _rows_by_support, conjugate_gradients
from eapc.solvers.patterns import Unstructured
from eapc.solvers.problem import scaled

Float32 = NDArray[np.float32]


def correlated(rng: np.random.Generator, groups: int, rows: int, k: int) -> Float32:
    """Inputs (groups, rows, k) whose columns share factors."""
    mixing = rng.standard_normal((groups, max(k // 2, 1), k))
    factors = rng.standard_normal((groups, rows, max(k // 2, 1)))
    noise = 0.3 * rng.standard_normal((groups, rows, k))
    return np.asarray(factors @ mixing / np.sqrt(k) + noise, dtype=np.float32)


def moments_of(x: Float32, y: Float32, batches: int = 1) -> Moments:
    accumulator = MomentAccumulator(x.shape[0], x.shape[2], y.shape[2])
    for xs, ys in zip(np.array_split(x, batches, 1), np.array_split(y, batches, 1), strict=True):
        accumulator.add(xs, ys)
    return accumulator.finish()


def layer(
    groups: int = 1, m: int = 8, k: int = 24, rows: int = 400, seed: int = 0
) -> tuple[Float32, Moments, LayerProblem]:
    """A random weight with the moments of its own inputs and outputs, and its problem."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((groups, m, k)).astype(np.float32)
    x = correlated(rng, groups, rows, k)
    moments = moments_of(x, x @ weight.transpose(0, 2, 1))
    return weight, moments, LayerProblem.from_moments(weight, moments)


def problem_of(weight: list[list[float]], H: list[list[float]]) -> LayerProblem:
    """One group's problem with G = W H, undamped."""
    w, h = np.array([weight], np.float32), np.array([H], np.float32)
    return LayerProblem(w, DenseGram(h), w @ h)


def copies(value: LayerProblem | Moments) -> dict[str, NDArray[np.generic]]:
    return {field.name: np.copy(as_array(value, field.name)) for field in fields(value)}


def as_array(value: LayerProblem | Moments, name: str) -> NDArray[np.generic]:
    field = getattr(value, name)
    return np.asarray(field.dense() if isinstance(field, DenseGram | RowGram) else field)


def assert_unchanged(value: LayerProblem | Moments, before: dict[str, NDArray[np.generic]]) -> None:
    for name, array in before.items():
        np.testing.assert_array_equal(as_array(value, name), array)


# --- moments ---------------------------------------------------------------------------------


def test_moments_of_three_rows_by_hand() -> None:
    x = np.array([[[1, 0], [3, 0], [5, 6]]], np.float32)
    y = np.array([[[2], [2], [5]]], np.float32)
    moments = moments_of(x, y, batches=3)
    assert moments.count == 3
    np.testing.assert_allclose(moments.x_mean, [[3, 2]])
    np.testing.assert_allclose(moments.y_mean, [[3]])
    np.testing.assert_allclose(moments.gram.dense(), np.array([[[8 / 3, 4], [4, 8]]]), rtol=1e-6)
    np.testing.assert_allclose(moments.yx, [[[2, 4]]], rtol=1e-6)
    np.testing.assert_allclose(moments.yy, [[2]])
    np.testing.assert_allclose(
        moments.uncentred().gram.dense(), np.array([[[35 / 3, 10], [10, 12]]]), rtol=1e-6
    )
    weight = np.array([[[0.5, 1]]], np.float32)  # shifts by -0.5: 0.25 of 0.25 + 2 / 2 is trusted
    np.testing.assert_allclose(moments.bias(weight), [[-0.1]])


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_moments_agree_with_float64_whatever_the_offset(offset: float) -> None:
    rng = np.random.default_rng(1)
    x = correlated(rng, 2, 10_000, 7) + np.float32(offset)
    y = correlated(rng, 2, 10_000, 3) - np.float32(offset)
    moments = moments_of(x, y, batches=3)
    exact_x, exact_y = x.astype(np.float64), y.astype(np.float64)
    np.testing.assert_allclose(moments.x_mean, exact_x.mean(1), rtol=1e-6, atol=1e-6)
    dx = exact_x - exact_x.mean(1, keepdims=True)
    dy = exact_y - exact_y.mean(1, keepdims=True)
    np.testing.assert_allclose(moments.gram.dense(), dx.transpose(0, 2, 1) @ dx / 10_000, atol=3e-6)
    np.testing.assert_allclose(moments.yx, dy.transpose(0, 2, 1) @ dx / 10_000, atol=3e-6)
    np.testing.assert_allclose(moments.yy, (dy**2).mean(1), rtol=1e-5)
    np.testing.assert_array_equal(moments.gram.dense(), moments.gram.dense().transpose(0, 2, 1))


def test_relative_error_and_bias_agree_with_the_outputs() -> None:
    rng = np.random.default_rng(2)
    x = correlated(rng, 2, 500, 6) + 2
    y = correlated(rng, 2, 500, 4) - 1
    weight = rng.standard_normal((2, 4, 6)).astype(np.float32)
    moments = moments_of(x, y)
    residual = y - (x @ weight.transpose(0, 2, 1) + moments.bias(weight)[:, None])
    expected = (residual**2).sum() / ((y - y.mean(1, keepdims=True)) ** 2).sum()
    assert moments.relative_error(weight) == pytest.approx(expected, rel=1e-4)
    expected = ((y - x @ weight.transpose(0, 2, 1)) ** 2).sum() / (y**2).sum()
    assert moments.uncentred().relative_error(weight) == pytest.approx(expected, rel=1e-4)


def test_relative_error_of_constant_targets() -> None:
    x = correlated(np.random.default_rng(0), 1, 50, 2)
    moments = moments_of(x, np.ones((1, 50, 1), np.float32))
    assert moments.relative_error(np.zeros((1, 1, 2), np.float32)) == 0
    assert moments.relative_error(np.ones((1, 1, 2), np.float32)) == float("inf")


def test_users_of_a_tied_weight_are_centred_each_by_its_own_mean() -> None:
    rng = np.random.default_rng(3)
    x = [correlated(rng, 1, rows, 4) + offset for rows, offset in ((100, 5), (300, -5))]
    y = [array[:, :, :2] * 2 + 1 for array in x]
    users = [moments_of(a, b) for a, b in zip(x, y, strict=True)]
    before = copies(users[0])
    together = combine(users)
    assert together.count == 400
    np.testing.assert_allclose(
        together.gram.dense(),
        users[0].gram.dense() / 4 + users[1].gram.dense() * 0.75,
        rtol=1e-5,
    )
    pooled = combine([user.uncentred() for user in users])
    direct = moments_of(np.concatenate(x, 1), np.concatenate(y, 1)).uncentred()
    np.testing.assert_allclose(pooled.gram.dense(), direct.gram.dense(), rtol=1e-5)
    np.testing.assert_allclose(pooled.yx, direct.yx, rtol=1e-5)
    assert_unchanged(users[0], before)


def test_moments_refuse_what_does_not_fit() -> None:
    accumulator = MomentAccumulator(1, 3, 2)
    with pytest.raises(ValueError, match="no rows"):
        accumulator.finish()
    with pytest.raises(ValueError, match=r"expected x and y of \(1, rows, 3\)"):
        accumulator.add(np.zeros((1, 5, 3), np.float32), np.zeros((1, 4, 2), np.float32))
    accumulator.add(np.zeros((1, 0, 3), np.float32), np.zeros((1, 0, 2), np.float32))
    with pytest.raises(ValueError, match="without users"):
        combine([])


# --- the problem -----------------------------------------------------------------------------


def test_damping_by_hand() -> None:
    moments = Moments(
        1,
        1.0,
        np.zeros((1, 2)),
        np.zeros((1, 1)),
        DenseGram(np.array([[[3, 1], [1, 1]]], np.float32)),
        np.array([[[4, 2]]], np.float32),
        np.ones((1, 1)),
        inputs=4,
    )
    problem = LayerProblem.from_moments(np.array([[[1, -1]]], np.float32), moments, 0.25)
    np.testing.assert_array_equal(
        problem.gram.dense(), [[[4, 1], [1, 2]]]
    )  # (0.25 + 1/4) * mean(3, 1) added
    np.testing.assert_array_equal(problem.G, [[[5, 1]]])
    assert problem.objective(np.array([[[1, 0]]], np.float32)) == 4 - 2 * 5
    with pytest.raises(FrozenInstanceError):
        problem.G = problem.weight  # type: ignore[misc]


def test_scaling_makes_the_diagonal_one_and_goes_back() -> None:
    weight, _, problem = layer(groups=2)
    units = scaled(problem)
    np.testing.assert_allclose(units.problem.gram.diagonal(), 1, rtol=1e-6)
    assert 0.5 <= np.abs(units.problem.weight).max() <= 1
    np.testing.assert_allclose(units.unscaled(units.problem.weight), weight, rtol=1e-6)


def test_weights_of_inputs_that_do_not_vary_go_first_and_else_stay_what_they_were() -> None:
    rng = np.random.default_rng(4)
    x = correlated(rng, 2, 200, 6)
    x[0, :, 1] = 0.1  # constant
    x[0, :, 2] = 0  # dead
    x[1] = 0.7  # a whole group
    weight = rng.standard_normal((2, 3, 6)).astype(np.float32)
    moments = moments_of(x, x @ weight.transpose(0, 2, 1), batches=3)
    problem = LayerProblem.from_moments(weight, replace(moments, inputs=10**6))
    alive = moments.gram.diagonal()[0, [0, 3, 4, 5]].sum() / 6
    diagonal = problem.gram.diagonal()
    np.testing.assert_allclose(diagonal[0, 1:3], alive / 10**6, rtol=1e-5)
    np.testing.assert_allclose(diagonal[1], alive / 2 / 10**6, rtol=1e-5)  # the mean of both groups
    pruned = solve(problem, 12)
    assert not pruned[0, :, 1:3].any()
    assert not pruned[1].any()
    whole = refit(problem, np.ones(weight.shape, bool))
    np.testing.assert_allclose(whole[1], weight[1], rtol=1e-3)
    np.testing.assert_allclose(whole[0, :, 1:3], weight[0, :, 1:3], rtol=1e-3)
    # Without a bias a constant input is as good as any.
    uncentred = LayerProblem.from_moments(weight, moments.uncentred())
    assert uncentred.gram.diagonal()[0, 1] > 10 * diagonal[0, 1]


def test_few_inputs_leave_the_weights_near_what_they_were() -> None:
    weight, moments, _ = layer(rows=40)
    mask = np.random.default_rng(5).random(weight.shape) < 0.5

    def moved(inputs: int) -> float:
        problem = LayerProblem.from_moments(weight, replace(moments, inputs=inputs))
        return float(np.abs(refit(problem, mask) - weight * mask).mean())

    assert moved(1) < moved(8) < moved(64) < moved(1024)


def test_a_matrix_without_a_factor_is_damped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    problem = problem_of([[1, 2]], [[1, 1.001], [1.001, 1]])
    with caplog.at_level(logging.WARNING):
        pruned = solve(problem, 1)
    assert np.isfinite(pruned).all()
    assert np.count_nonzero(pruned) == 1
    assert "1 of 1 Gram matrices are not positive definite" in caplog.text


def test_what_is_no_matrix_of_moments_is_refused() -> None:
    with pytest.raises(DataError, match="Gram matrix is not one"):
        solve(problem_of([[1, 2]], [[1, 1e6], [1e6, 1]]), 1)


def test_numbers_that_are_not_finite_are_refused() -> None:
    weight, moments, _ = layer()
    with pytest.raises(DataError, match="the weights are too large for float32 or not finite"):
        LayerProblem.from_moments(weight * np.float32(np.inf), moments)
    with pytest.raises(ValueError, match="expected a weight of"):
        LayerProblem.from_moments(weight[:, 1:], moments)


# --- projections -----------------------------------------------------------------------------


def test_one_threshold_over_rows_and_groups() -> None:
    values = np.array([[[5, -1], [2, 4]], [[-9, 0], [3, 8]]], np.float32)
    mask = Unstructured().mask(values, 3)
    np.testing.assert_array_equal(mask, [[[1, 0], [0, 0]], [[1, 0], [0, 1]]])


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(0, 35))
def test_exactly_so_many_survive_and_the_first_of_equals(entries: list[int], count: int) -> None:
    values = np.array(entries, np.float32).reshape(1, 1, -1)
    mask = Unstructured().mask(values, count).ravel()
    by_magnitude = sorted(range(len(entries)), key=lambda i: (-abs(entries[i]), i))
    assert set(np.flatnonzero(mask)) == set(by_magnitude[:count])


# --- least squares ---------------------------------------------------------------------------


def test_least_squares_of_two_inputs_by_hand() -> None:
    # Without the second input, the first takes over its share: 1 + 2 * (1 / 2).
    problem = problem_of([[1, 2]], [[2, 1], [1, 2]])
    np.testing.assert_allclose(refit(problem, np.array([[[True, False]]])), [[[2, 0]]], rtol=1e-6)
    np.testing.assert_allclose(refit(problem, np.array([[[True, True]]])), [[[1, 2]]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 8, 24), (1, 40, 200), (60, 1, 9), (3, 6, 12)])
def test_normal_equations_hold_on_the_support(shape: tuple[int, int, int]) -> None:
    groups, m, k = shape
    _, _, problem = layer(groups, m, k)
    mask = np.random.default_rng(5).random(shape) < 0.6
    units = scaled(problem).problem
    fitted = refit(problem, mask)
    assert not fitted[~mask].any()
    residual = (problem.G - fitted @ problem.gram.dense()) * mask
    assert np.abs(residual).max() < 2e-3 * np.abs(problem.G).max()
    direct = _factorise(units, _rows_by_support(mask), mask)
    iterated = conjugate_gradients(units, mask, units.weight, 1e-6, 500)
    np.testing.assert_allclose(direct, iterated, atol=2e-4)
    assert units.objective(iterated) >= units.objective(direct) * (1 + 1e-5)


def test_rows_with_empty_supports_are_zero() -> None:
    _, _, problem = layer()
    mask = np.zeros(problem.weight.shape, bool)
    assert not refit(problem, mask).any()
    mask[0, 3, :5] = True
    assert set(np.argwhere(refit(problem, mask))[:, 1]) == {3}


# --- methods ---------------------------------------------------------------------------------


def test_the_best_single_weight_by_hand() -> None:
    # Keeping input 1 alone: error H22 w2^2 - (H12 w2)^2 / H11 = 4 * 1.5; input 2: 1.5.
    problem = problem_of([[1, 2]], [[2, 1], [1, 2]])
    np.testing.assert_allclose(solve(problem, 1), [[[0, 2.5]]], rtol=1e-3)
    np.testing.assert_allclose(solve(problem, 2), [[[1, 2]]], rtol=1e-6)
    assert not solve(problem, 0).any()


def test_a_correlated_pair_is_merged_where_magnitude_fails() -> None:
    # Two copies of one input with weights 3 and 3: one weight of 6 does it all.
    problem = problem_of([[3, 3, 4]], [[1, 0.99, 0], [0.99, 1, 0], [0, 0, 1]])
    pruned = solve(problem, 2, thorough=True)
    assert np.count_nonzero(pruned[0, 0, :2]) == 1
    np.testing.assert_allclose(pruned.sum(), 3 + 0.99 * 3 + 4, rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    groups=st.integers(1, 3),
    m=st.integers(1, 6),
    k=st.integers(1, 12),
    rows=st.integers(1, 40),
    density=st.floats(0, 1.2),
    scale=st.sampled_from([1e-42, 1e-20, 1.0, 1e8]),
    seed=st.integers(0, 9),
)
def test_never_more_nonzeros_than_asked(
    groups: int, m: int, k: int, rows: int, density: float, scale: float, seed: int
) -> None:
    weight, moments, _ = layer(groups, m, k, rows, seed)
    weight = (weight * scale).astype(np.float32)
    x = correlated(np.random.default_rng(seed), groups, rows, k)
    moments = moments_of(x, x @ weight.transpose(0, 2, 1))
    problem = LayerProblem.from_moments(weight, moments)
    nonzeros = int(density * weight.size)
    for pruned in (solve(problem, nonzeros), *quick_prune(problem, [nonzeros])):
        assert pruned.shape == weight.shape
        assert pruned.dtype == np.float32
        assert np.isfinite(pruned).all()
        assert np.count_nonzero(pruned) <= nonzeros


@pytest.mark.parametrize("scale", [1e-30, 1e8])
def test_scale_of_the_weights_does_not_matter(scale: float) -> None:
    weight, _, problem = layer()
    exact = np.float32(2.0 ** round(np.log2(scale)))
    other = LayerProblem(weight * exact, problem.gram, problem.G * exact)
    np.testing.assert_array_equal(solve(other, 50), solve(problem, 50) * exact)


def test_error_falls_with_density_and_beats_a_fit_to_the_largest() -> None:
    weight, moments, problem = layer(m=16, k=48, rows=2000)
    counts = [int(density * weight.size) for density in (0.1, 0.3, 0.5, 0.8, 1.0)]
    errors = [moments.relative_error(solve(problem, count)) for count in counts]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-5
    quick = [moments.relative_error(pruned) for pruned in quick_prune(problem, counts)]
    assert quick == sorted(quick, reverse=True)
    for count, error, rough in zip(counts[:-1], errors[:-1], quick[:-1], strict=True):
        largest = refit(problem, Unstructured().mask(weight, count))
        assert error < 0.9 * moments.relative_error(largest)
        assert error < rough
        thorough = moments.relative_error(solve(problem, count, thorough=True))
        assert thorough < 1.02 * error


def test_an_all_zero_layer_stays_zero() -> None:
    _, moments, _ = layer()
    targets = {name: getattr(moments, name) * 0 for name in ("y_mean", "yx", "yy")}
    zero = replace(moments, **targets)
    weight = np.zeros(moments.yx.shape, np.float32)
    problem = LayerProblem.from_moments(weight, zero)
    assert not solve(problem, 100).any()
    assert not quick_prune(problem, [100])[0].any()


def test_fewer_rows_than_inputs() -> None:
    _, moments, problem = layer(m=4, k=60, rows=10)
    pruned = solve(problem, 120)
    assert np.count_nonzero(pruned) <= 120
    assert moments.relative_error(pruned) < 0.05


def test_depthwise_groups_share_one_threshold() -> None:
    weight, _, _ = layer(groups=64, m=1, k=9)
    weight = weight * np.linspace(0.1, 2, 64, dtype=np.float32)[:, None, None]
    x = correlated(np.random.default_rng(0), 64, 300, 9)
    problem = LayerProblem.from_moments(weight, moments_of(x, x @ weight.transpose(0, 2, 1)))
    pruned = solve(problem, 192)
    kept = np.count_nonzero(pruned, axis=(1, 2))
    assert kept.sum() == 192
    assert kept[:16].sum() < kept[-16:].sum()


def test_bytes_do_not_depend_on_threads_and_inputs_are_untouched() -> None:
    _, _, problem = layer(groups=2, m=24, k=200, rows=600)
    before = copies(problem)
    mask = problem.weight > 0
    alone = solve(problem, 3000), refit(problem, mask), *quick_prune(problem, [3000])
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda count: solve(problem, count), [3000] * 4))
    for pruned in together:
        assert pruned.tobytes() == alone[0].tobytes()
    with blas.single_thread():
        again = solve(problem, 3000), refit(problem, mask), *quick_prune(problem, [3000])
    assert [a.tobytes() for a in alone] == [a.tobytes() for a in again]
    assert_unchanged(problem, before)
    np.testing.assert_array_equal(mask, problem.weight > 0)


def test_single_thread_is_lifted_by_the_last_to_leave() -> None:
    from threadpoolctl import threadpool_info

    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with blas.single_thread():
        pass  # loads both libraries
    before = threads()
    assert len(before) >= 2
    with blas.single_thread():
        with blas.single_thread():
            assert set(threads()) == {1}
        assert set(threads()) == {1}
    assert threads() == before


def test_factorisations_of_matrices_that_are_not_positive_raise() -> None:
    indefinite = np.array([[[1, 2], [2, 1]]], np.float32)
    assert not blas.positive_definite(indefinite).any()
    with pytest.raises(np.linalg.LinAlgError):
        blas.inverses(indefinite, 0.5)
    with pytest.raises(np.linalg.LinAlgError):
        blas.solve(indefinite[0], np.ones((1, 2), np.float32))


def test_inverse_is_one_beyond_the_block_size() -> None:
    _, _, problem = layer(groups=2, m=1, k=300)
    matrices = scaled(problem).problem.gram.dense()
    product = blas.inverses(matrices, 0.5) @ (matrices + np.float32(0.5) * np.eye(300, dtype="f"))
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(300), (2, 300, 300)), atol=1e-4)


@pytest.mark.parametrize("plan", [STANDARD, THOROUGH, AdmmSettings(1, 1, 0.1, 0.1)])
def test_settings_go_from_first_to_last(plan: AdmmSettings) -> None:
    rhos = [plan.rho(iteration) for iteration in range(plan.iterations)]
    assert rhos == sorted(rhos)
    assert len(set(rhos)) == plan.stages
    assert rhos[0] == plan.first_rho
    assert rhos[-1] == pytest.approx(plan.last_rho)
    counts = [plan.nonzeros(iteration, 1000, 100) for iteration in range(plan.iterations)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 100


def test_unknown_names_are_usage_errors() -> None:
    _, _, problem = layer()
    assert "admm" in METHODS
    with pytest.raises(UsageError, match="unknown method 'magic'; choose from"):
        solve(problem, 5, method="magic")
    with pytest.raises(ValueError, match="expected 0 or more, got -1"):
        solve(problem, -1)
    with pytest.raises(ValueError, match="expected 0 or more, got -1"):
        quick_prune(problem, [-1])
