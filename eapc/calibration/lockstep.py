"""Two networks advancing together over the calibration inputs, layer by layer.

The dense one gives each layer its targets, the one pruned so far its inputs. Each node runs
once per network. Where channels have been taken out, the dense network is looked at through
what is left of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from eapc.calibration.activations import ActivationWalk, Batches, MemoryBudget
from eapc.calibration.statistics import (
    LayerActivations,
    LayerRows,
    moved_biases,
    row_generator,
    row_limit,
    unscaled_matrix,
)
from eapc.data import Dataset
from eapc.layers import Layer, TiedLayers, exposed, layers_of
from eapc.model import Array, GraphView, KeptPart, Model, Node, Origin, is_float
from eapc.runtime import Engine, feed_size
from eapc.solvers import Moments


class LayerwiseReconstruction:
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
        networks = [exposed(m) for m in (self.model.original, reference.dense, self.original)]
        plans = _plans(exposed(self.model).view, self._layers, reference)
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
                replace(
                    _activations(user, twin, targets, pruned),
                    inputs=self._data.usable,
                    kinds=self._walks[0].kinds,
                ),
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
        targets = own.step(step, exposed(self.model.original))
        for name, batches in dense.step(step, exposed(self._reference.dense)).items():
            kept = (self._reference.kept(name, batch) for batch in batches)
            targets[name] = [self._memory.keep(batch) for batch in kept]
        return targets, pruned.step(step, exposed(self.model))

    def replace(
        self,
        tied: TiedLayers,
        matrix: Array,
        moments: Sequence[Moments] | None,
        scales: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Give a layer its new W of z, and move the biases that belong to it; None moves none.

        `scales` are new ones of its codes. Returns the constants' new values as they are stored.
        """
        given = dict(scales or {})
        biases: dict[str, Array] = {}
        if moments:
            biases = moved_biases(tied, self.original, matrix, moments, self.model, given)
        weight = tied.stored(self.original.with_weights(given), unscaled_matrix(tied, matrix))
        changed = {tied.weight: weight, **biases, **given}
        self.model = self.model.with_weights(changed)
        return {name: self.model.weights[name] for name in changed}

    def resume(self, constants: Mapping[str, Array]) -> None:
        """Give a layer what `replace` returned for it in another run."""
        self.model = self.model.with_weights(constants)


def _activations(
    layer: Layer,
    twin: Layer,
    targets: Mapping[str, Batches],
    pruned: Mapping[str, Batches],
) -> LayerActivations:
    """Inputs from the pruned network where it has come that far, else as they were.

    `twin` is the layer in the dense network, where other tensors may be added to what it makes.
    """
    has_branch = layer.other in pruned and twin.other in targets
    branch = (targets[twin.other], pruned[layer.other]) if has_branch else None
    x, own = pruned.get(layer.x), targets.get(twin.x, [])
    if x is not None and layer.node.scope:  # a body that ran more or less often, or another one
        pairs = zip(x, own, strict=True)
        x = [now if now.shape == before.shape else before for now, before in pairs]
    return LayerActivations(own if x is None else x, targets[twin.y], branch)


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
    unsolved = {node for tied in layers for node in _readers(view, tied)}
    for tied in layers:
        operands = {name for user in tied.users for name in (user.x, user.other) if name}
        ready = {name for name in operands if not view.ancestors([name]) & unsolved}
        pairs, is_dense = reference.pairs(tied), bool(reference.twins(tied))
        outputs = [twin.y for _, twin in pairs]
        early = [twin.x for user, twin in pairs if user.x not in ready or user.node.scope]
        others = [twin.other for user, twin in pairs if user.other in ready and twin.other]
        targets = outputs + early + others
        own.append([] if is_dense else targets)
        dense.append(targets if is_dense else [])
        pruned.append(sorted(ready))
        unsolved -= _readers(view, tied)
    return own, dense, pruned


