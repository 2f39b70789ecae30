"""Layers: nodes that use prunable weights, alone or with others that use the same."""

from __future__ import annotations

import math
from dataclasses import dataclass

from eapc.layers.forms import LayerForm
from eapc.layers.recurrent import R, RecurrentForm
from eapc.model import (
    Array,
    Epilogue,
    Model,
    Node,
    WeightSource,
    as_seen,
    count_nonzero,
    seen_shapes,
    weights_stored,
)


@dataclass(frozen=True, kw_only=True)
class Layer(Epilogue):
    """One node that uses prunable weights, and what stands behind it.

    The solver works on z = scale * (y - offset): `scale` (m,) is what a following
    BatchNormalization multiplies by, ones without one; `offset` (m,) the node's own bias.
    `other` is the other branch of an Add that comes next, empty where there is none;
    `clipping` the activation behind all that, if it only cuts values off. Its channels are
    `unmixed` where each reaches the network's outputs by itself. `tapped` is the place of weights
    whose x and y are no tensors of the model itself, but of its exposed twin (`exposed`).
    """

    node: Node
    form: LayerForm
    source: WeightSource
    x: str
    y: str
    offset: Array
    unmixed: bool
    tapped: int = 0

    @property
    def name(self) -> str:
        """The node's key; of a recurrent cell with which of its weights, as in `lstm R`."""
        is_cell = isinstance(self.form, RecurrentForm)
        return f"{self.node.key} {'R' if self.tapped == R else 'W'}" if is_cell else self.node.key


@dataclass(frozen=True)
class TiedLayers:
    """All users of one weight tensor; most often one.

    `fixed` says what the weights are where they were worked out rather than learnt.
    """

    weight: str
    users: tuple[Layer, ...]
    fixed: str = ""

    @property
    def first(self) -> Layer:
        """The user that runs first."""
        return self.users[0]

    def matrix(self, model: Model) -> Array:
        """The weights as W (groups, m, k) float32."""
        return self.first.form.to_matrix(as_seen(model, self.first.source))

    def stored(self, model: Model, matrix: Array) -> Array:
        """W back in the constant's own shape and type, with zeros exactly where W has them."""
        return weights_stored(model, self.first.source, self.first.form.to_weight(matrix))

    def size(self, model: Model) -> int:
        """How many weights there are, also where one byte holds several."""
        return math.prod(seen_shapes(model, self.first.source)[-1])

    def nonzero(self, model: Model) -> int:
        """How many of the weights are not zero; a quantized zero is its zero point."""
        return count_nonzero(model, self.first.source)[0]


@dataclass(frozen=True)
class Skipped:
    """A node with weights that are not pruned, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class PrunableLayers:
    """Layers in data-flow order, and what was left alone."""

    layers: tuple[TiedLayers, ...]
    skipped: tuple[Skipped, ...]
