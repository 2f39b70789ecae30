"""What a network's outputs should be on some inputs, and how far they are from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eapc.data import Dataset
from eapc.errors import DataError, ModelError
from eapc.model import Array, Model, is_float
from eapc.runtime import collect_outputs, with_outputs

_MOST = 256
"""Elements of an input's outputs that steps are worked out from: a few tell of all."""


def asked_for(model: Model, names: Sequence[str]) -> Model:
    """The model with these tensors as its outputs, constants under the names that they have."""
    return Model.from_proto(with_outputs(model.to_proto(embed=True), names))


@dataclass(frozen=True)
class Wanted:
    """The original's outputs on some inputs: a matrix (inputs, elements) for each tensor.

    `powers` is what squared errors of each are relative to.
    """

    data: Dataset
    values: Mapping[str, Array]
    powers: Mapping[str, float]

    @classmethod
    def of(cls, teacher: Model, names: Sequence[str], data: Dataset, threads: int) -> Wanted:
        """Those of a network on all inputs of data.

        Raises ModelError where no output can be compared, DataError where they are not finite.
        """
        found = collect_outputs(asked_for(teacher, names), data, threads)
        values = {name: by_input(y, len(data)) for name, y in found.items() if _fits(y, len(data))}
        if not values:
            raise ModelError("nothing to repair: no output is floating point of one size per input")
        if not all(np.isfinite(y).all() for y in values.values()):
            raise DataError("the original's outputs are not finite on some inputs")
        return cls(data, values, {name: _power(y) for name, y in values.items()})

    def take(self, rows: Array) -> Wanted:
        """The same of some inputs."""
        values = {name: y[rows] for name, y in self.values.items()}
        return Wanted(self.data.take(rows), values, self.powers)

    def error(self, model: Model, threads: int) -> float:
        """Squared error over power, a mean over tensors; `model` has these as outputs.

        Infinite where an output is not finite.
        """
        found = collect_outputs(model, self.data, threads)
        errors = []
        for name, target in self.values.items():
            y = by_input(found[name], len(self.data))
            if y.shape != target.shape:
                raise ModelError(f"'{name}' has another size than the original's: {y.shape[1]}")
            with np.errstate(over="ignore", invalid="ignore"):
                errors.append(float(np.square(y - target).mean()) / self.powers[name])
        error = float(np.mean(errors))
        return error if np.isfinite(error) else np.inf


def by_input(y: Array, inputs: int) -> Array:
    """An output over `inputs` inputs as (inputs, elements) float64."""
    return np.asarray(y, np.float64).reshape(inputs, -1)


def _fits(y: Array, inputs: int) -> bool:
    return is_float(y.dtype) and y.size > 0 and len(y) % inputs == 0


@dataclass(frozen=True)
class EquationRows:
    """Which elements of the outputs a step is worked out from, and what each counts."""

    chosen: Mapping[str, tuple[Array, float]]

    @classmethod
    def of(cls, wanted: Wanted, rng: np.random.Generator) -> EquationRows:
        """Up to `_MOST` elements of each tensor, weighed so that squares add up to the error."""
        chosen = {}
        for name, target in wanted.values.items():
            count = min(_MOST, target.shape[1])
            places = np.sort(rng.choice(target.shape[1], count, replace=False))
            size = len(target) * count * len(wanted.values)
            chosen[name] = places, (wanted.powers[name] * size) ** -0.5
        return cls(chosen)

    @property
    def per_input(self) -> int:
        """Equations that an input gives."""
        return sum(len(places) for places, _ in self.chosen.values())

    def vector(self, outputs: Mapping[str, Array], inputs: int) -> Array:
        """The weighed elements of outputs over so many inputs, one after another."""
        parts = [
            weight * by_input(outputs[name], inputs)[:, places]
            for name, (places, weight) in self.chosen.items()
        ]
        return np.concatenate([part.ravel() for part in parts])


def _power(y: Array) -> float:
    """The variance of an output: what its squared error is relative to.

    Of one that is constant it is its mean square, or 1 where that is 0.
    """
    wide = np.asarray(y, np.float64).reshape(len(y), -1)
    return float(wide.var(axis=0).mean()) or float(np.square(wide).mean()) or 1.0
