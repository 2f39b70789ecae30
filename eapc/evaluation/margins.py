"""How surely a network decides, which tells what noise on its scores should change."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from eapc.evaluation.measures import log_probabilities
from eapc.model import Array


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
