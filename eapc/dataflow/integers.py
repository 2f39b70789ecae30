"""Whole-number helpers of the mapping searches."""

from __future__ import annotations

import math
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


_FEW = 2048
"""So many numbers are sooner tried one by one."""


def smallest_divisors(total: int, limit: int) -> Ints:
    """The smallest x of 1..limit for each value of ceil(total / x), ascending.

    The smallest x whose value is v is ceil(total / v), and one of both is at most about the
    square root: what is to be tried stays small for any total.
    """
    most = max(1, min(limit, total))
    values = np.arange(1, min(most, max(_FEW, math.isqrt(total) + 1)) + 1, dtype=np.int64)
    if most > len(values):
        values = np.unique(np.concatenate([values, ceil_div(total, values)]))
        values = values[values <= most]
    smallest: Ints = values[ceil_div(total, ceil_div(total, values)) == values]
    return smallest
