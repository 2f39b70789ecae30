"""Zeros of a model's weights, each tensor counted once however many layers read it."""

from __future__ import annotations

import numpy as np

from eapc.errors import ModelError
from eapc.model import (
    Array,
    Model,
    Node,
    all_finite,
    count_nonzero,
    find_weights,
    zero_points,
)


class WeightCounts:
    """Zeros of the weights met so far; raises ModelError where they hold NaN or infinity."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._counts: dict[str, tuple[int, int]] = {}

    def density(self, node: Node, tensor: str) -> float | None:
        """Density of a constant weight tensor; None if `tensor` is an activation."""
        counted = self._count(node, tensor) if tensor else None
        if counted is None:
            return None
        nonzero, elements = counted
        return nonzero / elements if elements else 1.0

    def totals(self) -> tuple[int, int]:
        """(elements, non-zero elements) of all weights met."""
        counts = self._counts.values()
        return sum(elements for _, elements in counts), sum(nonzero for nonzero, _ in counts)

    def _count(self, node: Node, tensor: str) -> tuple[int, int] | None:
        constants = self._model.constants
        if tensor not in constants and tensor in constants.within(node.scope):
            return self._count_inner(node.scope, tensor)
        source = find_weights(self._model, tensor)
        if source is None:
            return None
        if source.root not in self._counts:
            self._require_finite(source.root, constants[source.root])
            zero = zero_points(node).get(tensor)
            zeros = constants.value(zero.tensor) if zero else None
            axis = zero.axis if zero else 0
            self._counts[source.root] = count_nonzero(self._model, source, zeros, axis)
        return self._counts[source.root]

    def _count_inner(self, scope: str, tensor: str) -> tuple[int, int] | None:
        if scope + tensor not in self._counts:
            value = self._model.constants.within(scope).value(tensor)
            if value is None:
                return None
            self._require_finite(tensor, value)
            self._counts[scope + tensor] = (int(np.count_nonzero(value)), value.size)
        return self._counts[scope + tensor]

    def _require_finite(self, name: str, value: Array) -> None:
        if not all_finite(value):
            raise ModelError(f"{self._model.name}: weights '{name}' hold NaN or infinity")
