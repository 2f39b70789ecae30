"""Whole-number helpers of the mapping searches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def ceil_div(total: int, part: int) -> int:
    """Parts of size `part` that `total` takes."""
    return -(-total // part)


def ceil_divs(total: int | Ints, parts: Ints) -> Ints:
    """`ceil_div` elementwise."""
    return -(-total // parts)


def smallest_divisors(total: int, limit: int) -> Ints:
    """The smallest x of 1..limit for each value of ceil(total / x), ascending."""
    values = np.arange(1, max(1, min(limit, total)) + 1, dtype=np.int64)
    return np.unique(ceil_divs(total, ceil_divs(total, values)))
