"""Outputs of very different power: each part of them counts for itself, by hand and by property."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eapc.registry import METHODS
from eapc.solvers import (
    Consumer,
    DenseGram,
    LayerProblem,
    MomentAccumulator,
    Moments,
    combine,
    eliminate,
    parts_by_scale,
    quick_prune,
    refit,
    solve,
)

Float32 = NDArray[np.float32]
BY_ERROR = ("admm", "eap", "sparsegpt", "wanda")
SEEDS = st.integers(0, 2**16)


def of_unit_inputs(weight: list[list[float]], rows: int = 100) -> Moments:
    """Of y = W x, with independent inputs of unit variance and mean 0."""
    W = np.array([weight], np.float32)
    groups, m, k = W.shape
    yy = np.square(W.astype(np.float64)).sum(axis=2)
    means = np.zeros((groups, k)), np.zeros((groups, m))
    gram = DenseGram(np.eye(k, dtype=np.float32)[None])
    return Moments(rows, float(rows), *means, gram, W, yy, rows, by_part=True)


def drawn(seed: int, rows: int = 300) -> tuple[Float32, Float32]:
    """Correlated inputs (1, rows, 12) and a weight (1, 8, 12) whose last five rows are quiet."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1, rows, 12)) @ (np.eye(12) + 0.4 * rng.normal(size=(12, 12)))
    weight = rng.normal(size=(1, 8, 12))
    weight[:, 3:] /= 200
    return x.astype(np.float32), weight.astype(np.float32)


def problem(x: Float32, weight: Float32, by_part: bool = True) -> LayerProblem:
    groups, m, k = weight.shape
    accumulator = MomentAccumulator(groups, k, m)
    accumulator.add(x, x @ weight.transpose(0, 2, 1))
    return LayerProblem.from_moments(weight, replace(accumulator.finish(), by_part=by_part))


# --- by hand -----------------------------------------------------------------------------------


def test_a_part_reaches_down_to_a_hundredth_of_its_largest_power() -> None:
    power = np.array([1, 250, 2.4, 0, 2.5, 0.023])
    assert parts_by_scale(power, np.zeros(6)).tolist() == [1, 0, 1, 6, 0, 2]
    assert parts_by_scale(power, np.full(6, 2.4)).tolist() == [6, 0, 6, 6, 0, 6]


def test_errors_count_by_the_power_of_their_part() -> None:
    """Powers 300 + 100 and 0.9 + 0.1; what does not vary is of the first part."""
    moments = of_unit_inputs([[1.0]] * 5)
    moments = replace(moments, yy=np.array([[300, 0.1, 100, 0.9, 0]]))
    assert moments.parts is not None
    assert moments.parts.tolist() == [[0, 1, 0, 1, 0]]
    assert moments.row_scale is not None
    np.testing.assert_allclose(moments.row_scale, [[1, 20, 1, 20, 1]])
    assert moments.first_power == 400
    assert replace(moments, by_part=False).row_scale is None
    alike = replace(moments, yy=np.array([[300, 3.1, 100, 3, 0]]))
    assert alike.parts is None
    assert alike.row_scale is None


def test_a_constant_output_is_not_a_quiet_part() -> None:
    moments = replace(of_unit_inputs([[1.0], [1.0]]), yy=np.array([[1.0, 1e-12]]))
    assert moments.parts is not None
    assert replace(moments, y_mean=np.array([[0.0, 7.0]])).parts is None


def test_users_count_by_part_where_all_do() -> None:
    one = of_unit_inputs([[100.0, 0], [0, 1]])
    assert combine([one, one]).by_part
    assert not combine([one, replace(one, by_part=False)]).by_part
    assert one.uncentred().row_scale is not None


def test_the_worst_part_is_the_error() -> None:
    """Of 100 a + 30 b the last is lost, 900 of 10900; of a + c, 1 of 2."""
    moments = of_unit_inputs([[100, 30, 0], [1, 0, 1]])
    pruned = np.array([[[100, 0, 0], [1, 0, 0]]], np.float32)
    assert moments.relative_error(pruned) == pytest.approx(0.5)
    assert moments.error(pruned) == pytest.approx(901)
    loud = np.array([[[0, 30, 0], [1, 0, 1]]], np.float32)
    assert moments.relative_error(loud) == pytest.approx(10000 / 10900)
    assert replace(moments, by_part=False).relative_error(pruned) == pytest.approx(901 / 10902)


def test_each_part_has_its_own_share_of_chance_in_its_means() -> None:
    """|d|^2 of 1e4 and 1 in 3 rows, v of 1e4 / 2 and 9 / 2: s is 1 / 1.5 and 1 / 5.5."""
    moments = replace(of_unit_inputs([[100.0], [3.0]], rows=3), y_mean=np.array([[100.0, 1.0]]))
    bias = moments.bias(np.zeros((1, 2, 1), np.float32))
    np.testing.assert_allclose(bias, [[100 / 1.5, 1 / 5.5]], rtol=1e-6)


