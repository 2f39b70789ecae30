"""The scale that a model expects of inputs about which nothing is known.

The network itself tells (`eapc.synthesis.evidence`). Where it does not tell scales apart, inputs
are of each of them in turn: a network that is fitted on one scale alone may be useless on another.
What is fitted on large inputs leaves no trace of the biases, which are most of what small ones
meet.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from eapc.data import Affine, Dataset
from eapc.model import Array, Model, is_float
from eapc.runtime import collect_outputs
from eapc.synthesis.evidence import ScaleEvidence, scale_evidence

logger = logging.getLogger(__name__)

CANDIDATES: Mapping[str, tuple[float, float]] = {
    "unit normal": (1.0, 0.0),
    "values 0 to 1": (0.25, 0.5),
    "values 0 to 255": (64.0, 128.0),
}
"""Scale and offset of inputs made with mean 0 and variance about 1."""

_TRIALS = 32


def with_expected_scale(
    model: Model, made: Dataset, rng: np.random.Generator, threads: int = 0
) -> Dataset:
    """The dataset with its floating-point inputs at the scale the model seems to expect.

    Its `origin` says which and why. Raises DataError where the model does not run on the inputs.
    """
    trial = made.first(max(_TRIALS, made.fixed_batch or 1))
    if not any(is_float(array.dtype) for array in made.arrays.values()):
        collect_outputs(model, trial, threads)
        return made
    evidence = scale_evidence(model)
    misfits = {
        name: evidence.misfit(scaled(trial, *pair), threads) for name, pair in CANDIDATES.items()
    }
    names = _likely(misfits, evidence.margin)
    logger.info("misfit of made-up inputs by %s: %s", evidence.name, misfits)
    return replace(_in_turn(made, names, rng), origin=_said(names, evidence))


def scaled(made: Dataset, scale: float, offset: float) -> Dataset:
    """x -> x * scale + offset."""
    numbers = (np.asarray([value], np.float32) for value in (scale, -offset, 1.0))
    return replace(made, affine=Affine(*numbers))


def _likely(misfits: Mapping[str, float], margin: float) -> list[str]:
    """The best scales: one, or all within the margin of it; what is not a number is no good."""
    known = {name: math.inf if math.isnan(value) else value for name, value in misfits.items()}
    furthest = min(known.values()) + margin
    return [name for name, value in known.items() if value <= furthest]


def _in_turn(made: Dataset, names: Sequence[str], rng: np.random.Generator) -> Dataset:
    """As many inputs of each scale, shuffled: whoever takes every second one has them all."""
    if len(names) == 1:
        return scaled(made, *CANDIDATES[names[0]])
    pairs = np.asarray([CANDIDATES[name] for name in names], np.float32)
    scales, offsets = pairs[rng.permutation(np.arange(len(made)) % len(names))].T

    def mixed(array: Array) -> Array:
        each = (len(array), *(1,) * (array.ndim - 1))
        return np.asarray(array * scales.reshape(each) + offsets.reshape(each))

    arrays = {n: mixed(a) if is_float(a.dtype) else a for n, a in made.arrays.items()}
    return replace(made, arrays=arrays)


def _said(names: Sequence[str], evidence: ScaleEvidence) -> str:
    if len(names) == 1:
        return f"{names[0]} by {evidence.name}"
    *most, last = names
    return f"{', '.join(most)} and {last} in turn, as {evidence.name} cannot tell them apart"
