"""The scale that a model expects of inputs about which nothing is known.

The network itself tells. Its BatchNormalizations hold the mean and variance that training
gave them: the candidate that comes closest is taken. Where there are none, biases tell: one
that matters is of the size of what it shifts, so the candidate whose responses have the size
of the first layer's biases is taken. With neither, the one with the most varied outputs.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from eapc.data import Affine, Dataset
from eapc.evaluation import Outputs
from eapc.model import Array, Model, Node, is_float
from eapc.runtime import Session, collect_outputs, with_outputs

logger = logging.getLogger(__name__)

CANDIDATES: Mapping[str, tuple[float, float]] = {
    "unit normal": (1.0, 0.0),
    "0 to 1": (0.25, 0.5),
    "0 to 255": (64.0, 128.0),
}
"""Scale and offset of inputs made with mean 0 and variance about 1."""

_TRIALS = 32
_AT_ONCE = 4
"""Inputs per run: without fusion, and with so many outputs, each takes much memory."""

_NORMALIZATIONS = 8


def with_expected_scale(model: Model, made: Dataset, threads: int = 0) -> Dataset:
    """The dataset with its floating-point inputs at the scale the model seems to expect.

    Raises DataError where the model does not run on the inputs.
    """
    trial = made.first(max(_TRIALS, made.fixed_batch or 1))
    if not any(is_float(array.dtype) for array in made.arrays.values()):
        collect_outputs(model, trial, threads)
        return made
    merits = {
        name: _merit(model, scaled(trial, *pair), threads) for name, pair in CANDIDATES.items()
    }
    best = max(merits, key=lambda name: np.nan_to_num(merits[name], nan=-math.inf))
    logger.info("made-up inputs are taken to be '%s': %s", best, merits)
    return scaled(made, *CANDIDATES[best])


def scaled(made: Dataset, scale: float, offset: float) -> Dataset:
    """x -> x * scale + offset."""
    numbers = (np.asarray([value], np.float32) for value in (scale, -offset, 1.0))
    return replace(made, affine=Affine(*numbers))


def _merit(model: Model, trial: Dataset, threads: int) -> float:
    """How well a scale suits the model, higher is better; comparable within one model."""
    normalizations = _normalizations(model)
    if normalizations:
        return -_divergence(model, trial, normalizations, threads)
    first = _first_convolution(model)
    bias = model.constant(first.input(2)) if first and first.input(2) else None
    if first is None or bias is None or not np.any(bias):
        return _variety(collect_outputs(model, trial, threads))
    _, variance = channel_moments(model, trial, [first.outputs[0]], threads)[first.outputs[0]]
    ratio = np.sqrt(variance.mean() / np.square(bias.astype(np.float64)).mean())
    return -abs(math.log(ratio)) if ratio > 0 else -math.inf


def _normalizations(model: Model) -> list[Node]:
    """The first BatchNormalizations whose statistics are in the file."""
    found = [
        node
        for node in model.view.main_nodes
        if node.op_type == "BatchNormalization"
        and not node.domain
        and all(name in model.view.constants for name in node.inputs[3:5])
        and model.view.producer(node.input(0)) is not None
    ]
    return found[:_NORMALIZATIONS]


def _divergence(model: Model, trial: Dataset, nodes: Sequence[Node], threads: int) -> float:
    """KL divergence of normal distributions, found against expected; median over channels."""
    moments = channel_moments(model, trial, [node.input(0) for node in nodes], threads)
    divergences = []
    for node in nodes:
        found_mean, found_variance = moments[node.input(0)]
        mean, variance = (np.asarray(model.constant(name), float) for name in node.inputs[3:5])
        variance = variance + float(node.attribute("epsilon", 1e-5))
        ratio = found_variance / variance
        shift = np.square(found_mean - mean) / variance
        divergence = (ratio + shift - 1 - np.log(np.maximum(ratio, 1e-12))) / 2
        divergences.append(float(np.median(divergence)))
    return float(np.mean(divergences))


def channel_moments(
    model: Model, data: Dataset, tensors: Sequence[str], threads: int
) -> dict[str, tuple[Array, Array]]:
    """Mean and variance of each channel of some tensors, in float64."""
    proto = with_outputs(model.to_proto(embed=True), list(dict.fromkeys(tensors)))
    session = Session(proto, threads, optimise=False)
    sums = {name: np.zeros((3, 1)) for name in session.outputs}
    for feed in data.batches(_AT_ONCE):
        for name, values in session.run(feed).items():
            sums[name] = sums[name] + _sums(values)
    return {name: _mean_and_variance(*of) for name, of in sums.items()}


def _sums(values: Array) -> Array:
    """(3, channels): the number of values (n, channels, ...), their sum and that of squares."""
    wide = values.astype(np.float64)
    axes = (0, *range(2, wide.ndim))
    total = wide.sum(axis=axes)
    return np.stack([np.full_like(total, wide.size / total.size), total, (wide**2).sum(axis=axes)])


def _mean_and_variance(count: Array, total: Array, squares: Array) -> tuple[Array, Array]:
    mean = total / count
    return mean, np.maximum(squares / count - mean**2, 0)


def _variety(outputs: Outputs) -> float:
    """How much outputs differ between samples, relative to their size; 0 if not finite."""
    scores = []
    for value in outputs.values():
        wide = value.astype(np.float64)
        if value.dtype.kind != "f" or not np.isfinite(wide).all():
            continue
        power = float(np.square(wide).mean())
        scores.append(float(wide.var(axis=0).mean()) / power if power else 0.0)
    return max(scores, default=0.0)


def _first_convolution(model: Model) -> Node | None:
    """The only convolution that reads the model's only input."""
    names = [spec.name for spec in model.inputs]
    readers = model.view.consumers(names[0]) if len(names) == 1 else ()
    convolutions = [node for node in readers if node.op_type == "Conv"]
    return convolutions[0] if len(convolutions) == 1 else None
