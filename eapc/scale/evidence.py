"""What a network tells of the scale of its inputs, and how badly inputs suit it.

BatchNormalizations hold the mean and variance that training gave them; biases are about the size of
what they shift; and inputs at a wrong scale may leave a network with the same outputs for all of
them. The first of these that a network has counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from onnx import helper, numpy_helper

from eapc.data import Dataset
from eapc.evaluation import Outputs
from eapc.model import Array, Model, Node, is_float
from eapc.operators import operator_of
from eapc.runtime import Session, collect_outputs, with_outputs

_NATS = 0.2
"""Normal distributions whose deviations differ by a factor of 1.5 are so far apart."""

_BIASES = math.log(3)
"""Biases of trained layers are mostly within this factor of what they shift, seldom beyond."""

_SMALL = 0.5
"""How much it counts that a bias is smaller than what it shifts: that is far more common than that
it is larger, and drowns the input. Those of MNIST's network are so by a factor of 800."""

_VARIETY = math.log(10)
"""Outputs vary more or less for many reasons; only a network that hardly reacts says something."""

_LAYERS = 8
"""Layers that are looked at: the first tell most, and all of them are kept in memory at once."""

_AT_ONCE = 4
"""Inputs per run: without fusion, and with so many outputs, each takes much memory."""


@dataclass(frozen=True)
class ScaleEvidence:
    """How badly inputs suit a network: 0 is best, differences are logarithms of likelihoods.

    Inputs that differ by less than `margin` are as likely as each other. Statistics of training
    are a proof: a great misfit leaves no doubt, and other textures than images' would show; else a
    great misfit is at best a hint.
    """

    name: str
    margin: float
    misfit: Callable[[Dataset, int], float]
    is_proof: bool = False
    is_hint: bool = True


@dataclass(frozen=True)
class Bias:
    """A bias and the tensor whose channels, along an axis, it shifts or has shifted.

    Where `weights` (k, m) are given, it shifts the product of the tensor with them, which the
    network makes within a recurrent cell.
    """

    tensor: str
    axis: int
    values: Array
    weights: Array | None = None


def scale_evidence(model: Model) -> ScaleEvidence:
    """The best evidence that a network has to give."""
    if normalizations := trained_normalizations(model):
        misfit = partial(_divergence, model, normalizations)
        return ScaleEvidence("BatchNormalization statistics", _NATS, misfit, is_proof=True)
    if biases := first_biases(model):
        return ScaleEvidence("the first biases", _BIASES, partial(_disproportion, model, biases))
    monotony = partial(_monotony, model)
    return ScaleEvidence("the variety of outputs", _VARIETY, monotony, is_hint=False)


# --- BatchNormalization ------------------------------------------------------------------------


def trained_normalizations(model: Model) -> list[Node]:
    """The first BatchNormalizations whose statistics are in the file and were ever updated."""
    found = [
        node
        for node in model.view.main_nodes
        if node.op_type == "BatchNormalization"
        and not node.domain
        and model.view.producer(node.input(0)) is not None
        and _is_trained(model, node)
    ]
    return found[:_LAYERS]


def _is_trained(model: Model, node: Node) -> bool:
    """Mean 0 and variance 1 in every channel are what training starts from."""
    mean, variance = (model.constants.value(name) for name in node.inputs[3:5])
    return mean is not None and variance is not None and bool(np.any(mean) or np.any(variance != 1))


def _divergence(model: Model, nodes: Sequence[Node], data: Dataset, threads: int) -> float:
    """KL divergence of normal distributions, found against expected; median over channels."""
    moments = channel_moments(model, data, {node.input(0): 1 for node in nodes}, threads)
    divergences = []
    for node in nodes:
        found_mean, found_variance = moments[node.input(0)]
        mean, variance = (model.constants[name].astype(float) for name in node.inputs[3:5])
        variance = variance + float(node.attribute("epsilon", 1e-5))
        ratio = found_variance / variance
        shift = np.square(found_mean - mean) / variance
        divergence = (ratio + shift - 1 - np.log(np.maximum(ratio, 1e-12))) / 2
        divergences.append(float(np.median(divergence)))
    return float(np.mean(divergences))


def channel_moments(
    model: Model,
    data: Dataset,
    axes: Mapping[str, int],
    threads: int,
    products: Mapping[str, Bias] = MappingProxyType({}),
) -> dict[str, tuple[Array, Array]]:
    """Mean and variance of each channel of some tensors, in float64; `axes` are the channels'.

    `products`, by names that the model does not have, are multiplied for that.
    """
    proto = with_outputs(model.to_proto(embed=True), list(axes))
    for name, bias in products.items():
        if bias.weights is not None:
            weights = numpy_helper.from_array(bias.weights, f"{name}/weights")
            proto.graph.initializer.append(weights)
            proto.graph.node.append(helper.make_node("MatMul", [bias.tensor, weights.name], [name]))
    session = Session(proto, threads, optimise=False)
    sums = {name: np.zeros((3, 1)) for name in axes}
    for feed in data.batches(_AT_ONCE):
        values = session.run(feed)
        for name, axis in axes.items():
            sums[name] = sums[name] + _sums(np.moveaxis(values[name], axis, -1))
    return {name: _mean_and_variance(*of) for name, of in sums.items()}


