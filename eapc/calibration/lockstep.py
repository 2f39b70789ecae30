"""Two networks advancing together over the calibration inputs, layer by layer.

The dense one gives each layer its targets, the one pruned so far its inputs. Each node runs
once per network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from eapc.calibration.activations import ActivationWalk, Batches
from eapc.calibration.reference import Reference
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
from eapc.model import Array, GraphView, Model
from eapc.runtime import Engine, feed_size
from eapc.solvers import Moments


class Sweep:
    """Two networks advancing together: the dense one, and the one pruned so far.

    `original` has the shape of the latter and the dense one's weights. Layers without
    counterpart in the dense network have the model's own original for it; see `Reference`.
    """

    def __init__(
        self,
        model: Model,
        dense: Model,
        layers: Sequence[TiedLayers],
        data: Dataset,
        engine: Engine,
    ) -> None:
        self._reference = Reference(dense, model)
        self.original = self._reference.original
        self.model = model
        self._layers = layers
        self._data = data
        self._engine = engine
        self._memory = MemoryBudget(engine.memory)
        self._walked = 0

    @cached_property
    def _walks(self) -> list[ActivationWalk]:
        """Through the model's own original, the dense and the pruned network."""
        reference, batch = self._reference, feed_size(self.model, self._data)
        networks = (self.model.original, reference.dense, self.original)
        plans = _plans(self.model.view, self._layers, reference)
        return [
            ActivationWalk(model, self._data, plan, batch, self._engine.threads, self._memory)
            for model, plan in zip(networks, plans, strict=True)
        ]

    def rows(self, step: int, most: int | None = None) -> list[LayerRows]:
        """What each user of the step's weights is fitted on: `row_limit` rows, or `most`.

        Steps that were left out are made up: every run takes the same steps, wherever it
        began, so that every bit is the same.
        """
        while self._walked < step:
            self._advance()
        targets, pruned = self._advance()
        tied = self._layers[step]
        shape = tied.matrix(self.original).shape
        limit = row_limit(shape[2]) if most is None else most
        return [
            LayerRows.sample(
                user,
                _activations(user, twin, targets, pruned),
                limit,
                row_generator(self._engine.seed, user),
                _row_words(user, shape),
            )
            for user, twin in self._reference.pairs(tied)
        ]

    def _advance(self) -> tuple[Mapping[str, Batches], Mapping[str, Batches]]:
        """What layers are fitted to and what the pruned network has, at the next step."""
        own, dense, pruned = self._walks
        step = self._walked
        self._walked += 1
        targets = own.step(step, self.model.original)
        for name, batches in dense.step(step, self._reference.dense).items():
            kept = (self._reference.kept(name, batch) for batch in batches)
            targets[name] = [self._memory.keep(batch) for batch in kept]
        return targets, pruned.step(step, self.model)

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
    layer: Layer, twin: Layer, targets: Mapping[str, Batches], pruned: Mapping[str, Batches]
) -> LayerActivations:
    """Inputs from the pruned network where it has come that far, else as they were.

    `twin` is the layer in the dense network, where other tensors may be added to what it makes.
    """
    has_branch = layer.other in pruned and twin.other in targets
    branch = (targets[twin.other], pruned[layer.other]) if has_branch else None
    return LayerActivations(pruned.get(layer.x, targets.get(twin.x, [])), targets[twin.y], branch)


def _row_words(layer: Layer, shape: tuple[int, ...]) -> int:
    """Inputs, targets and both branches of a row, of a weight (groups, m, k)."""
    groups, outputs, inputs = shape
    return groups * (inputs + outputs * (3 if layer.other else 1))


Plan = list[Sequence[str]]
"""Tensors that a network must have at each layer's turn."""


def _plans(
    view: GraphView, layers: Sequence[TiedLayers], reference: Reference
) -> tuple[Plan, Plan, Plan]:
    """Those of the model's own original, of the dense network and of the pruned one.

    The pruned one has those that depend on no layer that is still to be solved. Targets come from
    the dense network, or from the model's own original.
    """
    own: Plan = []
    dense: Plan = []
    pruned: Plan = []
    unsolved = {user.node for tied in layers for user in tied.users}
    for tied in layers:
        operands = {name for user in tied.users for name in (user.x, user.other) if name}
        ready = {name for name in operands if not view.ancestors([name]) & unsolved}
        pairs, is_dense = reference.pairs(tied), bool(reference.twins(tied))
        outputs = [twin.y for _, twin in pairs]
        early = [twin.x for user, twin in pairs if user.x not in ready]
        others = [twin.other for user, twin in pairs if user.other in ready and twin.other]
        targets = outputs + early + others
        own.append([] if is_dense else targets)
        dense.append(targets if is_dense else [])
        pruned.append(sorted(ready))
        unsolved -= {user.node for user in tied.users}
    return own, dense, pruned
