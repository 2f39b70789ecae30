"""The selector: how much each input needs the better network, fitted and chosen among candidates.

Every candidate is linear in its features. The simplest one that is not worse wins, where worse
means by more than one standard error of the folds' differences (Breiman, Friedman, Olshen, Stone,
"Classification and Regression Trees", 1984, section 3.4.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from eapc.model import Array

_FOLDS = 5
_FEWEST = 20
"""Fewer inputs that gain, or that do not, fit no weights."""

_PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Of the squared weights of standardised features, against the mean loss of an input."""


@dataclass(frozen=True)
class Features:
    """What is known of n inputs: (n, 3) of the answer, (n, channels) pooled or none."""

    confidence: Array
    pooled: Array | None = None

    def take(self, rows: Array) -> Features:
        """Those of some inputs."""
        pooled = None if self.pooled is None else self.pooled[rows]
        return Features(self.confidence[rows], pooled)


@dataclass(frozen=True)
class Selector:
    """Hardness of an input: `confidence` (3,) and `pooled` weights on its features, plus `bias`.

    `pooled` is None where no pooled features take part.
    """

    name: str
    confidence: Array
    pooled: Array | None = None
    bias: float = 0.0

    def hardness(self, features: Features) -> Array:
        """(n,) in single precision, as the network will have it."""
        found = features.confidence @ self.confidence.astype(np.float32)
        if self.pooled is not None:
            assert features.pooled is not None  # it was fitted on them
            found = found + features.pooled @ self.pooled.astype(np.float32)
        return np.asarray(found + np.float32(self.bias), np.float32)


@dataclass(frozen=True)
class TriedSelector:
    """A selector that was tried: area under the curve on inputs left out of its fit.

    `auc` is the mean over folds, `error` the standard error of its difference from the best's.
    """

    name: str
    auc: float
    error: float = 0.0


@dataclass(frozen=True)
class Selection:
    """The selector that was chosen, and what all candidates came to, the simplest first."""

    selector: Selector
    candidates: tuple[TriedSelector, ...] = field(default=())

    @property
    def auc(self) -> float | None:
        """That of the chosen one; None where nothing was compared."""
        found = [each.auc for each in self.candidates if each.name == self.selector.name]
        return found[0] if found else None


CONFIDENCE_ALONE = Selector("confidence", np.array([1.0, 0.0, 0.0], np.float32))

SIMPLE = (
    CONFIDENCE_ALONE,
    Selector("margin", np.array([0.0, 0.0, 1.0], np.float32)),
    Selector("entropy", np.array([0.0, 1.0, 0.0], np.float32)),
)
"""Without a fit, the cheapest first."""

_OF_ANSWER = "regression on confidence"
_OF_BOTH = "regression on confidence and pooled features"


def select(features: Features, gains: Array) -> Selection:
    """The selector for (n,) inputs, of which `gains` are better served by the other network."""
    gains = gains.astype(bool)
    if min(gains.sum(), (~gains).sum()) < _FEWEST:
        return Selection(CONFIDENCE_ALONE)
    names = [each.name for each in SIMPLE] + [_OF_ANSWER]
    names += [_OF_BOTH] if features.pooled is not None else []
    folds = _folds(gains)
    scores = np.array([[_held_out(name, features, gains, f) for f in folds] for name in names])
    chosen, candidates = _simplest(names, scores)
    return Selection(_made(names[chosen], features, gains), candidates)


def area_under_curve(hardness: Array, gains: Array) -> float:
    """The share of pairs (one that gains, one that does not) in the right order; ties count half.

    Mann and Whitney (1947). A half where there are no pairs.
    """
    gains = gains.astype(bool)
    positive, negative = int(gains.sum()), int((~gains).sum())
    if not positive or not negative:
        return 0.5
    ranks = float(rankdata(hardness)[gains].sum())
    return (ranks - positive * (positive + 1) / 2) / (positive * negative)


def _simplest(names: Sequence[str], scores: Array) -> tuple[int, tuple[TriedSelector, ...]]:
    """The first of (names, folds) scores within a standard error of the best."""
    best = scores.mean(axis=1).argmax()
    lost = scores[best] - scores
    errors = lost.std(axis=1, ddof=1) / np.sqrt(scores.shape[1])
    within = lost.mean(axis=1) <= errors
    means = scores.mean(axis=1)
    found = (
        TriedSelector(n, float(m), float(e)) for n, m, e in zip(names, means, errors, strict=True)
    )
    return int(np.flatnonzero(within)[0]), tuple(found)


def _folds(gains: Array) -> list[Array]:
    """Rows of each fold, either kind dealt out in turn."""
    order = np.argsort(gains, kind="stable")
    return [np.sort(order[start::_FOLDS]) for start in range(_FOLDS)]


def _held_out(name: str, features: Features, gains: Array, fold: Array) -> float:
    others = np.delete(np.arange(len(gains)), fold)
    made = _made(name, features.take(others), gains[others])
    return area_under_curve(made.hardness(features.take(fold)), gains[fold])


def _made(name: str, features: Features, gains: Array) -> Selector:
    """The candidate of a name, fitted where it has something to fit."""
    for simple in SIMPLE:
        if simple.name == name:
            return simple
    has_pooled = name == _OF_BOTH and features.pooled is not None
    x = features.confidence
    if has_pooled:
        x = np.column_stack([x, features.pooled])  # type: ignore[list-item]
    weights, bias = _regression(x.astype(np.float64), gains)
    known = features.confidence.shape[1]
    single = weights.astype(np.float32)
    return Selector(name, single[:known], single[known:] if has_pooled else None, bias)


# --- logistic regression -------------------------------------------------------------------------


def _regression(x: Array, gains: Array) -> tuple[Array, float]:
    """Weights (features,) and bias with the penalty that predicts inputs left out best."""
    losses = []
    for penalty in _PENALTIES:
        total = 0.0
        for fold in _folds(gains):
            others = np.delete(np.arange(len(gains)), fold)
            weights, bias = _fitted(x[others], gains[others], penalty)
            signs = np.where(gains[fold], -1, 1)
            total += float(np.logaddexp(0, signs * (x[fold] @ weights + bias)).sum())
        losses.append(total)
    return _fitted(x, gains, _PENALTIES[int(np.argmin(losses))])


def _fitted(x: Array, gains: Array, penalty: float) -> tuple[Array, float]:
    """Least mean log loss plus penalty / 2 |w|^2 on standardised features, in their own units."""
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    scale = np.where(deviation > 0, 1 / np.maximum(deviation, 1e-30), 0)
    z = (x - mean) * scale
    y = gains.astype(np.float64)

    def loss(parameters: Array) -> tuple[float, Array]:
        w, b = parameters[:-1], parameters[-1]
        t = z @ w + b
        value = float((np.logaddexp(0, t) - y * t).mean() + penalty / 2 * (w @ w))
        residual = (expit(t) - y) / len(y)
        return value, np.append(z.T @ residual + penalty * w, residual.sum())

    rate = float(np.clip(y.mean(), 1e-6, 1 - 1e-6))
    start = np.append(np.zeros(x.shape[1]), np.log(rate / (1 - rate)))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    weights = found[:-1] * scale
    return weights, float(found[-1] - mean @ weights)
