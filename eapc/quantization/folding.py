"""BatchNormalization as part of the convolution in front of it, which then runs on integers.

scale * (W x + b - mean) / sqrt(variance + epsilon) + shift is a product with other weights and
another bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from eapc.energy import GivenBits
from eapc.model import Array, GraphEditor, GraphView, KeptPart, Model, Node, normalization_of
from eapc.operators import operator_of


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
    """A layer, the BatchNormalization that alone reads it, and the layer's new operands."""

    layer: Node
    normalization: Node
    weights: Array
    bias: Array
    axis: int


def folded(model: Model) -> Folded:
    """The model with every BatchNormalization folded that alone reads a layer with weights."""
    pairs = list(_pairs(model))
    if not pairs:
        return Folded(model, {})
    return _Folding(model, pairs).done()


def _pairs(model: Model) -> Iterator[_Foldable]:
    for node in model.view.main_nodes:
        readers = model.view.consumers(node.outputs[0]) if node.outputs else ()
        if len(readers) == 1 and node.outputs[0] not in model.outputs:
            pair = _pair(model, node, readers[0])
            if pair is not None:
                yield pair


def _pair(model: Model, layer: Node, reader: Node) -> _Foldable | None:
    row, constants = operator_of(layer), model.constants
    layout = row.weights if row.on_integers else None
    if layout is None or layout.bias is None or layout.channels != 1:
        return None
    name, bias = layer.input(1), layout.bias_of(layer.inputs)
    attributes = layer.attributes
    scaled = layout.factor(attributes) != 1 or layout.bias_factor(attributes) != 1
    if scaled or any(each not in constants for each in (name, *filter(None, (bias,)))):
        return None
    weights = constants[name]
    axis, _ = layout.axes(attributes, weights.ndim)
    channels = weights.shape[axis]
    offset = constants[bias] if bias else np.zeros(channels, np.float32)
    if weights.dtype != np.float32 or offset.shape != (channels,) or len(reader.outputs) > 1:
        return None
    found = normalization_of(model, reader, layer.outputs[0], offset)
    if found is None:
        return None
    scale, shift = found
    along = [-1 if place == axis else 1 for place in range(weights.ndim)]
    return _Foldable(layer, reader, weights * scale.reshape(along), shift, axis)


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
            graph.node.remove(protos[pair.normalization])
        kept = [info for info in graph.value_info if info.name not in self._names]
        del graph.value_info[:]
        graph.value_info.extend(kept)
        model = Model(GraphView(self._proto), self._model.path)
        return Folded(model.with_weights(self._values), self._names, self._channels)

    def _fold(self, pair: _Foldable, proto: onnx.NodeProto) -> None:
        layout = operator_of(pair.layer).weights
        assert layout is not None  # see `_pair`
        assert layout.bias is not None
        proto.input.extend([""] * (layout.bias + 1 - len(proto.input)))
        weights, place = proto.input[1], layout.bias
        for at, value, axis in ((1, pair.weights, None), (place, pair.bias, pair.axis)):
            name = "weights" if at == 1 else "bias"
            new = self._entered(pair.layer, proto.input[at], value, name)
            if new != proto.input[at]:
                self._channels[new] = SharedChannels(weights, axis)
            proto.input[at] = new
        self._names[proto.output[0]] = proto.output[0] = pair.normalization.outputs[0]

    def _entered(self, layer: Node, name: str, value: Array, what: str) -> str:
        """The name of a constant with a value: its own where nothing else reads it."""
        readers = self._model.view.consumers(name) if name else ()
        is_own = readers == (layer,) and layer.inputs.count(name) == 1
        if is_own and name not in self._model.outputs:
            self._values[name] = value
            return name
        new = self._editor.add_constant(f"{layer.key}@{what}", value)
        if name:
            self._names[name] = new
        return new
