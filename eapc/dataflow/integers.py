"""Whole-number helpers of the mapping searches."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]
IntOrInts = TypeVar("IntOrInts", int, Ints)


def ceil_div(total: int | Ints, part: IntOrInts) -> IntOrInts:
    """Parts of size `part` that `total` takes, elementwise."""
    return cast("IntOrInts", -(-total // part))


def ceil_quotients(total: int, parts: Ints | Floats) -> Floats:
    """`ceil_div` as floats, several times as fast; exact below 2^53.

    A quotient that is no whole number is at least 1 / part away from one: more than rounding.
    """
    quotients = np.divide(total, parts)
    return np.ceil(quotients, out=quotients)


def smallest_divisors(total: int, limit: int) -> Ints:
    """The smallest x of 1..limit for each value of ceil(total / x), ascending."""
    values = np.arange(1, max(1, min(limit, total)) + 1, dtype=np.int64)
    smallest: Ints = values[ceil_div(total, ceil_div(total, values)) == values]
    return smallest
