"""Intervals by channel: between which numbers the elements of a tensor lie.

A sum of products is bounded by its midpoint and radius, which is widened by 2^-16 of all that is
added: that much rounding may do to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from eapc.model import Array

ROUNDING = 2.0**-16
"""What rounding may add to a sum, relative to the magnitudes of all that it adds up."""


@dataclass(frozen=True, eq=False)
class Interval:
    """Bounds of a tensor's elements: of every index of `axis`, or one pair for all of them.

    `low` and `high` are (length of the axis,) float64, (1,) without an axis.
    """

    low: Array
    high: Array
    axis: int | None = None

    @property
    def magnitude(self) -> Array:
        """The largest absolute value within the bounds."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def hull(self) -> Interval:
        """One pair of bounds for all channels."""
        return Interval(self.low.min(keepdims=True), self.high.max(keepdims=True))

    def with_number(self, number: float) -> Interval:
        """The same where some elements are a number, such as zeros of padding."""
        low, high = np.minimum(self.low, number), np.maximum(self.high, number)
        return replace(self, low=low, high=high)

    def along(self, axis: int, size: int) -> Interval:
        """The bounds of every index of an axis of a length."""
        if self.axis == axis and len(self.low) == size:
            return self
        known, shape = self.hull(), (size,)
        return Interval(np.broadcast_to(known.low, shape), np.broadcast_to(known.high, shape), axis)


def within(magnitude: float) -> Interval:
    """Bounds of elements of no larger magnitude, the same for all channels."""
    return Interval(np.array([-magnitude]), np.array([magnitude]))


UNBOUNDED = within(math.inf)


def product(one: Array, other: Array) -> Array:
    """Element-wise product of bounds, in which zero times infinity is zero."""
    with np.errstate(invalid="ignore"):
        found: Array = np.where((one == 0) | (other == 0), 0.0, one * other)
    return found


def sums_of_products(weights: Array, magnitudes: Array, x: Interval) -> tuple[Array, Array]:
    """Bounds (groups * outputs,) of weights @ x, group by group; x has one for each input.

    `weights` (groups, outputs, inputs, taps), `magnitudes` are their absolute values. Every tap
    reads any number within the bounds of its input. An element of x that has no bound leaves none
    to the rows with a weight for it.
    """
    groups, outputs, inputs, taps = weights.shape
    low, high = x.low.reshape(groups, inputs), x.high.reshape(groups, inputs)
    bounded = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(bounded, low, 0.0), np.where(bounded, high, 0.0)
    radius = (high - low) / 2 + ROUNDING * np.maximum(np.abs(low), np.abs(high))

    def summed(values: Array, each: Array) -> Array:
        # einsum: threads of a BLAS would take more than products of this size do
        rows = values.reshape(groups, outputs, inputs * taps)
        return np.asarray(np.einsum("gok,gk->go", rows, np.repeat(each, taps, axis=1)))

    centre, reach = summed(weights, (low + high) / 2), summed(magnitudes, radius)
    if not bounded.all():
        reach[((magnitudes > 0).any(axis=3) & ~bounded[:, None, :]).any(axis=2)] = math.inf
    return (centre - reach).reshape(-1), (centre + reach).reshape(-1)
