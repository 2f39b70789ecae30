"""Two networks advancing together over the calibration inputs, layer by layer.

The original gives each layer its targets, the one pruned so far its inputs. Each node runs
once per network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from eapc.calibration.activations import ActivationWalk, Batches, ancestors
from eapc.calibration.spill import MemoryBudget
from eapc.calibration.statistics import (
    LayerActivations,
    LayerRows,
    moved_biases,
    row_generator,
    row_limit,
    unscaled_matrix,
)
from eapc.data import Dataset
from eapc.layers import Layer, TiedLayers
from eapc.model import Array, GraphView, Model, Node
from eapc.runtime import feed_size
from eapc.solvers import Moments


class Sweep:
    """Two networks advancing together: the original, and the one pruned so far."""

    def __init__(
        self,
        model: Model,
        layers: Sequence[TiedLayers],
        data: Dataset,
        seed: int,
        threads: int,
        memory: int | None = None,
    ) -> None:
        self.original = model.original
        self.model = model
        self._layers = layers
        self._data = data
        self._seed = seed
        self._threads = threads
        self._memory = memory
        self._walked = 0

    @cached_property
    def _walks(self) -> tuple[ActivationWalk, ActivationWalk]:
        """The walks through the original and the pruned network, once a step is asked for."""
        model, data, threads = self.original, self._data, self._threads
        plan = _Plan(model.view, self._layers)
        batch, memory = feed_size(model, data), MemoryBudget(self._memory)
        original = ActivationWalk(model, data, plan.original, batch, threads, memory)
        return original, ActivationWalk(model, data, plan.pruned, batch, threads, memory)

    def rows(self, step: int, most: int | None = None) -> list[LayerRows]:
        """What each user of the step's weights is fitted on: `row_limit` rows, or `most`.

        Steps that were left out are made up: every run takes the same steps, wherever it
        began, so that every bit is the same.
        """
        while self._walked < step:
            self._advance()
        original, pruned = self._advance()
        tied = self._layers[step]
        shape = tied.matrix(self.original).shape
        limit = row_limit(shape[2]) if most is None else most
        return [
            LayerRows.sample(
                user,
                _activations(user, original, pruned),
                limit,
                row_generator(self._seed, user),
                _row_words(user, shape),
            )
            for user in tied.users
        ]

    def _advance(self) -> tuple[Mapping[str, Batches], Mapping[str, Batches]]:
        """What the two networks have at the next step."""
        original, pruned = self._walks
        step = self._walked
        self._walked += 1
        return original.step(step, self.original), pruned.step(step, self.model)

    def replace(
        self, tied: TiedLayers, matrix: Array, moments: Sequence[Moments] | None
    ) -> dict[str, Array]:
        """Give a layer its new W of z, and move the biases that belong to it; None moves none.

        Returns the constants' new values as they are stored.
        """
        biases = moved_biases(tied, self.original, matrix, moments) if moments else {}
        weight = tied.stored(self.original, unscaled_matrix(tied, matrix))
        changed = {tied.weight: weight, **biases}
        self.model = self.model.with_weights(changed)
        return {name: self.model.weights[name] for name in changed}

    def resume(self, constants: Mapping[str, Array]) -> None:
        """Give a layer what `replace` returned for it in another run."""
        self.model = self.model.with_weights(constants)


def _activations(
    layer: Layer, original: Mapping[str, Batches], pruned: Mapping[str, Batches]
) -> LayerActivations:
    """Inputs from the pruned network where it has come that far, else from the original."""
    x, other = layer.x, layer.other
    branch = (original[other], pruned[other]) if other in pruned and other in original else None
    return LayerActivations(pruned.get(x, original.get(x, [])), original[layer.y], branch)


def _row_words(layer: Layer, shape: tuple[int, ...]) -> int:
    """Inputs, targets and both branches of a row, of a weight (groups, m, k)."""
    groups, outputs, inputs = shape
    return groups * (inputs + outputs * (3 if layer.other else 1))


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
