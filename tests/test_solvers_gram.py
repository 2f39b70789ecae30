"""Gram matrices written out and as rows: the same matrix, and the same pruned layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from test_solvers import correlated, moments_of

from eapc.errors import DataError
from eapc.registry import METHODS
from eapc.solvers import (
    DenseGram,
    Gram,
    LayerProblem,
    MomentAccumulator,
    Moments,
    MovedTargets,
    RowGram,
    blas,
    combine,
    parse_pattern,
    refit,
    solve,
)

Float32 = NDArray[np.float32]


def rows_and_dense(sign: int = 1) -> tuple[RowGram, DenseGram]:
    """The same matrices of two groups, eight rows of twenty inputs, in both forms."""
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((2, 8, 20)) / 8).astype(np.float32)
    ridge = rng.uniform(1, 2, (2, 20)).astype(np.float32)
    exact = sign * rows.transpose(0, 2, 1).astype(np.float64) @ rows
    np.einsum("gkk->gk", exact)[...] += ridge
    return RowGram(rows, ridge, sign), DenseGram(exact.astype(np.float32))


def few_rows(k: int = 60, rows: int = 12, groups: int = 1) -> tuple[Float32, Moments]:
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((groups, 8, k)).astype(np.float32)
    x = correlated(rng, groups, rows, k) + 1
    return weight, moments_of(x, x @ weight.transpose(0, 2, 1), batches=2)


def written_out(moments: Moments) -> Moments:
    return replace(moments, gram=DenseGram(moments.gram.dense()))


def test_a_matrix_of_one_row_by_hand() -> None:
    gram = RowGram(np.array([[[1, 2]]], np.float32), np.array([[3, 1]], np.float32))
    np.testing.assert_array_equal(gram.dense(), [[[4, 2], [2, 5]]])
    np.testing.assert_array_equal(gram.diagonal(), [[4, 5]])
    np.testing.assert_array_equal(gram.times(np.array([[[1, -1]]], np.float32)), [[[2, -3]]])
    # (H + I)^-1 = [5 2; 2 6]^-1
    inverse = np.array([[[6, -2], [-2, 5]]]) / 26
    np.testing.assert_allclose(gram.inverse(1.0).dense(), inverse, rtol=1e-6)


OPERATIONS: dict[str, Callable[[Gram], object]] = {
    "diagonal": lambda gram: gram.diagonal(),
    "times": lambda gram: gram.times(np.ones((2, 3, 20), np.float32)),
    "corner": lambda gram: gram.corner(1, np.array([3, 0, 7])),
    "scaled": lambda gram: gram.scaled(np.linspace(1, 2, 40, dtype="f").reshape(2, 20)).dense(),
    "raised": lambda gram: gram.raised(np.linspace(0, 3, 40, dtype="f").reshape(2, 20)).dense(),
    "positive": lambda gram: gram.positive(),
}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_both_forms_agree(operation: str, sign: int) -> None:
    rows, dense = rows_and_dense(sign)
    before = rows.dense().copy(), dense.dense().copy()
    apply = OPERATIONS[operation]
    np.testing.assert_allclose(apply(rows), apply(dense), rtol=1e-5, atol=1e-6)  # type: ignore[call-overload]
    np.testing.assert_array_equal(rows.dense(), before[0])
    np.testing.assert_array_equal(dense.dense(), before[1])


def test_inverses_agree_and_refuse() -> None:
    rows, dense = rows_and_dense()
    inverse = rows.inverse(0.5)
    np.testing.assert_allclose(inverse.dense(), dense.inverse(0.5).dense(), atol=1e-6)
    product = np.empty((2, 20, 20), np.float32)
    inverse.times(rows.raised(np.full((2, 20), 0.5, np.float32)).dense(), out=product)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(20), product.shape), atol=1e-5)
    for gram in (inverse, replace(rows, ridge=rows.ridge - 3), DenseGram(-dense.matrix)):
        with pytest.raises(np.linalg.LinAlgError):
            gram.inverse(0.5)
    assert not replace(rows, ridge=rows.ridge - 3).positive().any()


def test_products_take_the_operations_of_their_form() -> None:
    rows, dense = rows_and_dense()
    assert rows.work == 4 * 8
    assert dense.work == 2 * 20


def test_rows_are_kept_up_to_a_quarter_of_the_inputs() -> None:
    rng = np.random.default_rng(3)
    x = correlated(rng, 2, 11, 40) + 5
    accumulator = MomentAccumulator(2, 40, 1)
    accumulator.add(x[:, :6], x[:, :6, :1])
    accumulator.add(x[:, 6:10], x[:, 6:10, :1])
    few = accumulator.finish()
    assert isinstance(few.gram, RowGram)
    assert few.gram.rows.shape == (2, 10, 40)
    accumulator.add(x[:, 10:], x[:, 10:, :1])
    many = accumulator.finish()
    assert isinstance(many.gram, DenseGram)
    for moments, count in ((few, 10), (many, 11)):
        deviations = (x[:, :count] - x[:, :count].mean(1, keepdims=True)).astype(np.float64)
        expected = deviations.transpose(0, 2, 1) @ deviations / count
        np.testing.assert_allclose(moments.gram.dense(), expected, atol=1e-5)


@pytest.mark.parametrize("k", [3, 40])
def test_a_row_of_weight_two_counts_as_if_it_came_twice(k: int) -> None:
    """In both forms: of 3 inputs the products are kept, of 40 the rows."""
    x = correlated(np.random.default_rng(4), 2, 9, k) + 5
    y = x[:, :, :2] * 3
    weighted, repeated = MomentAccumulator(2, k, 2), MomentAccumulator(2, k, 2)
    for part, weight in ((slice(0, 5), 1), (slice(5, 9), 2)):
        weighted.add(x[:, part], y[:, part], weight)
        for _ in range(weight):
            repeated.add(x[:, part], y[:, part])
    found, expected = weighted.finish(), repeated.finish()
    assert (found.count, found.weight, expected.count) == (9, 13, 13)
    assert isinstance(found.gram, RowGram if k == 40 else DenseGram)
    for name in ("x_mean", "y_mean", "yx", "yy"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-4)
    np.testing.assert_allclose(found.gram.dense(), expected.gram.dense(), atol=1e-4)
    moved = MovedTargets(found, centred=True)
    for part, weight in ((slice(0, 5), 1), (slice(5, 9), 2)):
        moved.add(x[:, part], y[:, part], weight)
    again = moved.finish()
    np.testing.assert_allclose(again.yx, found.yx, atol=1e-3)
    np.testing.assert_allclose(again.yy, found.yy, atol=1e-3)


def test_moments_of_few_rows_move_and_combine() -> None:
    weight, moments = few_rows()
    dense = written_out(moments)
    assert isinstance(moments.gram, RowGram)
    np.testing.assert_allclose(
        moments.uncentred().gram.dense(), dense.uncentred().gram.dense(), atol=1e-5
    )
    assert moments.relative_error(weight * 0.5) == pytest.approx(
        dense.relative_error(weight * 0.5), rel=1e-4
    )
    one = combine([moments])
    assert isinstance(one.gram, RowGram)
    for users in ([moments, dense], [moments, moments.uncentred()]):  # 25 rows: over a quarter
        together = combine(users)
        assert isinstance(together.gram, DenseGram)
        expected = (users[0].gram.dense() + users[1].gram.dense()) / 2
        np.testing.assert_allclose(together.gram.dense(), expected, atol=1e-5)


@pytest.mark.parametrize("text", ["unstructured", "2:4", "kernel"])
@pytest.mark.parametrize("method", METHODS)
def test_methods_find_the_same_from_rows(method: str, text: str) -> None:
    weight, moments = few_rows(k=96, rows=24, groups=2)
    problems = [LayerProblem.from_moments(weight, m) for m in (moments, written_out(moments))]
    pattern = parse_pattern(text, 3)
    few, dense = (
        solve(problem, weight.size // 4, method=method, pattern=pattern) for problem in problems
    )
    agreement = np.mean((few != 0) == (dense != 0))
    assert agreement > (0.98 if text == "unstructured" else 0.96)  # a tie takes a partner along
    mask = dense != 0
    fits = [refit(problem, mask) for problem in problems]
    least = problems[1].objective(weight)  # what no mask loses; weights may differ for as much
    for ours, theirs in ((few, dense), fits):
        lost = [problems[1].objective(pruned) - least for pruned in (ours, theirs)]
        assert lost[0] == pytest.approx(lost[1], rel=0.02)


def test_few_rows_with_dead_inputs_and_none_at_all() -> None:
    weight, _ = few_rows()
    x = correlated(np.random.default_rng(5), 1, 12, 60)
    x[0, :, 4] = 0
    x[0, :, 5] = 3
    moments = replace(moments_of(x, x @ weight.transpose(0, 2, 1)), inputs=10**8)
    pruned = solve(LayerProblem.from_moments(weight, moments), 200)
    assert np.isfinite(pruned).all()
    assert not pruned[0, :, 4:6].any()
    still = np.ones_like(x)
    constant = LayerProblem.from_moments(weight, moments_of(still, still[:, :, :8]))
    largest = np.sort(np.abs(weight), axis=None)[-200:]  # nothing else is known
    np.testing.assert_allclose(
        np.sort(np.abs(solve(constant, 200)), axis=None)[-200:], largest, rtol=1e-6
    )
    x[0, 3, 7] = np.nan
    with pytest.raises(DataError, match="products of"):
        LayerProblem.from_moments(weight, moments_of(x, x[:, :, :8]))


def test_bytes_from_rows_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(6)
    weight = rng.standard_normal((1, 96, 800)).astype(np.float32)
    x = correlated(rng, 1, 150, 800)
    moments = moments_of(x, x @ weight.transpose(0, 2, 1))
    assert isinstance(moments.gram, RowGram)
    problem = LayerProblem.from_moments(weight, moments)
    pruned = solve(problem, 9000)
    with blas.single_thread():
        assert solve(problem, 9000).tobytes() == pruned.tobytes()
