"""The prunable layers of a model: their weights, where a bias may go, what follows them.

A layer is a node with constant weights. What stands between its output y and the next
layer matters twice: a BatchNormalization scales each output channel, which says how much
an error there weighs, and something along the way must take up the change of the mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from eapc.errors import ModelError
from eapc.graph import Node
from eapc.layerforms import LAYER_FORMS, LayerForm, UnsupportedLayerError
from eapc.model import Model
from eapc.tensors import Array, is_float, numpy_type
from eapc.weights import (
    WeightSource,
    all_finite,
    as_seen,
    as_stored,
    find_weights,
    obstacle,
    seen_shapes,
)


@dataclass(frozen=True)
class BiasSink:
    """A constant that adds to a layer's scaled outputs z: z + 1 takes the constant + factor."""

    tensor: str
    factor: Array

    def moved(self, constant: Array, change: Array) -> Array:
        """The constant after z is to change by `change` (m,), in its own shape."""
        step: Array = (self.factor * change).reshape(constant.shape)
        return (constant.astype(np.float32) + step).astype(constant.dtype)


@dataclass(frozen=True)
class Layer:
    """One node that uses prunable weights.

    The solver works on z = scale * (y - offset): `scale` (m,) is what a following
    BatchNormalization multiplies by, ones without one; `offset` (m,) the node's own bias.
    `other` is the other branch of an Add that comes next, empty where there is none.
    """

    node: Node
    form: LayerForm
    source: WeightSource
    x: str
    y: str
    scale: Array
    offset: Array
    bias: BiasSink | None
    other: str = ""


@dataclass(frozen=True)
class TiedLayers:
    """All users of one weight tensor; most often one."""

    weight: str
    users: tuple[Layer, ...]

    @property
    def first(self) -> Layer:
        """The user that runs first."""
        return self.users[0]

    def matrix(self, model: Model) -> Array:
        """The weights as W (groups, m, k) float32."""
        return self.first.form.to_matrix(as_seen(model, self.first.source))

    def stored(self, model: Model, matrix: Array) -> Array:
        """W back in the constant's own shape."""
        return as_stored(model, self.first.source, self.first.form.to_weight(matrix))


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


_SUBGRAPH_OPERATORS = frozenset(LAYER_FORMS) | {"LSTM", "GRU", "RNN"}


def find_layers(model: Model) -> PrunableLayers:
    """Every prunable layer of the main graph, tied weights together.

    Raises ModelError where weights hold NaN or infinity.
    """
    by_weight: dict[str, list[Layer]] = {}
    skipped: list[Skipped] = []
    for node in model.nodes:
        try:
            layer = _layer(model, node)
        except UnsupportedLayerError as error:
            skipped.append(Skipped(node.key, str(error)))
            continue
        if layer is not None:
            by_weight.setdefault(layer.source.root, []).append(layer)
    tied = []
    for weight, users in by_weight.items():
        reason = _conflict(model, weight, users)
        if reason:
            skipped.extend(Skipped(layer.node.key, reason) for layer in users)
        else:
            tied.append(TiedLayers(weight, tuple(_in_common_units(users))))
    return PrunableLayers(tuple(tied), tuple(skipped))


def _in_common_units(users: list[Layer]) -> list[Layer]:
    """Layers that share weights see them in the same units: z is y - offset for each."""
    if len(users) == 1:
        return users
    return [
        replace(
            layer,
            scale=np.ones_like(layer.scale),
            bias=layer.bias and BiasSink(layer.bias.tensor, layer.bias.factor * layer.scale),
            other="",
        )
        for layer in users
    ]


def _layer(model: Model, node: Node) -> Layer | None:
    """The node as a layer; None if it has nothing to do with weights."""
    if node.scope:
        if node.op_type in _SUBGRAPH_OPERATORS:
            raise UnsupportedLayerError("inside a subgraph")
        return None
    if node.op_type in ("LSTM", "GRU", "RNN"):
        raise UnsupportedLayerError(f"{node.op_type} weights are not pruned")
    if node.domain or node.op_type not in LAYER_FORMS:
        return None
    source = _weights_of(model, node)
    if source is None:
        return None
    seen = seen_shapes(model, source)[-1]
    if 0 in seen:
        raise UnsupportedLayerError("weights are empty")
    form = LAYER_FORMS[node.op_type](node, seen)
    channels = _channels(node, seen)
    offset = _offset(model, node, channels)
    scale, bias, other = _surroundings(model, node, channels)
    return Layer(node, form, source, node.input(0), node.outputs[0], scale, offset, bias, other)


def _offset(model: Model, node: Node, channels: int) -> Array:
    """The node's own bias as (m,) float32."""
    name = node.input(2)
    if not name:
        return np.zeros(channels, np.float32)
    bias = model.constant(name)
    if bias is None:
        raise UnsupportedLayerError("the bias is computed, not constant")
    if bias.size not in (1, channels) or (bias.size > 1 and bias.shape[-1] != channels):
        raise UnsupportedLayerError(f"the bias has shape {bias.shape}, not one per output")
    beta = float(node.attribute("beta", 1.0)) if node.op_type == "Gemm" else 1.0
    return np.broadcast_to(beta * bias.astype(np.float32).ravel(), (channels,)).copy()


