"""Which entries of a weight may survive: the nearest weight of a pattern, as a mask.

A projection takes values (groups, m, k) and a number of non-zeros, and returns a mask of
that shape with at most so many entries set. One function per pattern, in `PROJECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Projection = Callable[[NDArray[np.float32], int], NDArray[np.bool_]]


def unstructured(values: NDArray[np.float32], nonzeros: int) -> NDArray[np.bool_]:
    """The `nonzeros` largest magnitudes of the whole layer; among equals, the first."""
    excess = values.size - nonzeros
    if excess <= 0 or nonzeros <= 0:
        return np.full(values.shape, excess <= 0)
    magnitude = np.abs(values).ravel()
    threshold = np.partition(magnitude, excess)[excess]
    mask: NDArray[np.bool_] = magnitude >= threshold
    surplus = int(np.count_nonzero(mask)) - nonzeros
    if surplus:
        mask[np.flatnonzero(magnitude == threshold)[-surplus:]] = False
    return mask.reshape(values.shape)


PROJECTIONS: Mapping[str, Projection] = MappingProxyType({"unstructured": unstructured})
