"""Criteria: which channels of a group go first.

A criterion gives every channel a score; those with the lowest go first, of equals the first in
the file. Scores are compared within one group only. Where no layer reads the channels (queries
and keys, which multiply each other), criteria that look at readers leave them to l2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from eapc.model import Array
from eapc.registry import CRITERIA
from eapc.solvers import Consumer, eliminate

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What is known of a group's channels.

    `filters` has the weights that make them, (channels, weights) of each producer; `maps` the
    feature maps as readers see them, behind the activation, (inputs, channels, h, w) of each
    tensor; `consumers` the readers' layer problems.
    """

    channels: int
    filters: tuple[Array, ...]
    maps: tuple[Array, ...]
    consumers: tuple[Consumer, ...]
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))


@dataclass(frozen=True)
class Criterion:
    """A score, and whether it looks at more than weights: feature maps or readers.

    Entered under its name in `eapc.registry.CRITERIA`.
    """

    scores: Callable[[Evidence], Scores]
    needs_data: bool


DEFAULT_CRITERION = "obs"

of_data = partial(Criterion, needs_data=True)
of_weights = partial(Criterion, needs_data=False)


def removal_order(name: str, evidence: Evidence) -> NDArray[np.intp]:
    """The channels of a group, the first to go first; UsageError for an unknown criterion."""
    CRITERIA.require(name)
    criterion: Criterion = CRITERIA[name]
    return np.argsort(criterion.scores(evidence), kind="stable")


@of_data
def obs(evidence: Evidence) -> Scores:
    """Optimal Brain Surgeon by channels: the error of the readers' outputs once refitted.

    The score is the place in the order of elimination, each channel's cost told with those
    before it gone (see eapc.solvers.elimination). Where a reader is too wide for that, channels
    go by hessian.
    """
    if not evidence.consumers or any(consumer.is_wide for consumer in evidence.consumers):
        return hessian.scores(evidence)
    places = np.empty(evidence.channels)
    places[eliminate(evidence.consumers).order] = np.arange(evidence.channels)
    return places


@of_data
def hessian(evidence: Evidence) -> Scores:
    """Second-order loss of the readers' outputs where nothing is refitted.

    LeCun, Denker, Solla, "Optimal Brain Damage" (1990), for the layer-wise output error, whose
    Hessian is the Gram matrix of the inputs (Dong, Chen, Pan, "Layer-wise OBS", 2017).
    """
    return _of_readers((consumer.removal_costs for consumer in evidence.consumers), evidence)


@of_data
def nuclear(evidence: Evidence) -> Scores:
    """Nuclear norm of the feature maps, h x w matrices, averaged over inputs.

    Yeom, Shim, Hwang, "Toward Compact Deep Neural Networks via Energy-Aware Pruning" (2021).
    """
    return _of_readers((_nuclear_norms(maps) for maps in evidence.maps), evidence)


@of_data
def activation(evidence: Evidence) -> Scores:
    """Mean absolute value of the feature maps.

    Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference"
    (2017), criterion "minimum activation".
    """
    means = (np.abs(maps).mean(axis=(0, 2, 3), dtype=np.float64) for maps in evidence.maps)
    return _of_readers(means, evidence)


@of_weights
def l1(evidence: Evidence) -> Scores:
    """Sum of absolute weights (Li et al., "Pruning Filters for Efficient ConvNets", 2017)."""
    return _sum((np.abs(w).sum(axis=1, dtype=np.float64) for w in evidence.filters), evidence)


@of_weights
def l2(evidence: Evidence) -> Scores:
    """Euclidean norm of the weights (He et al., "Soft Filter Pruning", 2018)."""
    return _sum((np.linalg.norm(w.astype(np.float64), axis=1) for w in evidence.filters), evidence)


@of_weights
def geometric_median(evidence: Evidence) -> Scores:
    """Sum of distances to the other filters: the nearest to all others can be spared.

    He et al., "Filter Pruning via Geometric Median" (2019).
    """
    return _sum((_distances(w.astype(np.float64)) for w in evidence.filters), evidence)


@of_weights
def lamp(evidence: Evidence) -> Scores:
    """Energy of the weights over that of all filters of no less (Lee et al., "LAMP", 2021)."""
    return _sum((_lamp(np.square(w, dtype=np.float64).sum(1)) for w in evidence.filters), evidence)


@of_weights
def random(evidence: Evidence) -> Scores:
    """A seeded shuffle: what any other criterion has to beat."""
    return evidence.rng.permutation(evidence.channels).astype(np.float64)


def _of_readers(scores: Iterable[Scores], evidence: Evidence) -> Scores:
    found = list(scores)
    return _sum(found, evidence) if found else l2.scores(evidence)


def _sum(scores: Iterable[Scores], evidence: Evidence) -> Scores:
    total = np.zeros(evidence.channels)
    for each in scores:
        total += each
    return total


def _nuclear_norms(maps: Array) -> Scores:
    """(channels,): sums of singular values of h x w maps, averaged over the inputs."""
    found = np.linalg.svd(maps.astype(np.float32), compute_uv=False).sum(axis=-1)
    return np.asarray(found.mean(axis=0), np.float64)


def _distances(filters: NDArray[np.float64]) -> Scores:
    squares = np.square(filters).sum(axis=1)
    products = squares[:, None] + squares - 2 * filters @ filters.T
    return np.asarray(np.sqrt(np.maximum(products, 0)).sum(axis=1))


def _lamp(energies: NDArray[np.float64]) -> Scores:
    order = np.argsort(energies, kind="stable")
    above = np.cumsum(energies[order][::-1])[::-1]
    scores = np.empty_like(energies)
    scores[order] = energies[order] / np.maximum(above, np.finfo(np.float64).tiny)
    return scores
