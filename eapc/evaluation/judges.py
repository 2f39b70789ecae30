"""Judges of pruned networks: the original's answers on fixed inputs, worked out once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from eapc.data import Dataset
from eapc.errors import DataError
from eapc.evaluation.measures import (
    Accuracy,
    Agreement,
    binary_threshold,
    class_scores,
    correct,
    log_probabilities,
)
from eapc.evaluation.parts import Outputs
from eapc.evaluation.yardstick import Yardstick
from eapc.model import Array, Model
from eapc.runtime import collect_outputs

_FEW = 256
"""Inputs on which to look at many networks."""


@dataclass(frozen=True)
class DecisionMargins:
    """Leads of one class per sample in a network's scores, and how unsure these are.

    A model of pruning's effect without a free constant, good for a first guess: every score gets
    normal noise of one deviation s. The divergence of a softmax p under small changes d of its
    scores is half the variance of d under p, so on average s^2/2 (1 - sum p^2): that gives s. A
    class that leads by a margin m keeps the lead over its rival with probability
    Phi(m / (s sqrt 2)).

    `margins` is (n,): the score of the class less the best of the others; `doubt` the mean of
    1 - sum p^2.
    """

    margins: Array
    doubt: float

    @classmethod
    def of(cls, scores: Array, classes: Array) -> DecisionMargins:
        """The leads of (n,) `classes` in (n, more than one class) scores."""
        logs = log_probabilities(scores)
        rows = np.arange(len(logs))
        own = logs[rows, classes]
        others = logs.copy()
        others[rows, classes] = -np.inf
        doubt = float((1 - np.square(np.exp(logs)).sum(axis=1)).mean())
        return cls(own - others.max(axis=1), doubt)

    def loss(self, divergence: float) -> float:
        """Fraction of samples that should lose the class at this mean KL divergence, on balance."""
        if not 0 < divergence < math.inf or not self.doubt > 0:
            return 0.0 if divergence == 0 else 1.0
        noise = math.sqrt(2 * divergence / self.doubt)
        kept = ndtr(self.margins / (noise * math.sqrt(2)))
        return float((self.margins > 0).mean() - kept.mean())


@dataclass(frozen=True)
class AccuracyJudge:
    """Top-1 accuracy on labelled inputs, held against the original's.

    `original` holds the original's outputs for the n samples of `data`; `before` is (n,)
    booleans: which of them it gets right.
    """

    data: Dataset
    original: Outputs
    before: Array
    threshold: float
    threads: int = 0

    @classmethod
    def of(cls, model: Model, data: Dataset, threads: int = 0) -> AccuracyJudge:
        """A judge against `model`; DataError where data has no labels or they do not fit."""
        data = data.take(slice(0, data.usable))
        original = collect_outputs(model, data, threads)
        threshold = binary_threshold(original)
        before = correct(original, data.require_labels(), threshold)
        return cls(data, original, before, threshold, threads)

    def accuracy(self, model: Model) -> Accuracy:
        """Accuracy of the original and of `model`."""
        outputs = collect_outputs(model, self.data, self.threads)
        after = correct(outputs, self.data.require_labels(), self.threshold)
        changed = int(np.count_nonzero(after != self.before))
        figures = (float(self.before.mean()), float(after.mean()), len(after))
        return Accuracy(*figures, changed=changed)

    def expected_loss(self, divergence: float) -> float:
        """About what accuracy should drop by at a divergence of the outputs; a guess."""
        return divergence if self._leads is None else self._leads.loss(divergence)

    @cached_property
    def _leads(self) -> DecisionMargins | None:
        scores = class_scores(self.original)
        return None if scores is None else DecisionMargins.of(scores, self.data.require_labels())

    def halves(self) -> tuple[AccuracyJudge, AccuracyJudge]:
        """Every second sample of each class, and the rest: the same for the same data.

        By class, so that neither labels in turns nor labels in blocks make the halves unlike.
        """
        by_class = np.argsort(self.data.require_labels(), kind="stable")
        first, second = (self._only(np.sort(by_class[start::2])) for start in (0, 1))
        return first, second

    def _only(self, indices: Array) -> AccuracyJudge:
        usable = self.data.take(indices).usable
        if not usable:
            raise DataError(f"{len(self.data)} labelled samples are too few for two halves")
        indices = indices[:usable]
        original = {name: array[indices] for name, array in self.original.items()}
        data = self.data.take(indices)
        return replace(self, data=data, original=original, before=self.before[indices])


@dataclass(frozen=True)
class AgreementJudge:
    """Agreement of outputs with the original's; on synthesised inputs their relative error."""

    data: Dataset
    yardstick: Yardstick
    threads: int = 0

    @classmethod
    def of(cls, model: Model, data: Dataset, threads: int = 0) -> AgreementJudge:
        """A judge against `model`."""
        return cls(data, Yardstick.of(model, data, threads), threads)

    @classmethod
    def on_few(cls, model: Model, data: Dataset, threads: int = 0) -> AgreementJudge:
        """A judge on evenly spaced inputs, a few hundred at most where they fill a batch."""
        few = data.take(slice(0, None, max(1, len(data) // _FEW)))
        return cls.of(model, few if few.usable else data, threads)

    def divergence(self, model: Model) -> float:
        """How far the outputs of `model` are from the original's; see `Yardstick.divergence`."""
        return self.yardstick.divergence(collect_outputs(model, self.data, self.threads))

    def agreement(self, model: Model, least: float, max_error: float) -> Agreement:
        """What `model` keeps: at least this share of classes or at most this error is asked."""
        outputs = collect_outputs(model, self.data, self.threads)
        return self.yardstick.agreement(outputs, least, max_error)

    def allowed(self, least: float, max_error: float) -> float:
        """The loss that still meets these limits, see `Agreement.loss`."""
        return 1 - least if self.yardstick.is_by_share else max_error

    def expected_loss(self, divergence: float) -> float:
        """About what agreement should lose at a divergence of the outputs; a guess."""
        return divergence if self._leads is None else self._leads.loss(divergence)

    @cached_property
    def _leads(self) -> DecisionMargins | None:
        scores = self.yardstick.scores if self.yardstick.is_by_share else None
        return None if scores is None else DecisionMargins.of(scores, scores.argmax(axis=1))
