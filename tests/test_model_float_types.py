"""Numbers in the floating-point types of tensors: finite, and zero only where they were."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from builders import loaded, normal, op

from eapc.model.float_types import FLOAT_TYPES, in_types

HALF, BRAIN, SINGLE = (np.dtype(t) for t in (np.float16, ml_dtypes.bfloat16, np.float32))


@pytest.mark.parametrize("name", FLOAT_TYPES)
def test_bounds_are_those_of_the_types(name: str) -> None:
    info = ml_dtypes.finfo(name)  # type: ignore[no-untyped-call]
    assert FLOAT_TYPES[name].largest == float(info.max)
    assert FLOAT_TYPES[name].smallest == float(info.smallest_subnormal)
    assert FLOAT_TYPES[name].digits == info.nmant + 1


def test_the_largest_number_within_a_limit() -> None:
    """bfloat16 has 8 digits: above 2^15 its numbers are 256 apart, and 255 * 256 = 65280."""
    assert FLOAT_TYPES["bfloat16"].at_most(65504.0) == 65280.0
    assert FLOAT_TYPES["float16"].at_most(70000.0) == 65504.0
    assert FLOAT_TYPES["float16"].at_most(3.0) == 3.0


def test_numbers_of_two_types_fit_both() -> None:
    found = in_types(np.array([1e9, -1e9, 1e-12, 0], np.float32), [BRAIN, HALF])
    assert found.dtype == BRAIN
    assert found.astype(np.float32).tolist() == [65280.0, -65280.0, 2.0**-24, 0.0]
    assert np.isfinite(found.astype(HALF)).all()


@pytest.mark.parametrize("dtype", [HALF, BRAIN, SINGLE])
@pytest.mark.parametrize("exponent", [-50, -24, -8, 0, 10, 38])
def test_any_numbers_keep_their_zeros_and_are_near(dtype: np.dtype[Any], exponent: int) -> None:
    values = normal((400,), 5) * np.float32(2.0**exponent)
    values[::3] = 0
    found = in_types(values, [dtype]).astype(np.float64)
    kind = FLOAT_TYPES[dtype.name]
    np.testing.assert_array_equal(found == 0, values == 0)
    assert np.abs(found).max() <= kind.largest
    fits = np.abs(values) <= kind.largest
    apart = np.maximum(np.abs(values) * 2.0**-kind.digits, kind.smallest)
    assert (np.abs(found - values) <= apart)[fits].all()


def test_what_is_no_number_stays_so() -> None:
    assert np.isnan(in_types(np.array([np.nan], np.float32), [HALF])).all()


def test_a_model_stores_no_infinities_and_no_zeros_of_its_own() -> None:
    model = loaded([op("MatMul", "x w", "y")], {"x": (1, 2)}, ["y"], {"w": np.ones((2, 2), HALF)})
    changed = model.with_weights({"w": np.array([[1e9, 1e-9], [0, -1e9]], np.float32)})
    assert changed.weights["w"].tolist() == [[65504.0, 2.0**-24], [0.0, -65504.0]]
