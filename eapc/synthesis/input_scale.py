"""The scale that a model expects of inputs about which nothing is known.

The network itself tells (`eapc.scale`). Where it does not tell scales apart, inputs are of each of
them in turn: a network that is fitted on one scale alone may be useless on another. What is fitted
on large inputs leaves no trace of the biases, which are most of what small ones meet. The same goes
for images and white noise.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from eapc.data import Dataset
from eapc.model import Model
from eapc.runtime import collect_outputs
from eapc.scale import ScaleEvidence, scale_evidence
from eapc.synthesis.scalars import holds_one_number

logger = logging.getLogger(__name__)

CANDIDATES: Mapping[str, tuple[float, float]] = {
    "unit normal": (1.0, 0.0),
    "values 0 to 1": (0.25, 0.5),
    "values 0 to 255": (64.0, 128.0),
}
"""Scale and offset of inputs made with mean 0 and variance about 1."""

_OF_BYTES = "values 0 to 255"

_TRIALS = 32


class Candidate(NamedTuple):
    """What inputs may be: dead leaves (0) or white noise (1), and a scale by name."""

    texture: int
    scale: str


def with_expected_scale(model: Model, textures: Sequence[Dataset], threads: int = 0) -> Dataset:
    """The inputs with floating-point ones at the scale the model seems to expect.

    `textures` are the same inputs as images and, where there are images, as white noise: what
    suits the network counts here too. `origin` of the result says which and why. Raises DataError
    where the model does not run on the inputs.
    """
    made = textures[0]
    trials = [each.first(max(_TRIALS, made.fixed_batch or 1)) for each in textures]
    has_scale = any(_has_scale(made, name) for name in made.arrays)
    if not has_scale and len(textures) == 1:
        collect_outputs(model, trials[0], threads)
        return made
    scales = {n: pair for n, pair in CANDIDATES.items() if has_scale or n == _OF_BYTES}
    evidence = scale_evidence(model)
    misfits = {
        Candidate(texture, name): evidence.misfit(scaled(trial, *pair), threads)
        for texture, trial in enumerate(trials)
        for name, pair in scales.items()
    }
    likely = _likely(misfits, evidence)
    logger.info("misfit of made-up inputs by %s: %s", evidence.name, misfits)
    return replace(_in_turn(textures, likely), origin=_said(likely, evidence))


def scaled(made: Dataset, scale: float, offset: float) -> Dataset:
    """x -> x * scale + offset of what is floating-point and more than one number."""
    changed = {
        name: np.asarray(array * np.float32(scale) + np.float32(offset))
        for name, array in made.arrays.items()
        if _has_scale(made, name)
    }
    return replace(made, arrays={**made.arrays, **changed})


def _has_scale(made: Dataset, name: str) -> bool:
    return made.specs[name].is_float and not holds_one_number(made.specs[name])


def _likely(misfits: Mapping[Candidate, float], evidence: ScaleEvidence) -> list[Candidate]:
    """The best: one, or all within the margin of it; what is not a number is no good.

    Images are enough where they are among them and the evidence would tell.
    """
    known = {each: math.inf if math.isnan(value) else value for each, value in misfits.items()}
    furthest = min(known.values()) + evidence.margin
    likely = [each for each, value in known.items() if value <= furthest]
    images = [each for each in likely if not each.texture]
    return images if images and evidence.is_proof else likely


def _in_turn(textures: Sequence[Dataset], likely: Sequence[Candidate]) -> Dataset:
    """As many inputs of each kind, one kind behind the other: every second one has them all."""
    made = textures[0]
    if len(likely) == 1:
        return scaled(textures[likely[0].texture], *CANDIDATES[likely[0].scale])
    kinds = np.arange(len(made)) * len(likely) // len(made)
    parts = [
        scaled(textures[texture].take(np.flatnonzero(kinds == kind)), *CANDIDATES[scale])
        for kind, (texture, scale) in enumerate(likely)
    ]
    arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in made.arrays}
    return replace(made, arrays=arrays, kinds=kinds, kind_names=tuple(map(_title, likely)))


def _title(candidate: Candidate) -> str:
    return f"{'white noise of ' if candidate.texture else ''}{candidate.scale}"


def _said(likely: Sequence[Candidate], evidence: ScaleEvidence) -> str:
    if len(likely) == 1:
        return f"{_title(likely[0])} by {evidence.name}"
    images, noise = ([scale for t, scale in likely if t == texture] for texture in (0, 1))
    if not noise:
        what = _listed(images)
    elif not images:
        what = f"white noise of {_listed(noise)}"
    elif images == noise:
        what = f"{_listed(images)}, as images and as white noise"
    else:
        what = f"images of {_listed(images)}, white noise of {_listed(noise)}"
    return f"{what} in turn, as {evidence.name} cannot tell them apart"


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
