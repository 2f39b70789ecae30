"""Networks with what they answer to evaluation inputs: scores, which are right, at what energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

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
        kind = Scores.of(scores[dense])
        table = cls((), scores, right, labels, metric, data, rows, kind)
        levels = (table.level(name, network, settings) for name, network in networks.items())
        return replace(table, levels=tuple(levels))

    @property
    def doubts(self) -> Mapping[str, Array]:
        """How unsure each network is of each answer: 1 less its largest probability."""
        return {name: self.kind.confidence(each)[:, 0] for name, each in self.scores.items()}

    def level(self, name: str, network: Model, settings: Settings) -> Level:
        """A network by itself, one of these or another."""
        right = self.right.get(name)
        if right is None:
            right = _right(scores_of_network(network, self.data, settings.threads), self.labels)
        dense = next(iter(self.right.values()))
        parts = (self.rows.choose, self.rows.judge)
        judged = (_accuracy(dense[rows], right[rows], self.metric) for rows in parts)
        return Level(name, network, _energy(network, settings), *judged)

    def judged(self, scores: Array) -> Accuracy:
        """That of answers to the judging inputs against the original's."""
        rows = self.rows.judge
        dense = self.right[self.levels[0].source][rows]
        return _accuracy(dense, _right(scores, self.labels[rows]), self.metric)


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


def _accuracy(before: Array, after: Array, metric: str) -> Accuracy:
    changed = int(np.count_nonzero(before != after))
    return Accuracy(float(before.mean()), float(after.mean()), len(after), metric, changed=changed)
