"""The dense network as another sees it that channels have been taken out of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eapc.layers import Layer, TiedLayers, layers_of
from eapc.model import Array, Model, Origin, Part, is_float


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
        is_cut = origin is not None and _is_same(origin.model.original, self.dense)
        return origin if is_cut else None

    @cached_property
    def original(self) -> Model:
        """The student's graph with the dense network's weights, as far as they were kept."""
        own = self.student.original
        return own.with_weights(dict(self._kept_values(own, self._origin))) if self._origin else own

    def _kept_values(self, own: Model, origin: Origin) -> Iterator[tuple[str, Array]]:
        for name in own.constants.plain:
            part = _part(origin, name)
            if part is None or not is_float(own.constants.dtype(name)):
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


def _part(origin: Origin, constant: str) -> Part | None:
    """What a constant has kept of the dense network's; None for those that came later."""
    return origin.parts.get(constant) or (None if constant in origin.new else Part(constant))


def _is_same(cut: Model, dense: Model) -> bool:
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
