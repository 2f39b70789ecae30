"""Judges of pruned networks: the original's outputs on fixed inputs, worked out once."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from eapc.data import Dataset
from eapc.errors import DataError
from eapc.evaluation.margins import DecisionMargins
from eapc.evaluation.measures import Accuracy, Agreement
from eapc.evaluation.metrics import TOP1_ACCURACY, Metric, MetricValue, Top1
from eapc.evaluation.parts import Outputs
from eapc.evaluation.yardstick import Yardstick
from eapc.model import Array, Model
from eapc.runtime import collect_outputs

logger = logging.getLogger(__name__)

_FEW = 256
"""Inputs on which to look at many networks."""


@dataclass(frozen=True)
class AccuracyJudge:
    """A metric of outputs on evaluation inputs, held against the original's.

    `original` holds the original's outputs for the n samples of `data` and `before` what they are
    worth; `is_share` is True where all of that lies in [0, 1].
    """

    data: Dataset
    original: Outputs
    metric: Metric
    before: MetricValue
    is_share: bool = True
    threads: int = 0

    @classmethod
    def of(
        cls, model: Model, data: Dataset, threads: int = 0, metric: Metric = TOP1_ACCURACY
    ) -> AccuracyJudge:
        """A judge against `model`; DataError where the metric cannot be had of it and the data."""
        metric.require(data)
        data = data.take(slice(0, data.usable))
        original = collect_outputs(model, data, threads)
        metric = metric.settled(original)
        before = _before(metric, original, data)
        if metric.lowest is None and before.value == 0:
            said = "is 0 for the original: if it cannot be lower, no loss will show"
            logger.warning(f"metric {metric.name} {said}")
        return cls(data, original, metric, before, before.is_share, threads)

    def accuracy(self, model: Model) -> Accuracy:
        """The metric of the original and of `model`; what is no number is the worst there is."""
        outputs = collect_outputs(model, self.data, self.threads)
        after = self.metric.measure(outputs, self.data)
        if after.is_mean != self.before.is_mean:
            said = "gives one number for one network and one per input for another"
            raise DataError(f"metric {self.metric.name}: {said}")
        figures = (len(self.data), self.metric.name, self.is_share)
        return self.before.against(after.at_worst, *figures)

    def require_answers(self) -> None:
        """Raise DataError where the original is worth nothing, or one answer would do for all."""
        if self.before.value == self.metric.lowest:
            raise DataError(
                "--eval: the original gets none of the inputs right: labels or scaling are "
                "not those that it was trained on"
            )
        labels = self.data.labels
        if isinstance(self.metric, Top1) and labels is not None and len(np.unique(labels)) < 2:
            raise DataError("--eval: all labels are of one class, so that one answer does for all")

    def expected_loss(self, divergence: float) -> float:
        """About what the metric should drop by at a divergence of the outputs; a guess."""
        return divergence if self._leads is None else self._leads.loss(divergence)

    @cached_property
    def _leads(self) -> DecisionMargins | None:
        return self.metric.margins(self.original, self.data)

    def halves(self) -> tuple[AccuracyJudge, AccuracyJudge]:
        """Every second sample of each class, and the rest: the same for the same data.

        By class, so that neither labels in turns nor labels in blocks make the halves unlike.
        Without labels it is every second sample.
        """
        labels = self.data.labels
        order = np.arange(len(self.data)) if labels is None else np.argsort(labels, kind="stable")
        first, second = (self._only(np.sort(order[start::2])) for start in (0, 1))
        return first, second

    def _only(self, indices: Array) -> AccuracyJudge:
        usable = self.data.take(indices).usable
        if not usable:
            raise DataError(f"{len(self.data)} samples to evaluate on are too few for two halves")
        indices = indices[:usable]
        rows = {name: y for name, y in self.original.items() if len(y) == len(self.data)}
        original = {name: array[indices] for name, array in rows.items()}
        data = self.data.take(indices)
        before = _before(self.metric, original, data)
        return replace(self, data=data, original=original, before=before)


def _before(metric: Metric, original: Outputs, data: Dataset) -> MetricValue:
    found = metric.measure(original, data)
    found.require_finite(metric.name)
    return found


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
        return cls.of(model, _few(data), threads)

    @classmethod
    def beside(
        cls, model: Model, data: Dataset, others: Dataset, threads: int = 0
    ) -> AgreementJudge:
        """A judge on all inputs of `data`; a few of the others help to tell what outputs vary by.

        Of the digits network, 64 inputs, 80 % zeros, the error of a class that none of eight
        held-out ones shows is 2.6 of its power there, and that of all scores 0.07 of their power
        on all 64: on 597 other inputs it is 0.065.
        """
        return cls(data, Yardstick.of(model, data, threads, _few(others)), threads)

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


def _few(data: Dataset) -> Dataset:
    few = data.take(slice(0, None, max(1, len(data) // _FEW)))
    return few if few.usable else data
