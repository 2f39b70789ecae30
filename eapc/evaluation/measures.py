"""How well one network's outputs serve: accuracy against labels, agreement with the original."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax

from eapc.errors import DataError
from eapc.model import Array, is_float

Outputs = Mapping[str, Array]


@dataclass(frozen=True)
class Accuracy:
    """Fraction of samples whose top-1 class is their label, before and after pruning."""

    before: float
    after: float
    samples: int
    metric: str = "top-1"

    @property
    def loss(self) -> float:
        """What was lost, as a fraction of the samples; negative where accuracy rose."""
        return self.before - self.after

    def is_within(self, max_drop: float) -> bool:
        """True when at most this fraction of the samples is lost on balance."""
        return round(self.loss * self.samples) <= max_drop * self.samples + 1e-9


@dataclass(frozen=True)
class Agreement:
    """How far the outputs are the original's, on samples that took no part in the fit.

    `metric` is `top-1 agreement` (a fraction, higher is better) or `relative output error`
    (lower is better); `value` is met when it is within `limit`.
    """

    metric: str
    value: float
    limit: float
    samples: int

    @property
    def is_share(self) -> bool:
        """True for a share of samples that agree, False for an error."""
        return self.metric == TOP1_AGREEMENT

    @property
    def is_met(self) -> bool:
        """True when the value is on the good side of the limit."""
        return self.value >= self.limit if self.is_share else self.value <= self.limit

    def asking(self, least: float) -> Agreement:
        """The same with another limit, where that is one of top-1 agreement."""
        return replace(self, limit=least) if self.is_share else self

    @property
    def loss(self) -> float:
        """What is missing: the share of inputs that differ, or the error."""
        return 1 - self.value if self.is_share else self.value


_FEWEST_FOR_SHARE = 50
_NARROW_SPREAD = 0.05
"""Deviation of scores over classes below which softmax makes all of them nearly equal."""

TOP1_AGREEMENT = "top-1 agreement"
RELATIVE_ERROR = "relative output error"


def correct(outputs: Outputs, labels: Array, threshold: float) -> Array:
    """(n,) booleans: whether the only output's class is the label.

    The output is (n, classes) scores, or one number per sample that is above the threshold
    for class 1 and not for class 0; see `binary_threshold`. NaN is never correct.
    Raises DataError when the outputs are neither or a label is out of their range.
    """
    scores, binary = class_scores(outputs), _binary_scores(outputs)
    if scores is None and binary is not None:
        scores = np.column_stack([np.full(len(binary), threshold), binary])
    if scores is None:
        raise DataError(
            "labels y need a model with one output of shape (samples, classes), "
            "or (samples, 1) for two classes"
        )
    if len(scores) != len(labels):
        raise DataError(f"{len(labels)} labels for {len(scores)} outputs")
    if labels.size and int(labels.max()) >= scores.shape[1]:
        raise DataError(f"label {int(labels.max())} is out of range: {scores.shape[1]} classes")
    return np.asarray((scores.argmax(axis=1) == labels) & ~np.isnan(scores).any(axis=1))


def _binary_scores(outputs: Outputs) -> Array | None:
    """(n,) if the only output is one floating-point number per sample, else None."""
    if len(outputs) != 1:
        return None
    scores = next(iter(outputs.values()))
    is_one_each = scores.ndim >= 1 and scores.size == len(scores) and is_float(scores.dtype)
    return scores.reshape(-1) if is_one_each else None


def binary_threshold(original: Outputs) -> float:
    """Where one number per sample parts two classes: 0.5 of probabilities, 0 of logits.

    They are probabilities where all that the original network gives lie in [0, 1].
    """
    scores = _binary_scores(original)
    if scores is None:
        return 0.0
    return 0.5 if bool(((scores >= 0) & (scores <= 1)).all()) else 0.0


def class_scores(outputs: Outputs) -> Array | None:
    """(n, classes) scores if the outputs are those of a classifier, else None.

    A classifier has one floating-point output with one row per sample and more than one
    column.
    """
    if len(outputs) != 1:
        return None
    scores = next(iter(outputs.values()))
    if scores.ndim < 2 or scores.dtype.kind != "f":
        return None
    scores = scores.reshape(len(scores), scores.shape[1], -1)
    if scores.shape[2] != 1 or scores.shape[1] < 2:
        return None
    return scores[:, :, 0]


def relative_output_error(reference: Outputs, outputs: Outputs) -> float:
    """E||y - y'||^2 / E||y - mean||^2 of the worst floating-point output, in float64.

    The mean is over samples, so what is constant in y does not hide an error. An output
    that never varies counts relative to its own power; NaN is an infinite error. Outputs
    whose size depends on the data (detections) cannot be compared and are left out, as long
    as there are others.
    """
    alike = [name for name in reference if reference[name].shape == outputs[name].shape]
    if not alike and reference:
        return math.inf
    return max((_error(reference[name], outputs[name]) for name in alike), default=0.0)


def _error(y: Array, other: Array) -> float:
    if not is_float(y.dtype):
        return float((y != other).any(axis=tuple(range(1, y.ndim))).mean()) if y.size else 0.0
    wide = y.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        error = float(np.square(wide - other.astype(np.float64)).sum())
    if not math.isfinite(error):
        return math.inf
    power = float(np.square(wide - wide.mean(axis=0)).sum()) or float(np.square(wide).sum())
    if power == 0:
        return 0.0 if error == 0 else float("inf")
    return error / power


def agreement(
    reference: Outputs, outputs: Outputs, min_agreement: float, max_error: float, by_error: bool
) -> Agreement:
    """Top-1 agreement for classifiers, relative output error for the rest or if `by_error`.

    A share of few samples tells little: below `_FEWEST_FOR_SHARE` the error decides too.
    """
    scores, other = class_scores(reference), class_scores(outputs)
    samples = len(next(iter(reference.values())))
    by_error = by_error or samples < _FEWEST_FOR_SHARE
    favourites = None if scores is None else scores.argmax(axis=1)
    varied = favourites is not None and len(np.unique(favourites)) > 1
    if by_error or not varied or favourites is None or other is None:
        error = relative_output_error(reference, outputs)
        return Agreement(RELATIVE_ERROR, error, max_error, samples)
    same = (favourites == other.argmax(axis=1)) & np.isfinite(other).all(axis=1)
    return Agreement(TOP1_AGREEMENT, float(same.mean()), min_agreement, samples)


def output_divergence(reference: Outputs, outputs: Outputs, by_error: bool = False) -> float:
    """Mean KL divergence of classifiers' softmax outputs, relative output error of others.

    Infinite where outputs are not finite. Scores that spread less than softmax can tell apart
    are spread to unit deviation first.
    """
    scores, other = class_scores(reference), class_scores(outputs)
    if by_error or scores is None or other is None:
        return relative_output_error(reference, outputs)
    with np.errstate(over="ignore", invalid="ignore"):
        log_p, log_q = log_probabilities(scores), log_probabilities(other, scores)
        divergence = float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())
    return divergence if math.isfinite(divergence) else math.inf


@np.errstate(over="ignore", invalid="ignore")
def log_probabilities(scores: Array, original: Array | None = None) -> Array:
    """(n, classes) logarithms of what a softmax makes of scores, or of scores that it made.

    Which of the two they are, and whether they spread less than softmax can tell apart and are
    spread to unit deviation first, the `original` scores decide: by default these.
    """
    original = scores if original is None else original
    wide = scores.astype(np.float64)
    ends_in_softmax = (original >= 0).all() and np.allclose(original.sum(axis=1), 1, atol=1e-3)
    if ends_in_softmax:
        return np.log(np.maximum(wide, 1e-12))
    spread = float(original.std(axis=1, dtype=np.float64).mean())
    return np.asarray(log_softmax(wide / (spread if 0 < spread < _NARROW_SPREAD else 1), axis=1))
