"""The named methods: by hand, against each other, and on what is not a usual layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from test_solvers import correlated, layer, moments_of, problem_of

from eapc.errors import DataError, UsageError
from eapc.registry import METHODS
from eapc.solvers import DenseGram, LayerProblem, blas, parse_pattern, solve
from eapc.solvers.problem import scaled

Float32 = NDArray[np.float32]

PATTERN_TEXTS = ("unstructured", "2:4", "block:4x1", "block:2x3", "kernel")
FITTING = ("admm", "eap", "sparsegpt")


# --- by hand ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("text", "positions", "expected"),
    [
        ("unstructured", 1, [[4, 0, -3, 0], [0, -5, 6, 0]]),
        ("2:4", 1, [[4, 0, -3, 0], [0, -5, 6, 0]]),
        ("1:2", 1, [[4, 0, -3, 0], [0, -5, 6, 0]]),
        ("block:2x2", 1, [[0, 0, -3, 2], [0, 0, 6, 2.5]]),
        # Two positions of two channels: squares 16 + 9, 1 + 4 and 0.25 + 36, 25 + 6.25.
        ("kernel", 2, [[0, 0, 0, 0], [0.5, -5, 6, 2.5]]),
    ],
)
def test_uncorrelated_inputs_of_one_size_make_all_methods_agree(
    method: str, text: str, positions: int, expected: list[list[float]]
) -> None:
    problem = problem_of([[4, 1, -3, 2], [0.5, -5, 6, 2.5]], np.eye(4).tolist())
    pattern = parse_pattern(text, positions)
    pruned = solve(problem, 4, method=method, pattern=pattern)
    np.testing.assert_allclose(pruned, np.array([expected]), rtol=1e-4)


def test_magnitude_looks_at_weights_and_wanda_at_inputs_too() -> None:
    # |w| 3, 2; |w| ||x|| 3, 4.
    problem = problem_of([[3, 2]], [[1, 0], [0, 4]])
    np.testing.assert_array_equal(solve(problem, 1, method="magnitude"), [[[3, 0]]])
    np.testing.assert_array_equal(solve(problem, 1, method="wanda"), [[[0, 2]]])


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_scores_leave_survivors_as_they_are(method: str) -> None:
    weight, _, problem = layer()
    pruned = solve(problem, 50, method=method)
    assert np.count_nonzero(pruned) == 50
    np.testing.assert_array_equal(pruned[pruned != 0], weight[pruned != 0])


def test_sparsegpt_of_two_inputs_by_hand() -> None:
    # H^-1 = [2 -1; -1 2] / 3 = U^T U: U_11^2 = 2/3, U_22^2 = 2/3 - 1/6 = 1/2. Costs of the cut
    # 1 / (2/3) = 1.5 and 4 / (1/2) = 8: the first goes, and the second takes up -w_1 U_12 / U_11
    # = 1/2 of it. What comes before has been decided: cutting the second moves nothing.
    problem = problem_of([[1, 2]], [[2, 1], [1, 2]])
    np.testing.assert_allclose(solve(problem, 1, method="sparsegpt"), [[[0, 2.5]]], rtol=1e-6)
    other = problem_of([[2, 1]], [[2, 1], [1, 2]])
    np.testing.assert_allclose(solve(other, 1, method="sparsegpt"), [[[2, 0]]], rtol=1e-6)


def test_eap_restores_what_the_fit_cannot_make_up_for() -> None:
    # Magnitude keeps input 1 alone of two survivors (0.6 * 2). Inputs 1 and 2 are nearly
    # copies, so the fit of input 1 has done the second's work; the third, smaller, is missed.
    problem = problem_of([[5, 3, 2]], [[1, 0.99, 0], [0.99, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(solve(problem, 2, method="eap"), [[[5 + 0.99 * 3, 0, 2]]], rtol=1e-5)
    np.testing.assert_array_equal(solve(problem, 2, method="magnitude"), [[[5, 3, 0]]])


def test_the_factor_of_an_inverse() -> None:
    _, _, problem = layer(groups=2, m=1, k=40)
    matrices = scaled(problem).problem.gram.dense()
    factor = blas.inverse_factors(matrices)
    assert not np.tril(factor, -1).any()
    product = factor.transpose(0, 2, 1) @ factor @ matrices
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(40), (2, 40, 40)), atol=1e-3)
    with pytest.raises(np.linalg.LinAlgError):
        blas.inverse_factors(np.array([[[1, 2], [2, 1]]], np.float32))


# --- against each other ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("density", [0.1, 0.3, 0.5])
def test_each_method_earns_its_effort(density: float, seed: int) -> None:
    _, moments, problem = layer(m=16, k=144, rows=2000, seed=seed)
    count = int(density * problem.weight.size)
    error = {name: moments.relative_error(solve(problem, count, method=name)) for name in METHODS}
    assert error["admm"] < error["eap"] < error["wanda"]
    assert error["admm"] < error["sparsegpt"] < error["wanda"]
    thorough = moments.relative_error(solve(problem, count, thorough=True))
    assert thorough < 1.005 * error["admm"]


def test_inputs_that_hardly_correlate_leave_little_to_gain() -> None:
    # With independent inputs the largest weights are the best choice, whatever the method.
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((1, 32, 200)).astype(np.float32)
    gram = np.eye(200, dtype=np.float32)[None]
    problem = LayerProblem(weight, DenseGram(gram), weight.copy())
    largest = problem.objective(solve(problem, 640, method="magnitude"))
    for thorough in (False, True):
        found = problem.objective(solve(problem, 640, thorough=thorough))
        assert found == pytest.approx(largest, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("density", [0.1, 0.3, 0.5])
def test_eap_improves_on_magnitude(density: float, seed: int) -> None:
    _, _, problem = layer(m=16, k=48, rows=200, seed=seed)
    count = int(density * problem.weight.size)
    restored = problem.objective(solve(problem, count, method="eap"))
    assert restored < problem.objective(solve(problem, count, method="magnitude"))


@pytest.mark.parametrize("text", PATTERN_TEXTS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_meets_every_pattern(method: str, text: str) -> None:
    _, moments, problem = layer(groups=2, m=10, k=63, rows=500)
    pattern = parse_pattern(text, 9)
    count = int(0.4 * problem.weight.size)
    pruned = solve(problem, count, method=method, pattern=pattern)
    mask = pruned != 0
    np.testing.assert_array_equal(pattern.mask(pruned, int(mask.sum())), mask)
    attainable = pattern.attainable(pruned.shape, count)
    assert attainable - 3 * 2 < mask.sum() <= attainable
    if method != "magnitude":
        scored = solve(problem, count, method="magnitude", pattern=pattern)
        assert moments.relative_error(pruned) < moments.relative_error(scored)


# --- layers out of the usual -----------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e30])
def test_huge_and_denormal_weights(method: str, scale: float) -> None:
    weight, _, _ = layer()
    weight = (weight * scale).astype(np.float32)
    x = correlated(np.random.default_rng(0), 1, 400, 24)
    problem = LayerProblem.from_moments(weight, moments_of(x, x @ weight.transpose(0, 2, 1)))
    for text in ("unstructured", "2:4", "block:4x1"):
        pruned = solve(problem, 96, method=method, pattern=parse_pattern(text))
        assert np.isfinite(pruned).all()
        assert pruned.any()
        assert np.count_nonzero(pruned) <= 96


@pytest.mark.parametrize("method", METHODS)
def test_dead_and_constant_inputs_and_layers(method: str) -> None:
    rng = np.random.default_rng(4)
    x = correlated(rng, 2, 200, 8)
    x[0, :, 1] = 0.1  # constant
    x[0, :, 2] = 0  # dead
    x[1] = 0.7  # a whole group
    weight = rng.standard_normal((2, 4, 8)).astype(np.float32)
    moments = moments_of(x, x @ weight.transpose(0, 2, 1), batches=3)
    problem = LayerProblem.from_moments(weight, replace(moments, inputs=10**8))
    for text in PATTERN_TEXTS:
        pruned = solve(problem, 20, method=method, pattern=parse_pattern(text, 4))
        assert np.isfinite(pruned).all()
        assert pruned[0].any()
        if method not in ("magnitude", "eap") and text == "unstructured":  # else |w| has a say
            assert not pruned[0, :, 1:3].any()
            assert not pruned[1].any()
    zero = LayerProblem(problem.weight * 0, problem.gram, problem.G * 0)
    assert not solve(zero, 20, method=method).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_refused(value: float) -> None:
    weight, moments, _ = layer()
    weight[0, 1, 2] = value
    with pytest.raises(DataError, match="the weights are too large for float32 or not finite"):
        LayerProblem.from_moments(weight, moments)
    weight, _, _ = layer()
    x = correlated(np.random.default_rng(0), 1, 100, 24)
    y = x @ weight.transpose(0, 2, 1)
    x[0, 3, 5] = value
    with pytest.raises(DataError, match="products of"):
        LayerProblem.from_moments(weight, moments_of(x, y))


@pytest.mark.parametrize("method", METHODS)
def test_bytes_do_not_depend_on_threads(method: str) -> None:
    _, _, problem = layer(m=64, k=300, rows=600)
    pruned = solve(problem, 6000, method=method)
    with blas.single_thread():
        assert solve(problem, 6000, method=method).tobytes() == pruned.tobytes()


def test_an_unknown_method_is_a_usage_error() -> None:
    _, _, problem = layer()
    with pytest.raises(UsageError, match="unknown method 'magic'; choose from admm, eap"):
        solve(problem, 5, method="magic")
