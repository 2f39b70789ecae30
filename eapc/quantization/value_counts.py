"""How often which values occur in a tensor, for a choice of grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eapc.model import Array

_BINS = 4096
"""Sixteen or more to a step of 8 bits."""


@dataclass(frozen=True, eq=False)
class ValueCounts:
    """Values that stand for those of a tensor, and how many are near each; zeros do not count.

    Zero lies on every grid, so it makes no error. `low` and `high` are the ends of all values.
    """

    centres: Array
    counts: Array
    low: float
    high: float

    @classmethod
    def of(cls, batches: Sequence[Array]) -> ValueCounts:
        """The counts over batches of a tensor, in bins of equal width."""
        low = min((float(batch.min()) for batch in batches if batch.size), default=0.0)
        high = max((float(batch.max()) for batch in batches if batch.size), default=0.0)
        if low == high:
            return cls(np.array([low]), np.array([float(low != 0)]), low, high)
        counts = np.zeros(_BINS)
        for batch in batches:
            values = batch[batch != 0]
            bins = ((values - low) * (_BINS / (high - low))).astype(np.int32)
            counts += np.bincount(np.minimum(bins, _BINS - 1), minlength=_BINS)
        edges = np.linspace(low, high, _BINS + 1)
        return cls((edges[1:] + edges[:-1]) / 2, counts, low, high)

    @classmethod
    def joined(cls, parts: Sequence[ValueCounts]) -> ValueCounts:
        """The counts of several tensors together."""
        return cls(
            np.concatenate([part.centres for part in parts]),
            np.concatenate([part.counts for part in parts]),
            min(part.low for part in parts),
            max(part.high for part in parts),
        )
