"""How many inputs to send on: as few as keep the drop, told by inputs that fitted nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from eapc.model import Array

_NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Cut:
    """A threshold: inputs at least as hard as `value` are sent on.

    On the inputs that it was chosen on, `share` of them are sent on and `accuracy` of the answers
    are right; `is_kept` says whether that is within the drop.
    """

    value: float
    share: float
    accuracy: float
    is_kept: bool


def choose_cut(hardness: Array, first: Array, second: Array, least: float) -> Cut:
    """The cut that sends on fewest of (n,) inputs with at least this share of answers right.

    `first` and `second` say which answers are right of either network. Cuts lie between two
    inputs of different hardness, so that rounding moves none. Where no cut keeps the share it is
    the one of most right answers, and of those the one that sends on fewest. What is no number
    counts as hardest.
    """
    hardness = np.where(np.isnan(hardness), np.inf, hardness)
    order = np.argsort(-hardness, kind="stable")
    sorted_hardness = hardness[order].astype(np.float64)
    gained = np.cumsum(second[order].astype(int) - first[order].astype(int))
    right = int(first.sum()) + np.concatenate([[0], gained])
    n = len(order)
    possible = np.ones(n + 1, bool)
    possible[1:n] = sorted_hardness[:-1] > sorted_hardness[1:]
    enough = possible & (right >= least * n - 1e-9)
    kept = bool(enough.any())
    if not kept:
        enough = possible & (right == right[possible].max())
    sent = int(np.flatnonzero(enough)[0])
    return Cut(_between(sorted_hardness, sent), sent / n, float(right[sent]) / n, kept)


def _between(falling: Array, sent: int) -> float:
    """A threshold that the `sent` hardest inputs reach alone; single precision tells it apart."""
    if sent == 0:
        return float(np.finfo(np.float32).max)
    if sent == len(falling):
        return float(-np.finfo(np.float32).max)
    middle = float(np.float32((falling[sent - 1] + falling[sent]) / 2))
    return middle if middle > falling[sent] else float(falling[sent - 1])


def share_interval(count: int, samples: int) -> tuple[float, float]:
    """The share among all inputs of a kind in 95 of 100 cases, of which `count` were seen.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927):
    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).
    """
    if not samples:
        return 0.0, 1.0
    p, z2 = count / samples, _NORMAL_95**2
    middle = p + z2 / (2 * samples)
    reach = _NORMAL_95 * math.sqrt(p * (1 - p) / samples + z2 / (4 * samples**2))
    whole = 1 + z2 / samples
    return max(0.0, (middle - reach) / whole), min(1.0, (middle + reach) / whole)
