"""Integers that stand for real numbers, there and back."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from builders import Array, op
from test_model_weights import behind

from eapc.errors import ModelError
from eapc.model import as_seen, code_range, codes_of, count_nonzero, nearest_steps, weights_stored


def test_ranges_of_types() -> None:
    found = {name: code_range(np.dtype(name)) for name in ("int8", "uint8", "int32")}
    assert found == {"int8": (-128, 127), "uint8": (0, 255), "int32": (-(2**31), 2**31 - 1)}
    assert code_range(np.dtype(ml_dtypes.int4)) == (-8, 7)
    assert code_range(np.dtype(ml_dtypes.uint4)) == (0, 15)
    with pytest.raises(ModelError, match="int64"):
        code_range(np.dtype(np.int64))


def test_nearest_steps_by_hand() -> None:
    """0.2 of a step is 1, -0.2 is -1 where there is one; 9 is cut to 3, and 0 stays."""
    values = np.array([1.2, 0.1, -0.1, 0.0, 4.5, -0.1])
    low = np.array([-4, -4, -4, -4, -4, 0])
    found = nearest_steps(values, np.full(6, 0.5), low, np.full(6, 3))
    np.testing.assert_array_equal(found, [2, 1, -1, 0, 3, 1])
    assert nearest_steps(np.ones(1), np.zeros(1), low[:1], low[:1] + 9) == 0


def test_a_scale_and_a_zero_point_for_each_column_behind_a_transpose() -> None:
    """3 - 1 steps of 0.5 are 1; 0.5 and 2 for the columns of the turned constant, so its rows."""
    root = np.array([[3, 1, 0], [7, 4, 5]], np.uint8)
    nodes = [
        op("Transpose", "root", "turned"),
        op("DequantizeLinear", "turned scale zero", "seen", axis=1),
    ]
    scale, zero = np.array([0.5, 2], np.float32), np.array([1, 5], np.uint8)
    model, source = behind(nodes, root, scale=scale, zero=zero)
    seen = as_seen(model, source)
    np.testing.assert_array_equal(seen, [[1, 4], [0, -2], [-0.5, 0]])
    np.testing.assert_array_equal(weights_stored(model, source, seen), root)
    assert count_nonzero(model, source) == (4, 6)
    new = np.array([[0, 1e4], [0.1, -0.1], [-9, 1.1]], np.float32)
    stored = weights_stored(model, source, new)
    np.testing.assert_array_equal(stored, [[1, 2, 0], [255, 4, 6]])
    assert stored.dtype == np.uint8
    codes = codes_of(model, source)
    assert codes is not None
    assert [bound[:, 0].tolist() for bound in codes.bounds] == [[-1, -5], [254, 250]]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, ml_dtypes.int4, ml_dtypes.uint4])
def test_every_code_comes_back(dtype: type) -> None:
    low, high = code_range(np.dtype(dtype))
    root: Array = np.arange(low, high + 1).reshape(4, -1).astype(dtype)
    node = op("DequantizeLinear", "root scale zero", "seen", axis=0)
    scale = np.array([0.1, 3e-5, 7, -0.3], np.float32)
    zero: Array = np.array([low, high, low + 3, high - 5]).astype(dtype)
    model, source = behind([node], root, scale=scale, zero=zero)
    stored = weights_stored(model, source, as_seen(model, source))
    assert stored.dtype == dtype
    np.testing.assert_array_equal(stored.astype(int), root.astype(int))


def test_blocks_of_weights_with_a_scale_each() -> None:
    root = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.int8)
    node = op("DequantizeLinear", "root scale", "seen", axis=0, block_size=2)
    scale = np.array([[1, 2], [10, 20]], np.float32)
    model, source = behind([node], root, scale=scale)
    seen = as_seen(model, source)
    np.testing.assert_array_equal(seen, [[1, 4], [3, 8], [50, 120], [70, 160]])
    np.testing.assert_array_equal(weights_stored(model, source, seen), root)
