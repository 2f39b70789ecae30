"""Error curves: what pruning each layer alone does to the network's outputs.

Each layer is pruned roughly, from its second moments alone, to several densities; a few
inputs are sent through the network with that layer changed and nothing else. The distance of
the outputs from the original's is KL divergence for classifiers, relative error otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eapc.activations import ActivationWalk
from eapc.data import Dataset
from eapc.evaluation import Outputs, output_divergence
from eapc.layers import TiedLayers
from eapc.model import Model
from eapc.reconstruction import (
    LayerActivations,
    gather_moments,
    moved_biases,
    scaled_matrix,
    unscaled_matrix,
)
from eapc.runtime import collect_outputs, feed_size
from eapc.solvers import LayerProblem, Moments, combine, quick_prune
from eapc.tensors import Array

logger = logging.getLogger(__name__)

DENSITIES = (1.0, 0.6, 0.35, 0.2, 0.12, 0.06, 0.02)
"""Points of an error curve: each costs one pass of the probe inputs through the network."""

_ROWS_PER_INPUT = 4
_MIN_ROWS = 8192


@dataclass(frozen=True)
class ErrorCurve:
    """Effect on the network's outputs of one layer pruned to each of `DENSITIES`."""

    name: str
    errors: tuple[float, ...]


def error_curves(
    model: Model,
    layers: Sequence[TiedLayers],
    data: Dataset,
    rng: np.random.Generator,
    threads: int,
) -> tuple[ErrorCurve, ...]:
    """The error curve of every layer, measured on a few inputs."""
    reference = collect_outputs(model, data, threads)
    plan = [[name for user in tied.users for name in (user.x, user.y)] for tied in layers]
    walk = ActivationWalk(model, data, plan, feed_size(model, data), threads)
    curves = []
    for i, tied in enumerate(layers):
        values = walk.step(i, model)
        moments = [
            gather_moments(
                user, LayerActivations(values[user.x], values[user.y]), _limit(tied, model), rng
            )
            for user in tied.users
        ]
        errors = _layer_errors(model, tied, moments, data, reference, threads)
        logger.info("sensitivity of %s: %s", tied.first.node.key, np.round(errors, 5))
        curves.append(ErrorCurve(tied.weight, errors))
    return tuple(curves)


def _limit(tied: TiedLayers, model: Model) -> int:
    inputs: int = tied.matrix(model).shape[2]
    return max(_MIN_ROWS, _ROWS_PER_INPUT * inputs)


def _layer_errors(
    model: Model,
    tied: TiedLayers,
    moments: Sequence[Moments],
    data: Dataset,
    reference: Outputs,
    threads: int,
) -> tuple[float, ...]:
    together = combine(moments)
    matrix = scaled_matrix(tied, model)
    problem = LayerProblem.from_moments(matrix, together)
    counts = [round(density * matrix.size) for density in DENSITIES[1:]]
    effects = []
    for pruned in quick_prune(problem, counts):
        changed = _probe_weights(model, tied, pruned, moments)
        outputs = collect_outputs(model.with_weights(changed), data, threads)
        effects.append(output_divergence(reference, outputs, by_error=data.synthesised))
    return (0.0, *np.maximum.accumulate(effects).tolist())


def _probe_weights(
    model: Model, tied: TiedLayers, matrix: Array, moments: Sequence[Moments]
) -> Mapping[str, Array]:
    weights = {tied.weight: tied.stored(model, unscaled_matrix(tied, matrix))}
    return weights | moved_biases(tied, model, matrix, moments)
