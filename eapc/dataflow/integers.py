"""Whole-number helpers of the mapping searches."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
IntOrInts = TypeVar("IntOrInts", int, Ints)


def ceil_div(total: int, part: int) -> int:
    """Parts of size `part` that `total` takes."""
    return -(-total // part)


def ceil_divs(total: int | Ints, parts: Ints) -> Ints:
    """`ceil_div` elementwise."""
    return -(-total // parts)


def ceil_quotients(total: int, parts: Ints | Floats) -> Floats:
    """`ceil_divs` as floats, several times as fast; exact below 2^53.

    A quotient that is no whole number is at least 1 / part away from one: more than rounding.
    """
    quotients = np.divide(total, parts)
    return np.ceil(quotients, out=quotients)


def smallest_divisors(total: int, limit: int) -> Ints:
    """The smallest x of 1..limit for each value of ceil(total / x), ascending."""
    values = np.arange(1, max(1, min(limit, total)) + 1, dtype=np.int64)
    smallest: Ints = values[ceil_divs(total, ceil_divs(total, values)) == values]
    return smallest


def rows_touched(ofmap_rows: IntOrInts, taps: int, stride: int, dilation: int) -> IntOrInts:
    """Distinct ifmap rows o * stride + k * dilation of adjacent ofmap rows o and `taps` taps k.

    Over the steps' greatest common divisor g, (o, k) reads the row of (o - dilation / g,
    k + stride / g): all pairs count but those which have such a partner.
    """
    step = math.gcd(stride, dilation)
    stride, dilation = stride // step, dilation // step
    shared = (ofmap_rows > dilation) * (ofmap_rows - dilation) * max(taps - stride, 0)
    return ofmap_rows * taps - shared