def _readers(view: GraphView, tied: TiedLayers) -> set[Node]:
    """The nodes whose results depend on the weights at once, those that show layers included."""
    tensors = (user.source.root if user.tapped else user.source.tensor for user in tied.users)
    return {node for tensor in tensors for node in view.consumers(tensor)}


# --- the dense network ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """`dense` and the network that is fitted to it, of the same tensors with fewer indices.

    Where that was not cut out of `dense`, or a layer has come in since or has weights of its
    own, what it is fitted to is its own original.
    """

    dense: Model
    student: Model

    @cached_property
    def _origin(self) -> Origin | None:
        origin = self.student.origin
        is_cut = origin is not None and is_cut_from(origin.model.original, self.dense)
        return origin if is_cut else None

    @cached_property
    def original(self) -> Model:
        """The student's graph with the dense network's weights, as far as they were kept."""
        own = self.student.original
        return own.with_weights(dict(self._kept_values(own, self._origin))) if self._origin else own

    def _kept_values(self, own: Model, origin: Origin) -> Iterator[tuple[str, Array]]:
        codes = _codes_of_layers(own)
        for name in own.constants.plain:
            part = _part(origin, name)
            is_number = is_float(own.constants.dtype(name)) or name in codes
            if part is None or not is_number:
                continue
            whole = self.dense.constants.value(part.constant)
            value = None if whole is None else part.of(whole)
            now = own.constants[name]
            if value is not None and value.shape == now.shape and not np.array_equal(value, now):
                yield name, value

    @cached_property
    def _dense_layers(self) -> dict[str, Layer]:
        layers = layers_of(self.dense).layers
        return {user.y: user for tied in layers for user in tied.users}

    def twins(self, tied: TiedLayers) -> tuple[Layer, ...]:
        """The dense network's layers that have become these; none where one of them is missing."""
        if self._origin is None or _part(self._origin, tied.weight) is None:
            return ()
        found = [self._dense_layers.get(user.y) for user in tied.users]
        alike = [
            twin
            for twin, user in zip(found, tied.users, strict=True)
            if twin and twin.node.op_type == user.node.op_type
        ]
        return tuple(alike) if len(alike) == len(found) else ()

    def pairs(self, tied: TiedLayers) -> list[tuple[Layer, Layer]]:
        """Each layer with its twin, or with itself where it has none."""
        return list(zip(tied.users, self.twins(tied) or tied.users, strict=True))

    def is_cut(self, tied: TiedLayers) -> bool:
        """Whether the layers read less than the dense network's."""
        return any(self._removed(twin.x) for twin in self.twins(tied))

    def kept(self, tensor: str, value: Array) -> Array:
        """What the student has of a tensor that the dense network computes."""
        for axis, gone in self._removed(tensor).items():
            value = np.delete(value, gone, axis)
        return value

    def _removed(self, tensor: str) -> dict[int, Array]:
        return dict(self._origin.removed.get(tensor, {})) if self._origin else {}


def _codes_of_layers(model: Model) -> frozenset[str]:
    """The constants that layers have as weights or biases; other integers may be sizes."""
    users = [user for tied in layers_of(model).layers for user in tied.users]
    sources = [each for user in users for each in (user.source, user.bias and user.bias.source)]
    return frozenset(source.root for source in sources if source)


def _part(origin: Origin, constant: str) -> KeptPart | None:
    """What a constant has kept of the dense network's; None for those that came later."""
    return origin.parts.get(constant) or (None if constant in origin.new else KeptPart(constant))


def is_cut_from(cut: Model, dense: Model) -> bool:
    """Whether channels were cut out of the dense network; constants may be folded before that."""
    if cut.view is dense.view:
        return True
    facts = {(node.op_type, node.inputs, node.outputs) for node in dense.nodes}
    own = {(node.op_type, node.inputs, node.outputs) for node in cut.nodes}
    return own <= facts and all(
        np.array_equal(cut.constants[name], value)
        for name in cut.constants.plain
        if (value := dense.constants.value(name)) is not None
    )
