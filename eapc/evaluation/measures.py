"""How well one network's outputs serve: accuracy against labels, agreement with the original."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax

from eapc.errors import DataError
from eapc.evaluation.parts import Outputs
from eapc.model import Array, is_float


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
    (lower is better); `value` is met when it is within `limit`. An error is that of the worst
    `part` of the outputs, `mean` that of all parts, and `unjudged` names parts that do not vary
    on these samples, so that nothing is known of them.
    """

    metric: str
    value: float
    limit: float
    samples: int
    part: str = ""
    mean: float | None = None
    unjudged: tuple[str, ...] = ()

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
