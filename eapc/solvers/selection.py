"""The largest of many scores, exactly so many and always the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def largest(scores: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """A mask of the `count` largest scores; among equals, the first."""
    excess = scores.size - count
    if excess <= 0 or count <= 0:
        return np.full(scores.shape, excess <= 0)
    flat = scores.ravel()
    threshold = np.partition(flat, excess)[excess]
    mask: NDArray[np.bool_] = flat >= threshold
    surplus = int(np.count_nonzero(mask)) - count
    if surplus:
        mask[np.flatnonzero(flat == threshold)[-surplus:]] = False
    return mask.reshape(scores.shape)


def largest_cells(
    scores: NDArray[np.float64], sizes: NDArray[np.intp], total: int
) -> NDArray[np.bool_]:
    """A mask of the cells of the largest scores whose sizes add up to at most `total`.

    Among equals the first; the first cell that does not fit ends the choice.
    """
    smallest = int(sizes.min())
    if smallest == sizes.max():
        return largest(scores, total // smallest)
    order = np.argsort(-scores, axis=None, kind="stable")
    mask = np.zeros(scores.size, bool)
    mask[order[np.cumsum(sizes.ravel()[order]) <= total]] = True
    return mask.reshape(scores.shape)
