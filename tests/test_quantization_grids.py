"""Grids: their steps, the least-squares ranges, and what a channel of zeros takes."""

from __future__ import annotations

import numpy as np
import pytest
from builders import scalar

from eapc.quantization import (
    TensorGrid,
    ValueCounts,
    activation_grid,
    bias_codes,
    weight_grid,
)


def test_codes_are_the_nearest_and_stay_within_the_ends() -> None:
    grid = TensorGrid(np.float32(0.5) * np.ones((), np.float32), zero_point=10)
    values = np.array([-6.0, -0.3, 0.0, 0.2, 1.0, 200.0], np.float32)
    assert grid.codes(values).tolist() == [0, 9, 10, 10, 12, 255]
    assert grid.values(np.array([0, 10, 12], np.uint8)).tolist() == [-5.0, 0.0, 1.0]


def test_weights_have_a_scale_per_channel_and_exact_zeros() -> None:
    weights = np.array([[1.27, 0.0, -0.01], [2.54, -2.54, 0.0]], np.float32)
    grid = weight_grid(weights, 0, np.zeros(2))
    assert grid.scale == pytest.approx([0.01, 0.02])
    assert grid.codes(weights).tolist() == [[127, 0, -1], [127, -127, 0]]


def test_weights_of_a_product_have_scales_along_the_last_axis() -> None:
    grid = weight_grid(np.array([[1.27, 0.127], [0.0, 0.0]], np.float32), 1, np.zeros(2))
    assert grid.axis == 1
    assert grid.scale == pytest.approx([0.01, 0.001])


def test_an_outlier_among_weights_is_clipped_where_the_others_gain_more() -> None:
    """300 weights of 0.5 between codes cost more than what is cut off the one of 1."""
    weights = np.full((1, 3001), 0.5 / 127 * 1.0, np.float32)
    weights[0, 0] = 1.0
    grid = weight_grid(weights, 0, np.zeros(1))
    kept = grid.values(grid.codes(weights))
    whole = TensorGrid(np.array([1 / 127], np.float32), signed=True, axis=0)
    assert ((kept - weights) ** 2).sum() < (
        (whole.values(whole.codes(weights)) - weights) ** 2
    ).sum()


def test_a_channel_of_zeros_takes_the_scale_of_its_neighbour() -> None:
    weights = np.array([[0.0], [1.27], [0.0], [0.0], [2.54]], np.float32)
    grid = weight_grid(weights, 0, np.zeros(5))
    assert grid.scale == pytest.approx([0.01, 0.01, 0.01, 0.02, 0.02])


def test_the_bias_of_a_channel_of_zeros_survives() -> None:
    weights, bias = np.array([[0.0], [1.27]], np.float32), np.array([3.0, -1.0], np.float32)
    grid = weight_grid(weights, 0, bias / 0.1)
    assert bias_codes(bias, scalar(0.1), grid).tolist() == [3000, -1000]


def test_no_scale_lets_a_bias_overflow() -> None:
    """1e-9 / 127 times 0.1 would make the bias of 1 a code of 1.3e12."""
    grid = weight_grid(np.array([[1e-9]], np.float32), 0, np.array([1 / 0.1]))
    assert grid.scale == pytest.approx([10 / 2**30])
    assert bias_codes(np.ones(1), scalar(0.1), grid)[0] == pytest.approx(2**30, rel=1e-6)


def test_biases_of_a_layer_without_weights_survive() -> None:
    grid = weight_grid(np.zeros((2, 3), np.float32), 0, np.array([4.0, -2.0]) / 0.5)
    assert grid.scale == pytest.approx([8 / 2**24] * 2)
    codes = bias_codes(np.array([4.0, -2.0]), scalar(0.5), grid)
    assert codes.tolist() == [2**24, -(2**23)]


def test_rectified_values_have_zero_point_0() -> None:
    values = np.linspace(0, 2.55, 1000, dtype=np.float32)
    grid = activation_grid(ValueCounts.of([values]))
    assert grid.zero_point == 0
    assert float(grid.scale) == pytest.approx(0.01, rel=0.02)


def test_values_of_both_signs_have_a_zero_point_between() -> None:
    """From -1 to 1.55 at 255 steps: a scale of 0.01 and 0 at code 100."""
    values = np.linspace(-1, 1.55, 2000, dtype=np.float32)
    grid = activation_grid(ValueCounts.of([values]))
    assert float(grid.scale) == pytest.approx(0.01, rel=0.02)
    assert grid.zero_point == pytest.approx(100, abs=2)


def test_a_lone_outlier_is_cut_off() -> None:
    """It costs 0.2 * 10 squared at most 4 once; the step of 10 / 255 costs 1e-4 each time."""
    values = np.append(np.linspace(0, 1, 10**6, dtype=np.float32), np.float32(2))
    grid = activation_grid(ValueCounts.of([values]))
    assert 255 * float(grid.scale) < 1.5


def test_counts_leave_out_zeros_and_keep_the_ends() -> None:
    counts = ValueCounts.of([np.array([0.0, 0.0, 4.0], np.float32), np.array([2.0], np.float32)])
    assert (counts.low, counts.high) == (0.0, 4.0)
    assert counts.counts.sum() == 2


def test_counts_of_one_value() -> None:
    assert ValueCounts.of([np.full(3, 2.0, np.float32)]).centres.tolist() == [2.0]
    assert ValueCounts.of([np.zeros(3, np.float32)]).counts.tolist() == [0.0]
    grid = activation_grid(ValueCounts.of([np.zeros(3, np.float32)]))
    assert float(grid.scale) == pytest.approx(1 / 255)


def test_counts_of_several_tensors_are_joined() -> None:
    one = ValueCounts.of([np.array([-1.0], np.float32)])
    other = ValueCounts.of([np.array([3.0], np.float32)])
    joined = ValueCounts.joined([one, other])
    assert (joined.low, joined.high) == (-1.0, 3.0)
    assert joined.counts.sum() == 2
