"""Channels taken out one after the other, against least squares on what is left."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from eapc.errors import DataError
from eapc.solvers import Consumer, DenseGram, LayerProblem, RowGram, eliminate, fitted
from eapc.solvers import elimination as module

Float64 = NDArray[np.float64]


def consumer(weight: Float64, H: Float64, width: int = 1, power: float | None = None) -> Consumer:
    """A layer with outputs y = W x and no damping; W (groups, m, k), H (groups, k, k)."""
    G = np.matmul(weight, H)
    made = float(np.einsum("gmk,gmk->", weight, G))
    groups, _, k = weight.shape
    inputs = np.tile(np.arange(k).reshape(1, -1, width), (groups, 1, 1))
    W, gram = weight.astype(np.float32), DenseGram(H.astype(np.float32))
    return Consumer(LayerProblem(W, gram, G.astype(np.float32)), inputs, power or made)


def drawn(seed: int, groups: int = 1, m: int = 3, channels: int = 5, width: int = 2) -> Consumer:
    """Correlated inputs."""
    rng = np.random.default_rng(seed)
    k = channels * width
    rows = rng.normal(size=(groups, 4 * k, k)) @ (np.eye(k) + 0.5 * rng.normal(size=(k, k)))
    H = np.matmul(rows.transpose(0, 2, 1), rows) / rows.shape[1]
    return consumer(rng.normal(size=(groups, m, k)), H, width)


def error_of(one: Consumer, weight: NDArray[np.float32]) -> float:
    """(tr(V H V^T) - 2 tr(V G^T) + E||y||^2) / E||y||^2 in float64."""
    V, H = weight.astype(np.float64), one.problem.gram.dense().astype(np.float64)
    W = one.problem.weight.astype(np.float64)
    return float(np.einsum("gmk,gkl,gml->", V - W, H, V - W)) / one.power


def best_without(one: Consumer, gone: list[int]) -> tuple[float, NDArray[np.float32]]:
    """Least squares on the inputs that are left, group by group."""
    H, G = (a.astype(np.float64) for a in (one.problem.gram.dense(), one.problem.G))
    V = np.zeros_like(G)
    for g, inputs in enumerate(one.inputs):
        left = np.setdiff1d(np.arange(G.shape[2]), inputs[gone].ravel())
        V[g][:, left] = np.linalg.solve(H[g][np.ix_(left, left)], G[g][:, left].T).T
    return error_of(one, V.astype(np.float32)), V.astype(np.float32)


# --- by hand -----------------------------------------------------------------------------------


def test_independent_inputs_by_hand() -> None:
    """y = 3a + b + 2c of unit variance: power 14, and nothing makes up for what goes."""
    one = consumer(np.array([[[3.0, 1, 2]]]), np.eye(3)[None])
    found = eliminate([one], counts=(2, 1))
    assert found.order.tolist() == [1, 2, 0]
    np.testing.assert_allclose(found.errors, [0, 1 / 14, 5 / 14, 1], rtol=1e-6)
    np.testing.assert_allclose(found.weights[2][0], [[[3, 0, 2]]], rtol=1e-6)
    np.testing.assert_allclose(found.weights[1][0], [[[3, 0, 0]]], rtol=1e-6)
    np.testing.assert_allclose(one.removal_costs, np.array([9, 1, 4]) / 14, rtol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("first", [2.5, 100.0])
def test_outputs_without_power_lose_more_than_there_are_numbers_for(first: float) -> None:
    """As of one row, about its mean: 2.5 over the least of numbers is one, twice that is none."""
    weight = np.sqrt([[[first, 2.5]]])
    found = eliminate([consumer(weight, np.eye(2)[None], power=1e-320)])
    assert found.errors[0] == 0
    assert found.errors[-1] == np.inf
    assert sorted(found.order) == [0, 1]


def test_a_correlated_input_is_made_up_for() -> None:
    """y = 2a + 2b with E[ab] = 1/2: without a, b takes 2 + 2/2 = 3 and 4 * 3/4 of 12 is lost.

    c is small, but nothing replaces it: it is worth 4, more than 3.
    """
    H = np.array([[[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1.0]]])
    one = consumer(np.array([[[2.0, 2, 2]]]), H)
    found = eliminate([one], counts=(2,))
    assert found.order[0] == 0
    assert one.power == pytest.approx(16)
    assert found.errors[1] == pytest.approx(3 / 16)
    np.testing.assert_allclose(found.weights[2][0], [[[0, 3, 2]]], rtol=1e-6)
    np.testing.assert_allclose(one.removal_costs, np.full(3, 4 / 16), rtol=1e-6)


def test_layers_add_up_each_by_its_own_power() -> None:
    """The first layer would give up 0, the second 1 far more dearly: shares decide."""
    first = consumer(np.array([[[1.0, 3]]]), np.eye(2)[None])  # 1/10, 9/10
    second = consumer(np.array([[[200.0, 100]]]), np.eye(2)[None])  # 8/10, 2/10
    found = eliminate([first, second])
    assert found.order.tolist() == [0, 1]  # 0.1 + 0.8 < 0.9 + 0.2
    np.testing.assert_allclose(found.errors, [0, 0.9, 2], rtol=1e-6)


# --- against brute force -----------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_every_step_is_least_squares_on_what_is_left(groups: int, width: int) -> None:
    ones = [drawn(seed, groups, 3, 5, width) for seed in (1, 2)]
    found = eliminate(ones, counts=range(6))
    assert sorted(found.order) == list(range(5))
    for count in range(6):
        gone = found.order[: 5 - count].tolist()
        best = [best_without(one, gone) for one in ones]
        assert found.errors[5 - count] == pytest.approx(sum(e for e, _ in best), abs=1e-5)
        for (_, wanted), weight in zip(best, found.weights[count], strict=True):
            np.testing.assert_allclose(weight, wanted, atol=2e-4)


@pytest.mark.parametrize("seed", range(5))
def test_the_next_to_go_is_the_cheapest(seed: int) -> None:
    one = drawn(seed)
    order = eliminate([one]).order.tolist()
    for step in range(5):
        costs = {c: best_without(one, [*order[:step], c])[0] for c in order[step:]}
        assert costs[order[step]] == pytest.approx(min(costs.values()), abs=1e-5)


def test_the_first_of_equals_goes() -> None:
    assert eliminate([consumer(np.ones((1, 2, 4)), np.eye(4)[None])]).order.tolist() == [0, 1, 2, 3]


def test_a_given_order_is_kept() -> None:
    one = drawn(0)
    order = np.array([3, 0, 4, 1, 2])
    found = eliminate([one], (2,), order)
    assert found.order.tolist() == order.tolist()
    assert found.errors[3] == pytest.approx(best_without(one, [3, 0, 4])[0], abs=1e-5)


def test_removal_costs_are_those_of_zeros() -> None:
    one = drawn(3, groups=2)
    for channel in range(5):
        V = one.problem.weight.copy()
        for g, inputs in enumerate(one.inputs):
            V[g][:, inputs[channel]] = 0
        assert one.removal_costs[channel] == pytest.approx(error_of(one, V), rel=1e-4)


# --- many channels at a step -------------------------------------------------------------------


def test_steps_stop_at_every_count_that_is_asked_for() -> None:
    one = drawn(0, channels=100, width=1)
    counts = (100, 99, 50, 3, 0)
    found = eliminate([one], counts)
    assert tuple(found.weights) == counts
    for count in counts:
        (weight,) = found.weights[count]
        left = np.flatnonzero(np.any(weight != 0, axis=(0, 1)))
        assert set(left) == set(range(100)) - set(found.order[: 100 - count].tolist())
        assert error_of(one, weight) == pytest.approx(found.errors[100 - count], abs=1e-4)
    assert (np.diff(found.errors) >= -1e-9).all()


# --- wide layers -------------------------------------------------------------------------------


def of_rows(one: Consumer) -> Consumer:
    """The same with a Gram matrix of rows."""
    H = one.problem.gram.dense()
    rows = np.linalg.cholesky(H.astype(np.float64) - 1e-3 * np.eye(H.shape[1])).transpose(0, 2, 1)
    gram = RowGram(rows.astype(np.float32), np.full(H.shape[:2], 1e-3, np.float32))
    return Consumer(LayerProblem(one.problem.weight, gram, one.problem.G), one.inputs, one.power)


def test_wide_layers_are_fitted_as_narrow_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    one = of_rows(drawn(5, groups=2, channels=8))
    order = np.argsort(one.removal_costs)
    wanted = fitted([one], (6, 3, 0), order)
    monkeypatch.setattr(module, "WIDEST", 8)
    monkeypatch.setattr(module, "inverses", lambda *_, **__: pytest.fail("H^-1 is made"))
    assert one.is_wide
    found = fitted([one], (6, 3, 0), order)
    assert found.keys() == wanted.keys()
    for count in (6, 3, 0):
        (close,), (exact,) = found[count], wanted[count]
        np.testing.assert_array_equal(close == 0, exact == 0)
        assert error_of(one, close) == pytest.approx(error_of(one, exact), abs=1e-4)


def test_costs_of_wide_layers_need_no_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = drawn(5, channels=8)
    wide, dense = of_rows(narrow), RowGram.dense

    def small(gram: RowGram) -> NDArray[np.float32]:
        assert gram.rows.shape[2] == 2  # of one channel
        return dense(gram)

    monkeypatch.setattr(RowGram, "dense", small)
    np.testing.assert_allclose(wide.removal_costs, narrow.removal_costs, rtol=1e-3)


# --- what cannot be ----------------------------------------------------------------------------


def test_no_consumers_are_refused() -> None:
    with pytest.raises(ValueError, match="without a consumer"):
        eliminate([])


def test_what_is_no_gram_matrix_is_refused() -> None:
    with pytest.raises(DataError, match="check the data"):
        eliminate([consumer(np.ones((1, 1, 2)), np.array([[[1.0, 2], [2, 1]]]))])


def test_a_layer_that_says_nothing_costs_nothing() -> None:
    found = eliminate([consumer(np.zeros((1, 2, 3)), np.eye(3)[None], power=0.0)])
    assert found.errors.tolist() == [0, 0, 0, 0]


def test_greedy_is_near_the_best_of_all_pairs() -> None:
    """Exhaustive search over the pairs that may go: greedy is seldom far above."""
    ratios = []
    for seed in range(20):
        one = drawn(seed, channels=6, width=1)
        best = min(best_without(one, list(pair))[0] for pair in combinations(range(6), 2))
        ratios.append(eliminate([one]).errors[2] / best)
    assert min(ratios) > 1 - 1e-4
    assert np.median(ratios) < 1.01
