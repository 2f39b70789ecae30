"""Factors of a layer as part of its weights, which then run on integers.

A BatchNormalization behind it, scale * (W x + b - mean) / sqrt(variance + epsilon) + shift, is a
product with other weights and another bias, and so is alpha W x + beta b of a Gemm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from eapc.energy import GivenBits
from eapc.model import Array, GraphEditor, GraphView, KeptPart, Model, Node, normalization_of
from eapc.operators import WeightLayout, operator_of


@dataclass(frozen=True)
class Folded:
    """A model without some BatchNormalizations; `names` are what tensors of old are called now.

    `channels` gives for each constant that is new the weights whose channels it has, and the axes
    of these channels in both.
    """

    model: Model
    names: Mapping[str, str]
    channels: Mapping[str, SharedChannels] = field(default_factory=dict)

    def kept_parts(self, parts: Mapping[str, KeptPart]) -> dict[str, KeptPart]:
        """What new constants kept of those of a larger network that was folded as well."""
        found = {}
        for name, shared in self.channels.items():
            indices = parts[shared.weights].indices if shared.weights in parts else {}
            if shared.axis is not None:
                indices = {0: indices[shared.axis]} if shared.axis in indices else {}
            if indices:
                found[name] = KeptPart(name, indices)
        return found

    def renamed(self, bits: GivenBits) -> GivenBits:
        """Widths for the folded model; what is left of a tensor that had one has it too."""
        given = bits.of_tensor
        more = {new: given[old] for old, new in self.names.items() if old in given}
        return GivenBits(bits.weights, bits.activations, tuple({**more, **given}.items()))


@dataclass(frozen=True)
class SharedChannels:
    """The weights that a constant is made of, and their axis that is its only one.

    None where it has all their axes.
    """

    weights: str
    axis: int | None


@dataclass(frozen=True)
class _Foldable:
    """A layer, the BatchNormalization that alone reads it, if any, and the layer's new operands."""

    layer: Node
    normalization: Node | None
    weights: Array
    bias: Array | None
    axis: int


def folded(model: Model) -> Folded:
    """The model with factors folded into weights.

    They are alpha and beta of a layer, and every BatchNormalization that alone reads one.
    """
    found = [each for node in model.view.main_nodes if (each := _foldable(model, node))]
    return _Folding(model, found).done() if found else Folded(model, {})


def _foldable(model: Model, layer: Node) -> _Foldable | None:
    """A layer with what can be folded into it; None where there is nothing."""
    row = operator_of(layer)
    layout = row.weights if row.on_integers else None
    if layout is None or layout.bias is None or layout.channels != 1:
        return None
    operands = layer.input(1), layout.bias_of(layer.inputs)
    if any(name not in model.constants for name in filter(None, operands)):
        return None
    weights = model.constants[operands[0]]
    factor, beta = layout.factor(layer.attributes), layout.bias_factor(layer.attributes)
    axis, _ = layout.axes(layer.attributes, weights.ndim)
    bias = _per_channel(model, operands[1], weights.shape[axis])
    if weights.dtype != np.float32 or (operands[1] and bias is None):
        return None
    scaled = _Foldable(
        layer,
        None,
        weights * np.float32(factor),
        None if bias is None else bias * np.float32(beta),
        axis,
    )
    is_scaled = factor != 1 or (bias is not None and beta != 1)
    return _with_normalization(model, scaled) or (scaled if is_scaled else None)


def _per_channel(model: Model, bias: str, channels: int) -> Array | None:
    """A constant bias as a number per channel; None where it is no such thing."""
    if not bias:
        return None
    value = model.constants[bias]
    if value.size not in (1, channels) or value.shape[-1:] not in ((), (1,), (channels,)):
        return None
    return np.broadcast_to(value.reshape(-1), (channels,))


def _with_normalization(model: Model, layer: _Foldable) -> _Foldable | None:
    """The layer with the BatchNormalization that alone reads it, if there is one."""
    made = layer.layer.outputs[0]
    readers = model.view.consumers(made)
    if len(readers) != 1 or made in model.outputs or len(readers[0].outputs) > 1:
        return None
    weights, axis = layer.weights, layer.axis
    offset = np.zeros(weights.shape[axis], np.float32) if layer.bias is None else layer.bias
    found = normalization_of(model, readers[0], made, offset)
    if found is None:
        return None
    scale, shift = found
    along = [-1 if place == axis else 1 for place in range(weights.ndim)]
    return _Foldable(layer.layer, readers[0], weights * scale.reshape(along), shift, axis)


class _Folding:
    def __init__(self, model: Model, pairs: list[_Foldable]) -> None:
        self._model, self._pairs = model, pairs
        self._proto = model.to_proto(embed=True)
        self._editor = GraphEditor(self._proto)
        self._names: dict[str, str] = {}
        self._values: dict[str, Array] = {}
        self._channels: dict[str, SharedChannels] = {}

    def done(self) -> Folded:
        graph = self._proto.graph
        protos = dict(zip(self._model.view.main_nodes, graph.node, strict=True))
        for pair in self._pairs:
            self._fold(pair, protos[pair.layer])
        for pair in self._pairs:
            if pair.normalization is not None:
                graph.node.remove(protos[pair.normalization])
        kept = [info for info in graph.value_info if info.name not in self._names]
        del graph.value_info[:]
        graph.value_info.extend(kept)
        model = Model(GraphView(self._proto), self._model.path)
        return Folded(model.with_weights(self._values), self._names, self._channels)

    def _fold(self, pair: _Foldable, proto: onnx.NodeProto) -> None:
        layout = operator_of(pair.layer).weights
        assert layout is not None  # see `_foldable`
        assert layout.bias is not None
        weights, place = proto.input[1], layout.bias
        proto.input[1] = self._entered(pair.layer, weights, pair.weights, "weights")
        if proto.input[1] != weights:
            self._channels[proto.input[1]] = SharedChannels(weights, None)
        if pair.bias is not None:
            proto.input.extend([""] * (place + 1 - len(proto.input)))
            old = proto.input[place]
            proto.input[place] = self._entered(pair.layer, old, pair.bias, "bias")
            if proto.input[place] != old:
                self._channels[proto.input[place]] = SharedChannels(weights, pair.axis)
        factors = [each for each in proto.attribute if each.name in _factors(layout)]
        for each in factors:
            proto.attribute.remove(each)
        if pair.normalization is not None:
            self._names[proto.output[0]] = proto.output[0] = pair.normalization.outputs[0]

    def _entered(self, layer: Node, name: str, value: Array, what: str) -> str:
        """The name of a constant with a value: its own where nothing else reads it."""
        readers = self._model.view.consumers(name) if name else ()
        is_own = readers == (layer,) and layer.inputs.count(name) == 1
        is_own = is_own and self._model.constants.shape(name) == value.shape
        if is_own and name not in self._model.outputs:
            self._values[name] = value
            return name
        new = self._editor.add_constant(f"{layer.key}@{what}", value)
        if name:
            self._names[name] = new
        return new


def _factors(layout: WeightLayout) -> tuple[str, ...]:
    """The attributes that multiply weights and bias; 1 where they are not given."""
    return tuple(filter(None, (layout.scale, layout.bias_scale)))
