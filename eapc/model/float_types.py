"""Real numbers in the floating-point types of tensors: finite and zero where they were.

Weights are worked on in float32 and stored in the type that the file has for them. float16 holds
nothing above 65504 and nothing between 0 and 2^-24, so that a plain conversion makes infinities,
and zeros that nobody has asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eapc.model.tensors import Array


@dataclass(frozen=True)
class FloatType:
    """Digits of the significand, the leading one included, and the exponents of its bounds.

    Values are below 2^`top`; the smallest above 0 is 2^`bottom`, a subnormal number.
    """

    digits: int
    top: int
    bottom: int

    @property
    def largest(self) -> float:
        """(1 - 2^-digits) 2^top."""
        return math.ldexp(1 - 2.0**-self.digits, self.top)

    @property
    def smallest(self) -> float:
        """The smallest number above 0."""
        return math.ldexp(1, self.bottom)

    def at_most(self, limit: float) -> float:
        """The largest number of the type that is no larger than a positive limit."""
        mantissa, exponent = math.frexp(min(limit, self.largest))
        return math.ldexp(math.floor(math.ldexp(mantissa, self.digits)), exponent - self.digits)


FLOAT_TYPES = {
    "float16": FloatType(11, 16, -24),
    "bfloat16": FloatType(8, 128, -133),
    "float32": FloatType(24, 128, -149),
    "float64": FloatType(53, 1024, -1074),
}
"""By numpy's names."""


def in_types(values: Array, dtypes: Sequence[np.dtype[Any]]) -> Array:
    """Values of the first type that are finite in all of them and, where they are not 0, not 0.

    `dtypes` are those that a constant goes through on its way to a layer. What is too large for
    one of them becomes the largest that fits all, what is too small the smallest.
    """
    types = [FLOAT_TYPES[dtype.name] for dtype in (*dtypes, values.dtype)]
    largest, smallest = min(each.largest for each in types), max(each.smallest for each in types)
    for each in types:
        largest = each.at_most(largest)
    small = (values != 0) & (np.abs(values) < smallest)
    if small.any():
        values = np.where(small, np.copysign(values.dtype.type(smallest), values), values)
    kept = np.clip(values, values.dtype.type(-largest), values.dtype.type(largest))
    for dtype in reversed(dtypes):
        kept = kept.astype(dtype, copy=False)
    return kept
