"""Whether data is at another scale than a network expects: images that nobody scaled, above all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from eapc.data import Dataset
from eapc.model import Array, Model
from eapc.scale.declared import DeclaredRange, declared_ranges
from eapc.scale.evidence import ScaleEvidence, scale_evidence

_LOOKED_AT = 8
"""Inputs that are looked at, or a batch: scales that matter differ by far more than inputs do."""


@dataclass(frozen=True)
class ScaleMisfit:
    """What speaks against the scale of data, and whether there is next to no doubt.

    `said` is a clause to go on from.
    """

    said: str
    is_certain: bool


def scale_misfit(model: Model, data: Dataset, threads: int = 0) -> ScaleMisfit | None:
    """What a network has to say against data; None where nothing does.

    Ranges that it declares count first, then `scale_evidence`. Hints say nothing against a scaling
    that the data states.
    """
    count = min(max(_LOOKED_AT, data.fixed_batch or 1), data.usable)
    few = data.take(np.linspace(0, data.usable - 1, count).astype(int))
    values = {name: x for name, x in _fed(few).items() if data.specs[name].is_float}
    for declared in declared_ranges(model):
        if declared.name in values and (found := _beyond(declared, values[declared.name])):
            return found
    return _unlikely(model, few, values, threads) if values else None


def _fed(data: Dataset) -> dict[str, Array]:
    """All samples of each input as the network is fed them."""
    feeds = list(data.fed(len(data)))
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in data.arrays}


# --- declared ranges -------------------------------------------------------------------------

_ROOM = 0.01
"""Of a range, how far beyond it rounding may lead."""

_MANY_BEYOND = 0.05
_MOST_BEYOND = 0.5
"""Shares of the values that are cut off."""

_TINY = 1 / 50
"""Share of a range, from 0, that all values keep within where they are of another scale."""


def _beyond(declared: DeclaredRange, values: Array) -> ScaleMisfit | None:
    name, low, high, origin = declared
    room = _ROOM * (high - low)
    beyond = float(np.mean((values < low - room) | (values > high + room)))
    says = f"{origin} takes {low:.4g} to {high:.4g}, and input '{name}' has {_span(values)}"
    if beyond > _MANY_BEYOND:
        return ScaleMisfit(f"{says}: {beyond:.0%} of the values are beyond", beyond > _MOST_BEYOND)
    largest, limit = float(np.abs(values).max()), max(abs(low), abs(high))
    if 0 < largest < _TINY * limit:
        share = largest / limit
        return ScaleMisfit(f"{says}: {share:.1%} of the range", share < _TINY / 2)
    return None


def _span(values: Array) -> str:
    return f"{values.min():.4g} to {values.max():.4g}"


# --- evidence --------------------------------------------------------------------------------

_SUITS = 0.5
"""Misfit up to which inputs suit a network: deviations of half or twice what they were."""

_DOUBTFUL = 1.5
_ABSURD = 3.0
"""Misfit beyond which another scaling that suits is likely to be right, or must be."""


def _unlikely(
    model: Model, few: Dataset, values: Mapping[str, Array], threads: int
) -> ScaleMisfit | None:
    """What BatchNormalizations, or else the first biases, say."""
    evidence = scale_evidence(model)
    is_telling = evidence.is_proof or (evidence.is_hint and few.affine is None)
    found = _misfit(evidence, few, threads) if is_telling else 0.0
    if not found > (_SUITS if evidence.is_proof else _DOUBTFUL):
        return None
    name = max(values, key=lambda each: values[each].size)
    better, how = min(
        (_misfit(evidence, _feeding(few, name, x), threads), how)
        for how, x in _rescaled(values[name])
    )
    said = f"{evidence.name} do not suit input '{name}' of {_span(values[name])}"
    if better < _SUITS and found > _DOUBTFUL:
        return ScaleMisfit(f"{said}, but {how}", evidence.is_proof and found > _ABSURD)
    return ScaleMisfit(said, False) if evidence.is_proof else None


def _misfit(evidence: ScaleEvidence, data: Dataset, threads: int) -> float:
    """The misfit; infinite where numbers run over."""
    found = evidence.misfit(data, threads)
    return math.inf if math.isnan(found) else found


def _rescaled(x: Array) -> Iterator[tuple[str, Array]]:
    yield "x / 255 would", x / np.float32(255)
    with np.errstate(over="ignore"):
        yield "x * 255 would", x * np.float32(255)
    deviation = float(x.std(dtype=np.float64))
    if deviation > 0 and math.isfinite(deviation):
        mean = float(x.mean(dtype=np.float64))
        standardised = (x - np.float32(mean)) / np.float32(deviation)
        yield f"(x - {mean:.4g}) / {deviation:.4g} would", standardised


def _feeding(few: Dataset, name: str, x: Array) -> Dataset:
    """The inputs as they are fed, one of them changed."""
    fed = _fed(few)
    return replace(few, arrays={**fed, name: x}, affine=None)
