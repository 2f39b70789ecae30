"""How well one network's outputs serve: accuracy against labels, agreement with the original."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import log_softmax

from eapc.errors import DataError
from eapc.evaluation.estimates import Estimate, matched_shares
from eapc.evaluation.parts import Outputs
from eapc.model import Array, is_float

TOP1 = "top-1"

_ROUNDING = 1e-12
"""Relative error of sums: no drop."""


@dataclass(frozen=True)
class Accuracy:
    """What a metric gives before and after pruning; higher is better.

    By default the fraction of samples whose top-1 class is their label. `changed` is how many
    samples are right in one of the two alone. The same samples are seen by both, so their
    difference is known better than either figure. Of a metric that is no count of samples,
    `estimate` says how well; `is_share` is True where what it gives for the original lies in
    [0, 1].
    """

    before: float
    after: float
    samples: int
    metric: str = TOP1
    is_share: bool = True
    changed: int | None = field(default=None, compare=False)
    estimate: Estimate | None = field(default=None, compare=False)

    @property
    def title(self) -> str:
        """What to call it: `top-1 accuracy`, or the metric's name."""
        return "top-1 accuracy" if self.metric == TOP1 else self.metric

    @property
    def loss(self) -> float:
        """What was lost, negative where the metric rose; of samples a fraction."""
        return self.before - self.after

    def shown(self, value: float) -> str:
        """A value of the metric for people: `41.2%` of a share, else four digits."""
        if not math.isfinite(value):
            return "no number"
        return f"{value:.1%}" if self.is_share else f"{value:.4g}"

    def amount(self, change: float) -> str:
        """A change of the metric for people: `1.2 points` of a share, else four digits."""
        if not math.isfinite(change):
            return "more than can be told"
        return f"{100 * change:.1f} points" if self.is_share else f"{change:.4g}"

    def is_within(self, max_drop: float) -> bool:
        """True when at most this much is lost on balance."""
        if self.estimate is not None:
            return self.loss <= max_drop + _ROUNDING * max(abs(self.before), max_drop)
        return round(self.loss * self.samples) <= max_drop * self.samples + 1e-9

    @property
    def loss_interval(self) -> tuple[float, float]:
        """What the loss is among all inputs of this kind, in 95 of 100 cases."""
        low, high = self._estimate.interval
        return (low, high) if self.estimate is not None else (max(-1.0, low), min(1.0, high))

    def confidence(self, max_drop: float) -> float:
        """The probability that among all such inputs at most this much is lost."""
        return self._estimate.confidence(max_drop)

    def samples_to_tell(self, max_drop: float) -> int | None:
        """About how many samples tell the loss to within such a drop, in 95 of 100 cases.

        None where nothing is known of it.
        """
        low, high = self.loss_interval
        if not math.isfinite(high - low):
            return None
        return math.ceil(self.samples * ((high - low) / 2 / max_drop) ** 2)

    @property
    def _estimate(self) -> Estimate:
        if self.estimate is not None:
            return self.estimate
        changed = self.changed
        if changed is None:  # as if what is right before and after had nothing to do with it
            apart = self.before * (1 - self.after) + self.after * (1 - self.before)
            changed = round(self.samples * apart)
        return matched_shares(self.loss * self.samples, changed, self.samples)


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
    if scores.ndim < 2 or scores.dtype.kind != "f" or not scores.size:
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