def _weights_of(model: Model, node: Node) -> WeightSource | None:
    source = find_weights(model.view, node.input(1))
    if source is None:
        left = find_weights(model.view, node.input(0))
        if left is not None and node.op_type in ("MatMul", "Gemm"):
            raise UnsupportedLayerError("weights are the first operand")
        if node.op_type in ("Conv", "ConvTranspose"):
            raise UnsupportedLayerError("weights are computed, not constant")
        return None
    reason = obstacle(model, source)
    if reason:
        raise UnsupportedLayerError(reason)
    dtype = numpy_type(model.view.constants[source.root].data_type)
    if not is_float(dtype):
        raise UnsupportedLayerError(f"weights have type {dtype}")
    if source.root in model.outputs:
        raise UnsupportedLayerError("weights are an output of the model")
    return source


def _channels(node: Node, weight_shape: tuple[int, ...]) -> int:
    if node.op_type == "Conv":
        return weight_shape[0]
    if node.op_type == "ConvTranspose":
        return weight_shape[1] * int(node.attribute("group", 1))
    return weight_shape[0] if node.attribute("transB", 0) else weight_shape[-1]


def _conflict(model: Model, weight: str, users: Iterable[Layer]) -> str:
    """Why shared weights cannot be changed; empty if they can."""
    users = tuple(users)
    layer_nodes = {layer.node for layer in users}
    for layer in users:
        tensors = [weight, *(node.outputs[0] for node in layer.source.chain)]
        for tensor in tensors:
            for consumer in model.view.consumers(tensor):
                known = any(consumer in user.source.chain for user in users)
                if consumer not in layer_nodes and not known:
                    return f"weights are also read by {consumer.op_type} '{consumer.key}'"
    root = model.constant(weight)
    forms = {layer.form for layer in users}
    chains = {tuple(node.op_type for node in layer.source.chain) for layer in users}
    if len(forms) > 1 or len(chains) > 1 or len({layer.node.op_type for layer in users}) > 1:
        return "weights are shared by layers that read them differently"
    if root is not None and not all_finite(root):
        raise ModelError(f"weights '{weight}' hold NaN or infinity")
    return ""


# --- what follows a layer --------------------------------------------------------------------


def _surroundings(model: Model, node: Node, channels: int) -> tuple[Array, BiasSink | None, str]:
    """(scale, bias sink, other branch of the next Add) behind a layer with `channels` outputs."""
    rows_last = node.op_type in ("Gemm", "MatMul")
    scale = np.ones(channels, np.float32)
    offset_sink = None
    stage, follower = _next(model, node.outputs[0])
    if follower is not None and follower.op_type == "BatchNormalization" and not rows_last:
        folded = _normalization_scale(model, follower)
        if folded is not None and folded.shape == (channels,):
            scale = folded
            offset_sink = _sink(model, follower.input(2), channels)
            stage, follower = _next(model, follower.outputs[0])
    bias = _own_bias(model, node, channels, scale) or offset_sink
    while follower is not None and follower.op_type == "Add":
        constant, other = _addends(model, follower, stage)
        if not constant:
            return scale, bias, other
        if bias is None and _is_per_channel(model.constant_shape(constant), channels, rows_last):
            bias = _sink(model, constant, channels)
        stage, follower = _next(model, follower.outputs[0])
    return scale, bias, ""


def _next(model: Model, tensor: str) -> tuple[str, Node | None]:
    """The tensor and its only reader; no reader where it has several or is an output."""
    consumers = model.view.consumers(tensor)
    alone = len(consumers) == 1 and tensor not in model.outputs
    return tensor, consumers[0] if alone else None


def _own_bias(model: Model, node: Node, channels: int, scale: Array) -> BiasSink | None:
    """The node's third input; where `scale` is 0 nothing added there would show."""
    beta = float(node.attribute("beta", 1.0)) if node.op_type == "Gemm" else 1.0
    if not node.input(2) or beta == 0:
        return None
    with np.errstate(divide="ignore"):
        factor = np.where(scale == 0, 0, 1 / (scale * beta)).astype(np.float32)
    return _sink(model, node.input(2), channels, factor)


def _sink(model: Model, name: str, channels: int, factor: Array | None = None) -> BiasSink | None:
    """A sink if the constant holds one number per channel and belongs to one node alone."""
    shape = model.constant_shape(name)
    if shape is None or len(model.view.consumers(name)) != 1 or name in model.outputs:
        return None
    if int(np.prod(shape)) != channels:
        return None
    if not is_float(numpy_type(model.view.constants[name].data_type)):
        return None
    return BiasSink(name, np.ones(channels, np.float32) if factor is None else factor)


def _is_per_channel(shape: tuple[int, ...] | None, channels: int, rows_last: bool) -> bool:
    """True when a constant of this shape adds one number per output channel.

    Channels are the last axis of y (..., m) if `rows_last`, else the third axis from the
    end or earlier: y is (n, m, *spatial).
    """
    if shape is None or not shape:
        return False
    if rows_last:
        return shape[-1] == channels
    return channels in shape[:-1] and shape[-1] == 1


def _addends(model: Model, node: Node, stage: str) -> tuple[str, str]:
    """(constant, other): what an Add adds to `stage`; one of the two is empty."""
    others = [name for name in node.inputs if name != stage]
    if len(others) != 1:
        return "", ""
    constant = others[0] in model.view.constants
    return (others[0], "") if constant else ("", others[0])


def _normalization_scale(model: Model, node: Node) -> Array | None:
    """gamma / sqrt(variance + epsilon) of an inference-mode BatchNormalization."""
    gamma, variance = model.constant(node.input(1)), model.constant(node.input(4))
    if gamma is None or variance is None or node.attribute("training_mode", 0):
        return None
    epsilon = float(node.attribute("epsilon", 1e-5))
    wide = variance.astype(np.float64) + epsilon
    if (wide <= 0).any():
        return None
    return (gamma.astype(np.float64) / np.sqrt(wide)).astype(np.float32)
