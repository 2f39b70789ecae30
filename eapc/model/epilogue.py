"""What stands behind a layer: the scale of its outputs, where a bias may go, a residual sum.

What comes between a layer's output y and the next layer matters twice: a BatchNormalization
scales each output channel, which says how much an error there weighs, and something along
the way must take up the change of the mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from eapc.model.codes import code_range, is_code
from eapc.model.graph import Node
from eapc.model.model import Model
from eapc.model.rounding import clip_bounds, clip_of_codes
from eapc.model.tensors import Array, Shape
from eapc.model.weights import (
    WeightSource,
    find_weights,
    obstacle,
    real_values,
    values_stored,
)
from eapc.operators import WeightLayout


@dataclass(frozen=True)
class BiasSink:
    """A constant that adds to a layer's scaled outputs z: z + 1 takes the constant + factor.

    The node that adds it may read it through views and casts. Where the constant adds to others
    too, `part` are the places along its last axis that add to z.
    """

    source: WeightSource
    factor: Array
    part: slice | None = None

    @property
    def tensor(self) -> str:
        """The constant that the file stores."""
        return self.source.root

    def moved(self, constant: Array, change: Array, now: Array | None = None) -> Array:
        """The constant after z is to change by `change` (m,), in its own shape, as float32.

        What is no part of it stays as it is `now`.
        """
        if self.part is not None:
            whole = np.array(constant if now is None else now, np.float32)
            own = replace(self, part=None)
            whole[..., self.part] = own.moved(constant[..., self.part], change)
            return whole
        step: Array = (self.factor * change).reshape(constant.shape)
        return constant.astype(np.float32) + step

    def changed(
        self,
        model: Model,
        change: Array,
        now: Model | None = None,
        scales: Mapping[str, Array] | None = None,
    ) -> Array:
        """The new value of the model's constant, in its own type, on its grid where it has one.

        What is no part of it stays what it is in `now`. The grid may have other `scales`.
        """
        constant = real_values(model, self.source)
        current = None if now is None else real_values(now, self.source)
        grid = model.with_weights(scales) if scales else model
        return values_stored(grid, self.source, self.moved(constant, change, current))


@dataclass(frozen=True)
class Clipping:
    """An activation that passes z + shift (+ the other branch) between two bounds only.

    `shift` (m,) is what the original network adds to z on the way; Relu has bounds 0 and
    infinity.
    """

    shift: Array
    low: float
    high: float


@dataclass(frozen=True)
class Epilogue:
    """What follows a layer's output y, one reader after another.

    `scale` (m,) turns y into z = scale * (y - offset), `offset` being the node's own bias;
    `other` is the other branch of the Add that comes next, `clipping` the activation behind it.
    """

    scale: Array
    bias: BiasSink | None
    other: str = ""
    clipping: Clipping | None = None


def epilogue_of(
    model: Model, node: Node, layout: WeightLayout, offset: Array, channel_shape: Shape
) -> Epilogue:
    """What stands behind a layer whose outputs have the bias `offset` (m,) of its own.

    `channel_shape` is that of a constant with one number for each of the m outputs, aligned with
    y at the end: (m, 1, 1) behind a 2-D convolution.
    """
    channels = len(offset)
    scale = np.ones(channels, np.float32)
    shift: Array | None = offset
    offset_sink = None
    stage, follower = _next(model, node.outputs[0])
    if follower is not None and layout.channels == 1:
        folded = normalization_of(model, follower, stage, offset)
        if folded is not None:
            scale, shift = folded
            offset_sink = _sink(model, follower.input(2), channels)
            stage, follower = _next(model, follower.outputs[0])
    bias = _own_bias(model, node, layout, scale) or offset_sink
    while True:
        stage, follower = _past_grid(model, stage, follower)
        if follower is None or follower.op_type != "Add" or follower.domain:
            break
        constant, other = _addends(model, follower, stage)
        stage, follower = _next(model, follower.outputs[0])
        if not constant:
            clipping = _clipping(model, follower, shift) if other else None
            return Epilogue(scale, bias, other, clipping)
        if _is_per_channel(model, constant, channel_shape):
            bias = bias or _sink(model, constant, channels)
        shift = _shifted(model, shift, constant, channel_shape)
    return Epilogue(scale, bias, clipping=_clipping(model, follower, shift))


def _shifted(
    model: Model, shift: Array | None, constant: str, channel_shape: Shape
) -> Array | None:
    """The shift with a constant added; None where it is not one number per channel."""
    added = model.constants.value(constant)
    spread = None if added is None else per_channel(added, channel_shape)
    if shift is None or spread is None:
        return None
    return np.asarray(shift + spread, np.float32)


def per_channel(constant: Array, channel_shape: Shape) -> Array | None:
    """What a constant adds to each output, (m,); None where it is not one number each."""
    stripped = constant.reshape(_without_leading_ones(constant.shape))
    if stripped.ndim > len(channel_shape):
        return None
    try:
        return np.broadcast_to(stripped, channel_shape).ravel()
    except ValueError:
        return None


def _without_leading_ones(shape: Shape) -> Shape:
    first = next((axis for axis, size in enumerate(shape) if size != 1), len(shape))
    return shape[first:]


def _clipping(model: Model, node: Node | None, shift: Array | None) -> Clipping | None:
    """The activation that a node is, if it does nothing but clip."""
    if node is None or shift is None or node.domain:
        return None
    if node.op_type == "Relu":
        return Clipping(shift, 0.0, math.inf)
    if node.op_type == "QuantizeLinear":
        ends = _ends(model, node)
        return Clipping(shift, *ends) if ends else None
    if node.op_type != "Clip":
        return None
    bounds = clip_bounds(model, node)
    return None if bounds is None else Clipping(shift, *bounds)


def _ends(model: Model, node: Node) -> tuple[float, float] | None:
    """What the codes of a QuantizeLinear reach from and to; None but for one scale of all."""
    scale = model.constants.scalar(node.input(1))
    zero = model.constants.value(node.input(2)) if node.input(2) else np.zeros(1, np.uint8)
    if scale is None or zero is None or zero.size != 1 or not is_code(zero.dtype):
        return None
    if node.attribute("output_dtype", 0) and not node.input(2):
        return None
    least, greatest = code_range(zero.dtype)
    clip = clip_of_codes(model, node)
    if clip is not None:
        bounds = clip_bounds(model, clip)
        if bounds is None:
            return None
        least, greatest = int(max(least, bounds[0])), int(min(greatest, bounds[1]))
    offset = int(zero.reshape(-1)[0])
    return scale * (least - offset), scale * (greatest - offset)


def _past_grid(model: Model, stage: str, node: Node | None) -> tuple[str, Node | None]:
    """The Add behind a pair of QuantizeLinear and DequantizeLinear, which but rounds what it adds.

    A range that ends at 0 stands for a Relu; then, and where no such pair is, the node itself.
    """
    ends = _ends(model, node) if node is not None and node.op_type == "QuantizeLinear" else None
    if node is None or ends is None or not ends[0] < 0 < ends[1]:
        return stage, node
    clip = clip_of_codes(model, node)
    _, reader = _next(model, (clip or node).outputs[0])
    if (
        reader is None
        or reader.op_type != "DequantizeLinear"
        or reader.inputs[1:] != node.inputs[1:]
    ):
        return stage, node
    after, add = _next(model, reader.outputs[0])
    return (after, add) if add is not None and add.op_type == "Add" else (stage, node)


def _next(model: Model, tensor: str) -> tuple[str, Node | None]:
    """The tensor and its only reader; no reader where it has several or is an output."""
    consumers = model.view.consumers(tensor)
    alone = len(consumers) == 1 and tensor not in model.outputs
    return tensor, consumers[0] if alone else None


def _own_bias(model: Model, node: Node, layout: WeightLayout, scale: Array) -> BiasSink | None:
    """The bias that the node reads; where `scale` is 0 nothing added there would show."""
    name, beta = layout.bias_of(node.inputs), layout.bias_factor(node.attributes)
    if not name or beta == 0:
        return None
    with np.errstate(divide="ignore"):
        factor = np.where(scale == 0, 0, 1 / (scale * beta)).astype(np.float32)
    return _sink(model, name, len(scale), factor)


def _sink(model: Model, name: str, channels: int, factor: Array | None = None) -> BiasSink | None:
    """A sink if the constant holds one number per channel and belongs to one node alone."""
    source = find_weights(model, name)
    if source is None or obstacle(model, source) or source.root not in model.constants:
        return None
    if any(node.op_type == "Transpose" for node in source.chain):
        return None
    if math.prod(model.constants.shape(source.root) or ()) != channels:
        return None
    if not all(_is_read_once(model, tensor) for tensor in source.tensors):
        return None
    return BiasSink(source, np.ones(channels, np.float32) if factor is None else factor)


def _is_read_once(model: Model, tensor: str) -> bool:
    consumers = model.view.consumers(tensor)
    is_alone = len(consumers) == 1 and consumers[0].inputs.count(tensor) == 1
    return is_alone and tensor not in model.outputs


def _is_per_channel(model: Model, constant: str, channel_shape: Shape) -> bool:
    """True when the constant has a number of its own for each output."""
    shape = model.constants.shape(constant)
    return shape is not None and _without_leading_ones(shape) == _without_leading_ones(
        channel_shape
    )


def _addends(model: Model, node: Node, stage: str) -> tuple[str, str]:
    """(constant, other): what an Add adds to `stage`; one of the two is empty."""
    others = [name for name in node.inputs if name != stage]
    if len(others) != 1:
        return "", ""
    constant = others[0] in model.constants
    return (others[0], "") if constant else ("", others[0])


def normalization_of(model: Model, node: Node, y: str, offset: Array) -> tuple[Array, Array] | None:
    """(scale, shift) of an inference-mode BatchNormalization of y: scale * (y - offset) + shift.

    The scale is gamma / sqrt(variance + epsilon). None where it is not constant, or none of `y`.
    """
    if node.op_type != "BatchNormalization" or node.domain or node.input(0) != y:
        return None
    found = [model.constants.value(node.input(place)) for place in (1, 2, 3, 4)]
    if any(array is None for array in found) or node.attribute("training_mode", 0):
        return None
    if any(array is not None and array.shape != offset.shape for array in found):
        return None
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in found)
    wide = variance + float(node.attribute("epsilon", 1e-5))
    if (wide <= 0).any():
        return None
    scale = gamma / np.sqrt(wide)
    shift = scale * (offset - mean) + beta
    return scale.astype(np.float32), shift.astype(np.float32)