def test_largest_products_are_kept_part_by_part() -> None:
    """Of powers of 10900 and 1.04: 0.96 and 0.29 of the root of one, 0.98 and 0.2 of the other."""
    moments = of_unit_inputs([[100, 30], [1, 0.2]])
    weight = moments.yx
    kept = solve(LayerProblem.from_moments(weight, moments), 2, method="wanda")
    np.testing.assert_array_equal(kept, [[[100, 0], [1, 0]]])
    least = solve(LayerProblem.from_moments(weight, moments), 3, method="wanda")
    np.testing.assert_array_equal(least, [[[100, 30], [1, 0]]])
    raw = LayerProblem.from_moments(weight, replace(moments, by_part=False))
    np.testing.assert_array_equal(solve(raw, 2, method="wanda"), [[[100, 30], [0, 0]]])


def test_the_objective_counts_by_part() -> None:
    """Nothing lost: minus the number of parts, 2, times the power of the first."""
    moments = replace(of_unit_inputs([[100.0, 0], [0, 2]]), inputs=10**9)
    one = LayerProblem.from_moments(moments.yx, moments, damping=0)
    assert one.objective(moments.yx) == pytest.approx(-2 * 10000, rel=1e-6)


def test_channels_of_loud_outputs_are_no_dearer() -> None:
    """y = 3 a + b and 0.1 c: by part they cost 0.9, 0.1 and 1, by size 9, 1 and 0.01."""
    moments = of_unit_inputs([[3, 1, 0], [0, 0, 0.1]])
    assert (moments.power, moments.first_power) == pytest.approx((10.01, 10))
    inputs = np.arange(3).reshape(1, 3, 1)
    for by_part, order in ((True, [1, 0, 2]), (False, [2, 1, 0])):
        now = replace(moments, by_part=by_part, inputs=10**9)
        problem = LayerProblem.from_moments(moments.yx, now, damping=0)
        one = Consumer(problem, inputs, now.first_power)
        found = eliminate([one], counts=(2,))
        assert found.order.tolist() == order
        costs = np.array([0.9, 0.1, 1]) if by_part else np.array([9, 1, 0.01]) / 10.01
        np.testing.assert_allclose(one.removal_costs, costs, rtol=1e-5)
        np.testing.assert_allclose(np.diff(found.errors), costs[order], rtol=1e-5)
        left = moments.yx.copy()
        left[:, :, order[0]] = 0
        np.testing.assert_allclose(found.weights[2][0], left, rtol=1e-5)


# --- properties --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", BY_ERROR)
def test_no_part_is_left_without_weights(method: str) -> None:
    x, weight = drawn(0)
    quiet = np.s_[:, 3:]
    by_part, raw = (solve(problem(x, weight, each), 24, method=method) for each in (True, False))
    assert np.count_nonzero(by_part[quiet]) >= 10
    assert np.count_nonzero(raw[quiet]) <= 4


def test_magnitude_is_the_weights_own() -> None:
    x, weight = drawn(0)
    kept = solve(problem(x, weight), 24, method="magnitude")
    np.testing.assert_array_equal(kept != 0, np.abs(weight) >= np.sort(np.abs(weight), None)[-24])


@pytest.mark.parametrize("method", METHODS)
def test_outputs_within_a_hundred_have_the_same_bytes(method: str) -> None:
    x, weight = drawn(1)
    weight[:, 3:] *= 60
    by_part, raw = (problem(x, weight, each) for each in (True, False))
    assert by_part.row_scale is None
    one, two = (solve(each, 24, method=method) for each in (by_part, raw))
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("method", BY_ERROR)
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_the_scale_of_the_quiet_part_decides_nothing(method: str, seed: int) -> None:
    x, weight = drawn(seed)
    quieter = weight.copy()
    quieter[:, 3:] /= (
        1024  # exactly, as rounding may decide between weights that are worth the same
    )
    one, two = (solve(problem(x, each), 24, method=method) for each in (weight, quieter))
    np.testing.assert_array_equal(one != 0, two != 0)
    np.testing.assert_allclose(two[:, 3:], one[:, 3:] / 1024, rtol=1e-6)


@pytest.mark.parametrize("method", BY_ERROR)
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_the_order_of_the_parts_decides_nothing(method: str, seed: int) -> None:
    x, weight = drawn(seed)
    order = np.random.default_rng(seed).permutation(8)
    one, two = (solve(problem(x, each), 24, method=method) for each in (weight, weight[:, order]))
    np.testing.assert_array_equal(one[:, order] != 0, two != 0)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_parts_come_out_as_problems_of_their_own(seed: int) -> None:
    """Values on a mask are those of each row's least squares, whatever a row counts."""
    x, weight = drawn(seed)
    by_part, raw = problem(x, weight), problem(x, weight, False)
    mask = quick_prune(by_part, [24])[0] != 0
    np.testing.assert_allclose(refit(by_part, mask), refit(raw, mask), rtol=1e-2, atol=1e-4)
