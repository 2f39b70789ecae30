"""Grids of activations, told by calibration data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from eapc.calibration import ActivationWalk, MemoryBudget
from eapc.data import Dataset
from eapc.errors import ModelError
from eapc.model import Array, Model
from eapc.quantization.grids import TensorGrid, activation_grid
from eapc.quantization.plan import QuantizationPlan
from eapc.quantization.value_counts import ValueCounts
from eapc.runtime import Engine, feed_size


def with_grids(
    plan: QuantizationPlan, model: Model, data: Dataset, engine: Engine
) -> QuantizationPlan:
    """The plan with the grid of every tensor: of least squares over its group's values."""
    counts = _value_counts(plan, model, data, engine)
    by_group: dict[str, TensorGrid] = {
        group: activation_grid(
            ValueCounts.joined([counts[name] for name in sources]), plan.bits[group]
        )
        for group, sources in plan.groups.items()
    }
    return replace(plan, grids={name: by_group[plan.tied[name]] for name in plan.tensors})


def with_constants(plan: QuantizationPlan, model: Model) -> QuantizationPlan:
    """The plan with the grids that suit the model's constants, of those that share them with none.

    Such as sums' constants that took up what layers in front changed of the means.
    """
    alone = [names[0] for names in plan.groups.values() if len(names) == 1]
    grids = {
        name: activation_grid(ValueCounts.of([model.constants[name]]), plan.bits[plan.tied[name]])
        for name in alone
        if name in model.constants and plan.tied[name] == name
    }
    return replace(plan, grids={**plan.grids, **grids})


def _value_counts(
    plan: QuantizationPlan, model: Model, data: Dataset, engine: Engine
) -> Mapping[str, ValueCounts]:
    """The values of each source: those of a constant, or those over the calibration data."""
    constant = [name for name in plan.sources if name in model.constants]
    counts = {name: _counted(name, [model.constants[name]]) for name in constant}
    steps = [name for name in plan.sources if name not in counts]
    memory = MemoryBudget(engine.memory)
    walk = ActivationWalk(
        model, data, [[name] for name in steps], feed_size(model, data), engine.threads, memory
    )
    for index, name in enumerate(steps):
        counts[name] = _counted(name, walk.step(index, model)[name])
    return counts


def _counted(name: str, batches: Sequence[Array]) -> ValueCounts:
    """The counts of a tensor's values; raises ModelError where there is no grid for them."""
    if not all(np.isfinite(batch).all() for batch in batches):
        raise ModelError(f"'{name}' has infinite values, which no grid of integers holds")
    return ValueCounts.of(batches)