def _sums(values: Array) -> Array:
    """(3, channels): the number of values (..., channels), their sum and that of squares."""
    wide = values.astype(np.float64)
    axes = tuple(range(wide.ndim - 1))
    total = wide.sum(axis=axes)
    return np.stack([np.full_like(total, wide.size / total.size), total, (wide**2).sum(axis=axes)])


def _mean_and_variance(count: Array, total: Array, squares: Array) -> tuple[Array, Array]:
    mean = total / count
    return mean, np.maximum(squares / count - mean**2, 0)


# --- biases ------------------------------------------------------------------------------------


def first_biases(model: Model) -> list[Bias]:
    """Biases that the inputs reach through no layer with a bias; those of 0 tell nothing."""
    reached = {spec.name for spec in model.inputs}
    found = []
    for node in model.view.main_nodes:
        if not reached.isdisjoint(node.inputs):
            is_cell = operator_of(node).kind == "recurrent"
            bias = _bias_of_cell(model, node) if is_cell else _bias_of(model, node)
            if bias is not None:
                found.append(bias)
            elif not is_cell:  # whose outputs are as large whatever comes in
                reached.update(node.outputs)
    return found[:_LAYERS]


def _bias_of_cell(model: Model, node: Node) -> Bias | None:
    """What the gates of all directions add to x W^T: the biases of W and of R together."""
    weights, own = (model.constants.value(node.input(place)) for place in (1, 3))
    if weights is None or not is_float(weights.dtype) or own is None or not np.any(own):
        return None
    of_w, of_r = np.split(own.astype(np.float64), 2, axis=1)
    turned = np.ascontiguousarray(weights.reshape(-1, weights.shape[2]).T)
    return Bias(node.input(0), -1, (of_w + of_r).reshape(-1), turned)


def _bias_of(model: Model, node: Node) -> Bias | None:
    """The bias that a layer has, or that an Add gives to the layer before it."""
    row = operator_of(node)
    if row.weights is not None:
        name = row.weights.bias_of(node.inputs)
        own = model.constants.value(name) if name else None
        if own is None or not np.any(own):
            return None
        return Bias(node.outputs[0], row.weights.channels, own)
    if row.full_name != "Add":
        return None
    for tensor, other in (node.inputs, node.inputs[::-1]):
        layer, added = model.view.producer(tensor), model.constants.value(other)
        layout = operator_of(layer).weights if layer else None
        if layout is not None and added is not None and np.any(added):
            return Bias(tensor, layout.channels, added)
    return None


def _disproportion(model: Model, biases: Sequence[Bias], data: Dataset, threads: int) -> float:
    """How far, as a logarithm, biases are from the size of what varies in the tensors; mean.

    Those that are smaller count `_SMALL` of that.
    """
    products = {
        f"eapc/gates/{i}": bias for i, bias in enumerate(biases) if bias.weights is not None
    }
    names = {id(bias): name for name, bias in products.items()}
    tensors = [names.get(id(bias), bias.tensor) for bias in biases]
    axes = {name: bias.axis for name, bias in zip(tensors, biases, strict=True)}
    moments = channel_moments(model, data, axes, threads, products)
    ratios = zip(tensors, biases, strict=True)
    return float(np.mean([_log_ratio(moments[name][1], bias.values) for name, bias in ratios]))


def _log_ratio(variance: Array, bias: Array) -> float:
    ratio = np.sqrt(variance.mean() / np.square(bias.astype(np.float64)).mean())
    if ratio <= 0:
        return math.inf
    distance = math.log(ratio)
    return _SMALL * distance if distance > 0 else -distance


# --- outputs -----------------------------------------------------------------------------------


def _monotony(model: Model, data: Dataset, threads: int) -> float:
    """How little outputs differ between samples, relative to their size; negative logarithm."""
    variety = _variety(collect_outputs(model, data, threads))
    return -math.log(variety) if variety > 0 else math.inf


def _variety(outputs: Outputs) -> float:
    scores = []
    for value in outputs.values():
        wide = value.astype(np.float64)
        if value.dtype.kind != "f" or not np.isfinite(wide).all():
            continue
        power = float(np.square(wide).mean())
        scores.append(float(wide.var(axis=0).mean()) / power if power else 0.0)
    return max(scores, default=0.0)
