"""Two networks advancing together over the calibration inputs, layer by layer.

The original gives each layer its targets, the one pruned so far its inputs. Each node runs
once per network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from eapc.activations import ActivationWalk, Batches, ancestors
from eapc.data import Dataset
from eapc.graph import GraphView, Node
from eapc.layers import Layer, TiedLayers
from eapc.model import Model
from eapc.reconstruction import (
    LayerActivations,
    LayerRows,
    moved_biases,
    row_limit,
    unscaled_matrix,
)
from eapc.runtime import feed_size
from eapc.solvers import Moments
from eapc.tensors import Array


class Sweep:
    """Two networks advancing together: the original, and the one pruned so far."""

    def __init__(
        self,
        model: Model,
        layers: Sequence[TiedLayers],
        data: Dataset,
        rng: np.random.Generator,
        threads: int,
    ) -> None:
        self.original = model.original
        self.model = model
        self._layers = layers
        self._rng = rng
        self._plan = _Plan(self.original.view, layers)
        batch = feed_size(self.original, data)
        self._walks = [
            ActivationWalk(self.original, data, wanted, batch, threads)
            for wanted in (self._plan.original, self._plan.pruned)
        ]

    def rows(self, step: int, most: int | None = None) -> list[LayerRows]:
        """What each user of the step's weights is fitted on: `row_limit` rows, or `most`."""
        tied = self._layers[step]
        original = self._walks[0].step(step, self.original)
        pruned = self._walks[1].step(step, self.model)
        groups, _, inputs = tied.matrix(self.original).shape
        limit = row_limit(inputs) if most is None else most
        return [
            LayerRows.sample(
                user, _activations(user, original, pruned), limit, self._rng, groups * inputs
            )
            for user in tied.users
        ]

    def replace(self, tied: TiedLayers, matrix: Array, moments: Sequence[Moments] | None) -> None:
        """Give a layer its new W of z, and move the biases that belong to it; None moves none."""
        biases = moved_biases(tied, self.original, matrix, moments) if moments else {}
        weight = tied.stored(self.original, unscaled_matrix(tied, matrix))
        self.model = self.model.with_weights({tied.weight: weight, **biases})


def _activations(
    layer: Layer, original: Mapping[str, Batches], pruned: Mapping[str, Batches]
) -> LayerActivations:
    """Inputs from the pruned network where it has come that far, else from the original."""
    x, other = layer.x, layer.other
    branch = (original[other], pruned[other]) if other in pruned and other in original else None
    return LayerActivations(pruned.get(x, original.get(x, [])), original[layer.y], branch)


class _Plan:
    """Which tensors each network must have at each layer's turn."""

    def __init__(self, view: GraphView, layers: Sequence[TiedLayers]) -> None:
        self.original: list[list[str]] = []
        self.pruned: list[list[str]] = []
        unsolved = {user.node for tied in layers for user in tied.users}
        for tied in layers:
            ready = {name for name in _operands(tied) if _is_ready(view, name, unsolved)}
            outputs = [user.y for user in tied.users]
            early = [user.x for user in tied.users if user.x not in ready]
            others = [user.other for user in tied.users if user.other in ready]
            self.original.append(outputs + early + others)
            self.pruned.append(sorted(ready))
            unsolved -= {user.node for user in tied.users}


def _operands(tied: TiedLayers) -> list[str]:
    names = [name for user in tied.users for name in (user.x, user.other)]
    return [name for name in names if name]


def _is_ready(view: GraphView, tensor: str, unsolved: set[Node]) -> bool:
    """True when the tensor needs no layer that is still to be solved."""
    return not ancestors(view, [tensor]) & unsolved
