"""What stands behind a layer: the scale of its outputs, where a bias may go, a residual sum.

What comes between a layer's output y and the next layer matters twice: a BatchNormalization
scales each output channel, which says how much an error there weighs, and something along
the way must take up the change of the mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from eapc.graph import Node
from eapc.model import Model
from eapc.tensors import Array, is_float, numpy_type


@dataclass(frozen=True)
class BiasSink:
    """A constant that adds to a layer's scaled outputs z: z + 1 takes the constant + factor."""

    tensor: str
    factor: Array

    def moved(self, constant: Array, change: Array) -> Array:
        """The constant after z is to change by `change` (m,), in its own shape."""
        step: Array = (self.factor * change).reshape(constant.shape)
        return (constant.astype(np.float32) + step).astype(constant.dtype)


def surroundings(
    model: Model, node: Node, channels: int, channel_axis: int
) -> tuple[Array, BiasSink | None, str]:
    """(scale, bias sink, other branch of the next Add) behind a layer with `channels` outputs.

    `channel_axis` of y is counted from the end: -1 for Gemm, -3 for a 2-D convolution.
    """
    scale = np.ones(channels, np.float32)
    offset_sink = None
    stage, follower = _next(model, node.outputs[0])
    if follower is not None and _normalizes(follower, stage) and node.op_type != "MatMul":
        folded = _normalization_scale(model, follower)
        if folded is not None and folded.shape == (channels,):
            scale = folded
            offset_sink = _sink(model, follower.input(2), channels)
            stage, follower = _next(model, follower.outputs[0])
    bias = _own_bias(model, node, channels, scale) or offset_sink
    while follower is not None and follower.op_type == "Add" and not follower.domain:
        constant, other = _addends(model, follower, stage)
        if not constant:
            return scale, bias, other
        if bias is None and _is_per_channel(model, constant, channels, channel_axis):
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
    if shape is None or math.prod(shape) != channels or name in model.outputs:
        return None
    consumers = model.view.consumers(name)
    if len(consumers) != 1 or consumers[0].inputs.count(name) != 1:
        return None
    if not is_float(numpy_type(model.view.constants[name].data_type)):
        return None
    return BiasSink(name, np.ones(channels, np.float32) if factor is None else factor)


def _is_per_channel(model: Model, constant: str, channels: int, axis: int) -> bool:
    """True when the constant's `axis`, counted from the end, runs over the channels."""
    shape = model.constant_shape(constant) or ()
    return len(shape) >= -axis and shape[axis] == channels


def _normalizes(node: Node, tensor: str) -> bool:
    """True for a BatchNormalization of `tensor`, whose axis 1 MatMul may not end in."""
    return node.op_type == "BatchNormalization" and not node.domain and node.input(0) == tensor


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
