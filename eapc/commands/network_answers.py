"""Networks with what they answer to evaluation inputs: scores, which are right, at what energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eapc.commands.compiler import analysis_of
from eapc.commands.preparation import Settings, prepare
from eapc.data import Dataset
from eapc.energy import EnergyReport
from eapc.errors import DataError, ModelError
from eapc.evaluation import TOP1, TOP1_AGREEMENT, Accuracy, class_scores
from eapc.model import Array, Model
from eapc.routing import Level, Scores, Split
from eapc.runtime import collect_outputs


@dataclass(frozen=True)
class NetworkAnswers:
    """Networks with what they answer to all evaluation inputs, the original first.

    `scores` are (n, classes) and `right` (n,) booleans by the networks' sources; `labels` are those
    of the data, else the original's answers, as `metric` says.
    """

    levels: tuple[Level, ...]
    scores: Mapping[str, Array]
    right: Mapping[str, Array]
    labels: Array
    metric: str
    data: Dataset
    rows: Split
    kind: Scores

    @classmethod
    def of(
        cls, networks: Mapping[str, Model], data: Dataset, rows: Split, settings: Settings
    ) -> NetworkAnswers:
        """Run all networks, by their sources, the original first."""
        scores = {
            name: scores_of_network(network, data, settings.threads)
            for name, network in networks.items()
        }
        dense = next(iter(networks))
        given = data.labels
        labels = scores[dense].argmax(axis=1) if given is None else given
        metric = TOP1_AGREEMENT if given is None else TOP1
        right = {name: _right(each, labels) for name, each in scores.items()}
        if not right[dense].any():
            raise DataError(
                "--eval: the original gets none of the inputs right: labels or scaling are "
                "not those that it was trained on"
            )
        levels = tuple(
            Level(
                name,
                network,
                _energy(network, settings),
                _accuracy(right[dense], right[name], rows.choose, metric),
                _accuracy(right[dense], right[name], rows.judge, metric),
            )
            for name, network in networks.items()
        )
        kind = Scores.of(scores[dense])
        return cls(levels, scores, right, labels, metric, data, rows, kind)

    @property
    def doubts(self) -> Mapping[str, Array]:
        """How unsure each network is of each answer: 1 less its largest probability."""
        return {name: self.kind.confidence(each)[:, 0] for name, each in self.scores.items()}

    def judged(self, scores: Array) -> Accuracy:
        """That of answers to the judging inputs against the original's."""
        rows = self.rows.judge
        dense = self.right[self.levels[0].source][rows]
        right = _right(scores, self.labels[rows])
        return _accuracy(dense, right, np.arange(len(rows)), self.metric)


def scores_of_network(network: Model, data: Dataset, threads: int) -> Array:
    """(n, classes) scores of a network; ModelError where it gives something else."""
    scores = class_scores(collect_outputs(network, data, threads))
    if scores is None or len(scores) != len(data):
        raise ModelError(
            f"{network.path or network.name}: gives no scores of (samples, two or more classes)"
        )
    return scores


def _right(scores: Array, labels: Array) -> Array:
    """(n,) booleans; what is no number is never right."""
    return np.asarray((scores.argmax(axis=1) == labels) & ~np.isnan(scores).any(axis=1))


def _energy(network: Model, settings: Settings) -> EnergyReport:
    return analysis_of(prepare(network, settings)).energy


def _accuracy(before: Array, after: Array, rows: Array, metric: str) -> Accuracy:
    one, two = before[rows], after[rows]
    changed = int(np.count_nonzero(one != two))
    return Accuracy(float(one.mean()), float(two.mean()), len(rows), metric, changed=changed)
