"""One network's outputs on some inputs, to hold those of others against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from eapc.data import Dataset
from eapc.evaluation.joins import Labels, joined_labels
from eapc.evaluation.measures import (
    RELATIVE_ERROR,
    TOP1_AGREEMENT,
    Agreement,
    class_scores,
    log_probabilities,
)
from eapc.evaluation.parts import OutputParts, Outputs, Samples
from eapc.model import Array, Model, all_finite
from eapc.runtime import collect_outputs

_FEWEST_FOR_SHARE = 50


@dataclass(frozen=True)
class Yardstick:
    """The outputs of a network, with the tensors that they are joined from (see `joined_labels`).

    With `by_error` outputs are compared by their relative error, whatever they are. Samples of
    several `kinds`, (n,) names, are judged apart: those of a large scale would hide all others.
    What outputs vary by is told by the samples `beside` as well, where there are any. The scores
    of a classifier are one part then: a class that few samples show has hardly any power.
    """

    reference: Outputs
    by_error: bool = False
    joined: Mapping[str, Labels] = field(default_factory=dict)
    kinds: Array | None = None
    inputs: int | None = None
    beside: Samples | None = None

    @classmethod
    def of(
        cls, model: Model, data: Dataset, threads: int = 0, beside: Dataset | None = None
    ) -> Yardstick:
        """That of a model on inputs, with others beside; made-up ones tell no classes apart."""
        shapes = data.shapes(1)

        def joined() -> Mapping[str, Labels]:
            return joined_labels(model, shapes)

        known = model.analyses.once(("joined", str(shapes)), joined)
        outputs, kinds = _samples(model, data, threads)
        others = None if beside is None else _samples(model, beside, threads)
        return cls(outputs, data.synthesised, known, kinds, data.usable, others)

    @property
    def samples(self) -> int:
        """The inputs, however many rows the outputs have; these where they are not known."""
        return self.inputs or len(next(iter(self.reference.values())))

    @property
    def is_by_share(self) -> bool:
        """Whether agreement is a share of samples.

        It takes a classifier that answers more than one class, on enough samples: a share of few
        tells little.
        """
        scores = self.scores
        if self.by_error or self.samples < _FEWEST_FOR_SHARE or scores is None:
            return False
        return len(np.unique(scores.argmax(axis=1))) > 1

    @property
    def obstacle(self) -> str:
        """Why the outputs cannot tell what another network's lose, to end "they are ..." with.

        Empty where they can. What real inputs saturate is so in use.
        """
        if self.is_by_share:
            return ""
        if not all(all_finite(y) for y in self.reference.values()):
            return "not finite on some of"
        if not self._parts.vary:
            return "the same for all"
        if self.by_error and self._parts.are_saturated:
            return "saturated, at one end of an activation's range or the other, on all"
        return ""

    @cached_property
    def scores(self) -> Array | None:
        """(n, classes) of a classifier, else None."""
        return class_scores(self.reference)

    def agreement(self, outputs: Outputs, least: float, max_error: float) -> Agreement:
        """Top-1 agreement of classifiers, of which `least` is asked; else the relative error."""
        scores, other = self.scores, class_scores(outputs)
        if not self.is_by_share or scores is None or other is None:
            errors = self._parts.errors(outputs)
            figures = (errors.worst, max_error, self.samples)
            return Agreement(RELATIVE_ERROR, *figures, errors.part, errors.mean, errors.unjudged)
        same = (scores.argmax(axis=1) == other.argmax(axis=1)) & np.isfinite(other).all(axis=1)
        return Agreement(TOP1_AGREEMENT, float(same.mean()), least, self.samples)

    def divergence(self, outputs: Outputs) -> float:
        """Mean KL divergence of classifiers' softmax outputs, the worst part's error of others.

        Infinite where outputs are not finite. Scores that spread less than softmax can tell
        apart are spread to unit deviation first. Parts that do not vary count relative to what
        all of their output varies by: they are to be no worse than the others.
        """
        scores, other = self.scores, class_scores(outputs)
        if self.by_error or scores is None or other is None:
            return self._parts.largest(outputs)
        with np.errstate(over="ignore", invalid="ignore"):
            log_p, log_q = log_probabilities(scores), log_probabilities(other, scores)
            divergence = float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())
        return divergence if math.isfinite(divergence) else math.inf

    @cached_property
    def _parts(self) -> OutputParts:
        by_scale = self.beside is None or self.scores is None
        return OutputParts(self.reference, self.joined, self.kinds, self.beside, by_scale)


def _samples(model: Model, data: Dataset, threads: int) -> Samples:
    kinds = None
    if data.kinds is not None:
        kinds = np.asarray(data.kind_names)[data.kinds[: data.usable]]
    return Samples(collect_outputs(model, data, threads), kinds)
