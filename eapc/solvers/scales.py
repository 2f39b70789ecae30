"""Outputs of very different scale: which of them are one part, and what each counts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

ALIKE = 100.0
"""Channels of one part have powers within this factor."""


def parts_by_scale(power: NDArray[np.float64], limit: NDArray[np.float64]) -> NDArray[np.intp]:
    """The part of each of some channels (n,), numbered from the largest power down.

    A part goes from its largest power to a hundredth of it. Channels of a power up to their
    `limit` do not vary: they are one part, numbered n.
    """
    parts = np.full(len(power), len(power), np.intp)
    top, current = math.inf, -1
    for place in np.argsort(-power, kind="stable"):
        if power[place] <= limit[place]:
            continue
        if current < 0 or power[place] * ALIKE < top:
            top, current = float(power[place]), current + 1
        parts[place] = current
    return parts
