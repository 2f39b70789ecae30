"""The statistics of a layer, and biases that take up the mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from builders import Array, loaded, normal, op
from onnx import NodeProto
from pruning_builders import statistics

from eapc.calibration import LayerRows, moved_biases, scaled_matrix, unscaled_matrix
from eapc.calibration.statistics import (
    MIN_ROWS,
    ROWS_PER_INPUT,
    LayerActivations,
    TargetSpread,
    row_limit,
    row_weights,
)
from eapc.layers import TiedLayers, find_layers
from eapc.model import Model
from eapc.runtime import Session, with_outputs
from eapc.solvers import Moments

RNG = np.random.default_rng(0)


def one_layer(nodes: Sequence[NodeProto], **tensors: Array) -> tuple[Model, TiedLayers]:
    model = loaded(nodes, {"x": ("N", 6)}, ["y"], tensors)
    (tied,) = find_layers(model).layers
    return model, tied


def plain(bias: bool = True) -> tuple[Model, TiedLayers]:
    node = op("Gemm", "x w b" if bias else "x w", "y", "gemm")
    tensors = {"w": normal((6, 4), 1), "b": normal((4,), 2)}
    return one_layer([node], **tensors)


def batches(model: Model, tensors: Sequence[str], x: Array) -> dict[str, list[Array]]:
    session = Session(with_outputs(model.to_proto(), tensors), 1, optimise=False)
    runs = [session.run({"x": part}) for part in np.array_split(x, 3)]
    return {name: [run[name] for run in runs] for name in tensors} | {"x": np.array_split(x, 3)}


X = normal((90, 6), 3, 1.0) + np.float32(1)


def moments_of(tied: TiedLayers, x: list[Array], y: list[Array], limit: int = 10**6) -> Moments:
    return LayerRows.sample(tied.first, LayerActivations(x, y), limit, RNG).moments()


def test_moments_are_those_of_inputs_and_outputs_without_bias() -> None:
    model, tied = plain()
    runs = batches(model, ["y"], X)
    moments = moments_of(tied, runs["x"], runs["y"])
    y = X @ normal((6, 4), 1)
    assert moments.count == 90
    np.testing.assert_allclose(moments.x_mean[0], X.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.y_mean[0], y.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        moments.gram.dense()[0], np.cov(X.T, bias=True), rtol=1e-4, atol=1e-5
    )
    assert moments.relative_error(tied.matrix(model)) < 1e-5


def test_without_a_bias_moments_are_about_zero() -> None:
    model, tied = plain(bias=False)
    runs = batches(model, ["y"], X)
    moments = moments_of(tied, runs["x"], runs["y"])
    np.testing.assert_array_equal(moments.x_mean, 0)
    np.testing.assert_allclose(moments.gram.dense()[0], X.T @ X / 90, rtol=1e-4)
    assert moved_biases(tied, model, tied.matrix(model), [moments]) == {}


@pytest.mark.parametrize("limit", [1, 10, 45, 89])
def test_rows_are_sampled_up_to_a_limit(limit: int) -> None:
    model, tied = plain()
    runs = batches(model, ["y"], X)
    activations = LayerActivations(runs["x"], runs["y"])
    moments = LayerRows.sample(tied.first, activations, limit, np.random.default_rng(1)).moments()
    assert abs(moments.count - limit) <= 3
    again = LayerRows.sample(tied.first, activations, limit, np.random.default_rng(1)).moments()
    np.testing.assert_array_equal(moments.gram.dense(), again.gram.dense())


def test_rows_are_kept_where_all_that_they_consist_of_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eapc.calibration.statistics._KEPT_WORDS", 90 * 10)
    model, tied = plain()
    runs = batches(model, ["y"], X)
    activations = LayerActivations(runs["x"], runs["y"])
    kept, made, once = (
        LayerRows.sample(tied.first, activations, 10**6, RNG, words) for words in (10, 11, None)
    )
    assert (kept.keep, made.keep, once.keep) == (True, False, False)
    assert kept.batches() is kept.batches()
    np.testing.assert_array_equal(kept.moments().yx, made.moments().yx)


def test_the_limit_grows_with_the_inputs() -> None:
    assert row_limit(10**6) == ROWS_PER_INPUT * 10**6
    assert min(row_limit(k) for k in (10, 1000, 4000, 5000)) >= MIN_ROWS


def test_the_other_branch_corrects_the_target() -> None:
    model, tied = plain()
    runs = batches(model, ["y"], X)
    original = [normal(y.shape, 5) for y in runs["y"]]
    pruned = [normal(y.shape, 6) for y in runs["y"]]
    activations = LayerActivations(runs["x"], runs["y"], (original, pruned))
    moments = LayerRows.sample(tied.first, activations, 10**6, RNG).moments()
    y = X @ normal((6, 4), 1) + np.concatenate(original) - np.concatenate(pruned)
    np.testing.assert_allclose(moments.y_mean[0], y.mean(0), rtol=1e-4, atol=1e-5)


def test_a_branch_of_another_shape_is_left_out() -> None:
    model, tied = plain()
    runs = batches(model, ["y"], X)
    branch = [np.ones((len(y), 1), np.float32) for y in runs["y"]]
    activations = LayerActivations(runs["x"], runs["y"], (branch, branch))
    assert LayerRows.sample(tied.first, activations, 10**6, RNG).moments().count == 90


def normalized(gamma: Array) -> tuple[Model, TiedLayers]:
    nodes = [
        op("Gemm", "x w b", "c", "gemm"),
        op("BatchNormalization", "c pg pb pm pv", "y"),
    ]
    tensors = {"w": normal((6, 4), 1), "b": normal((4,), 2), **statistics("p", 4)}
    return one_layer(nodes, **{**tensors, "pg": gamma})


def test_scaling_and_its_inverse() -> None:
    model, tied = normalized(np.array([1, 2, 0, -3], np.float32))
    matrix = scaled_matrix(tied, model)
    expected = tied.matrix(model)[0] * tied.first.scale[:, None]
    np.testing.assert_allclose(matrix[0], expected, rtol=1e-6)
    back = unscaled_matrix(tied, matrix)
    np.testing.assert_allclose(back[0, [0, 1, 3]], tied.matrix(model)[0, [0, 1, 3]], rtol=1e-5)
    np.testing.assert_array_equal(back[0, 2], 0)


def test_a_moved_bias_restores_the_mean_behind_a_normalization() -> None:
    model, tied = normalized(np.array([1, 2, 0.5, -3], np.float32))
    runs = batches(model, ["c", "y"], X)
    moments = moments_of(tied, runs["x"], runs["c"])
    matrix = scaled_matrix(tied, model)
    matrix[:, :, ::2] = 0
    weight = tied.stored(model, unscaled_matrix(tied, matrix))
    changed = model.with_weights({"w": weight, **moved_biases(tied, model, matrix, [moments])})
    after = np.concatenate(batches(changed, ["y"], X)["y"])
    before = np.concatenate(runs["y"])
    lost = np.concatenate(batches(model.with_weights({"w": weight}), ["y"], X)["y"]) - before
    left = after.mean(0) - before.mean(0)  # few of 60 rows' means are chance
    assert np.abs(left).max() < 0.05 * np.abs(lost.mean(0)).max()


def test_activations_are_never_written_to() -> None:
    model, tied = plain()
    runs = batches(model, ["y"], X)
    branch = ([y.copy() for y in runs["y"]], [2 * y for y in runs["y"]])
    for arrays in (*runs.values(), *branch):
        for array in arrays:
            array.setflags(write=False)
    LayerRows.sample(tied.first, LayerActivations(runs["x"], runs["y"], branch), 50, RNG).moments()


# --- kinds of samples ----------------------------------------------------------------------------


def spread_of(*values: float) -> TargetSpread:
    """Targets of one group and one output."""
    spread = TargetSpread()
    spread.add(np.array(values, np.float32).reshape(1, -1, 1))
    return spread


def test_rows_count_by_the_power_of_their_kind_by_hand() -> None:
    """Powers 1 and 100^2, two rows each: weights in the ratio of 10^4, whose mean is 1."""
    small, large = spread_of(4, 6), spread_of(-100, 100)
    assert (small.power, large.power) == pytest.approx((1, 1e4))
    weights = row_weights({"small": small, "large": large})
    assert weights == pytest.approx({"small": 2 / 1.0001, "large": 2e-4 / 1.0001})


def test_kinds_whose_targets_do_not_vary_count_nothing() -> None:
    still, rounded = spread_of(7, 7), spread_of(1000, 1000.001)
    assert row_weights({0: still, 1: rounded, 2: spread_of(1, -1)}) == {0: 0, 1: 0, 2: 3}
    assert row_weights({0: still, 1: rounded}) == {0: 1, 1: 1}


def test_every_kind_counts_the_same_in_the_moments() -> None:
    """Three batches, the last two of a kind, the second kind 100 times as large."""
    _, tied = plain()
    x = [X[:30], 100 * X[30:60], 100 * X[60:]]
    y = [part @ normal((6, 4), 1) + normal((4,), 2) for part in x]
    rows = LayerRows.sample(
        tied.first, LayerActivations(x, y, kinds=[(0,), (1,), (1,)]), 10**6, RNG
    )
    z = [part @ normal((6, 4), 1) for part in x]
    large = np.concatenate(z[1:])
    powers = [float(part.var(axis=0).sum()) for part in (z[0], large)]
    weights = np.repeat([1 / powers[0], 1 / powers[1]], [30, 60])
    weights /= weights.mean()
    found = rows.moments()
    together = np.concatenate(x)
    mean = weights @ together / 90
    np.testing.assert_allclose(found.x_mean[0], mean, rtol=1e-4, atol=1e-4)
    expected = (together - mean).T @ ((together - mean) * weights[:, None]) / 90
    np.testing.assert_allclose(found.gram.dense()[0], expected, rtol=1e-3, atol=1e-2)
    assert found.count == 90
    assert found.weight == pytest.approx(90)
    alike = LayerRows.sample(tied.first, LayerActivations(x, y), 10**6, RNG).moments()
    assert alike.power > 10 * found.power
