"""Whether a classifier that was cut to some classes gives the original's scores for these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from eapc.data import Dataset
from eapc.errors import VerificationError
from eapc.model import Array, Model
from eapc.runtime import collect_outputs

_TOLERANCE = 0.05
"""Of the spread of the scores: quantized ones may round to the next step."""


def require_kept_answers(
    original: Model, cut: Model, positions: Sequence[int], ending: str, data: Dataset, threads: int
) -> None:
    """Raise VerificationError unless the cut network scores a few inputs as the original does.

    `ending` is the operator that divides scores by what all classes have together, Softmax or
    LogSoftmax, or empty; of another one nothing is known.
    """
    if ending not in ("", "Softmax", "LogSoftmax"):
        return
    few = data.first(min(len(data), data.fixed_batch or 8))
    (before,) = collect_outputs(original, few, threads).values()
    (after,) = collect_outputs(cut, few, threads).values()
    expected = _of_these(before[:, list(positions)].astype(np.float64), ending)
    spread = np.ptp(expected) or 1.0
    if np.isfinite(expected).all() and not np.abs(after - expected).max() <= _TOLERANCE * spread:
        raise VerificationError("the cut network's scores are not the original's of these classes")


def _of_these(scores: Array, ending: str) -> Array:
    """What a softmax gives of these classes alone, by what it gave of them among all."""
    if ending == "Softmax":
        total = scores.sum(axis=1, keepdims=True)
        return np.asarray(scores / np.where(total > 0, total, np.nan))
    if ending == "LogSoftmax":
        return np.asarray(scores - logsumexp(scores, axis=1, keepdims=True))
    return scores
