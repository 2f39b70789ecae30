"""By how much the outputs of a rewritten model differ from those that it must keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eapc.channels import UNIT_ROUNDOFF
from eapc.data import Dataset
from eapc.errors import EapcError
from eapc.model import Array, Model, is_float
from eapc.pipeline.compilation import Compilation
from eapc.runtime import collect_outputs
from eapc.synthesis import synthesise

_LAST_BITS = {"float32": 64, "float64": 64, "float16": 8, "bfloat16": 8}
"""Sums of thousands of terms in another order, layer after layer, differ by a few dozen of the last
bit; those of 16-bit numbers are summed in float32 and rounded once a layer."""

_COMPARED = 32
"""Inputs that outputs are compared on."""


@dataclass(frozen=True)
class OutputChange:
    """The largest change of a model's outputs, relative to the largest magnitude of each.

    `allowed` is what rounding may do: 64 units in the last place of the outputs' type, or of the
    narrowest that weights have, 8 where those are of 16 bits. `problem` says why nothing could be
    compared.
    """

    inputs: int
    largest: float = 0.0
    allowed: float = 0.0
    made_up: bool = False
    problem: str = ""

    @property
    def is_rounding(self) -> bool:
        """Whether rounding may change as much."""
        return not self.problem and self.largest <= self.allowed

    def __str__(self) -> str:
        if self.problem:
            return f"outputs cannot be compared: {self.problem}"
        kind = " made-up" if self.made_up else ""
        inputs = f"{self.inputs}{kind} input{'s' if self.inputs > 1 else ''}"
        if not self.largest:
            return f"outputs are the same to the bit on {inputs}"
        most = f"at most {self.largest:.2g} of their largest value on {inputs}"
        return f"outputs change by {most}, and rounding may do {self.allowed:.2g}"


def change_of_outputs(compilation: Compilation, smaller: Model) -> OutputChange:
    """Runs both models on a few calibration inputs, or on made-up ones."""
    engine = compilation.conditions.engine
    try:
        data = _few(compilation)
        before, after = (
            collect_outputs(model, data, engine.threads) for model in (compilation.model, smaller)
        )
    except EapcError as error:
        return OutputChange(0, problem=str(error))
    changes = [_relative(before[name], after[name]) for name in before]
    allowed = _rounding(compilation.model, before)
    return OutputChange(len(data), max(changes, default=0.0), allowed, data.synthesised)


def _few(compilation: Compilation) -> Dataset:
    """Evenly spaced calibration inputs, or made-up ones where there are none."""
    data, conditions = compilation.calibration, compilation.conditions
    if data is None:
        rng = np.random.default_rng(conditions.engine.seed)
        shapes, threads = conditions.input_shapes, conditions.engine.threads
        return synthesise(compilation.model, shapes, _COMPARED, rng, threads)
    few = data.take(slice(0, None, max(1, len(data) // _COMPARED)))
    return few if few.usable else data


def _relative(before: Array, after: Array) -> float:
    """The largest change over the largest magnitude; infinite where shapes or classes differ."""
    if before.shape != after.shape or before.dtype != after.dtype:
        return np.inf
    if not is_float(before.dtype) or not before.size:
        return 0.0 if np.array_equal(before, after) else np.inf
    one, other = before.astype(np.float64), after.astype(np.float64)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    change = np.abs(np.subtract(one, other, out=np.zeros(one.shape), where=~same)).max()
    if not np.isfinite(change):
        return np.inf
    scale = np.abs(one[np.isfinite(one)]).max(initial=0)
    return float(change / scale) if scale else float(np.inf if change else 0.0)


def _rounding(model: Model, outputs: Mapping[str, Array]) -> float:
    """What rounding may do in the widest steps of outputs and of constants that are matrices."""
    types = [value.dtype.name for value in outputs.values()]
    plain = model.constants.plain
    types += [model.constants.dtype(name).name for name, at in plain.items() if len(at.dims) > 1]
    known = [name for name in types if name in _LAST_BITS] or ["float32"]
    return max(2 * UNIT_ROUNDOFF[name] * _LAST_BITS[name] for name in known)
