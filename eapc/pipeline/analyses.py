"""What a compilation's model comes to under its conditions: shapes, work, densities, energy."""

from __future__ import annotations

from dataclasses import replace

from eapc.channels import ChannelGroups, find_groups
from eapc.data import Dataset
from eapc.energy import (
    DensityTable,
    EnergyReport,
    NodeWork,
    estimate,
    measured_table,
    work_list_with_bodies,
)
from eapc.model import InputShapes, Shapes, batch_inputs, infer_shapes, input_shapes
from eapc.pipeline.compilation import Compilation

_INPUTS_FOR_DENSITIES = 256
"""Densities average over all elements of a tensor: a few hundred inputs fix them."""


def estimate_energy(compilation: Compilation) -> EnergyReport:
    """The energy of the compilation's model under its conditions."""
    works, batch = works_of(compilation)
    densities = density_table(compilation, works)
    return estimate(compilation.model, works, compilation.hardware, densities, batch)


def works_of(compilation: Compilation) -> tuple[tuple[NodeWork, ...], int]:
    """The model's work list and the inferences it stands for."""
    shapes, batch = shapes_of(compilation)
    model, bits = compilation.model, compilation.conditions.bits

    def works() -> tuple[NodeWork, ...]:
        return work_list_with_bodies(model, shapes, bits)

    # the graph keeps its shapes, so that an id is theirs alone
    return model.view.analyses.once(("works", bits, id(shapes)), works), batch


def groups_of(compilation: Compilation) -> ChannelGroups:
    """The model's channel groups."""
    model, shapes = compilation.model, shapes_of(compilation)[0]
    return model.analyses.once(("groups", id(shapes)), lambda: find_groups(model, shapes))


def shapes_of(compilation: Compilation) -> tuple[Shapes, int]:
    """Shapes under the conditions, with the inferences that they stand for.

    Axes that the conditions leave open follow the calibration data.
    """
    model, conditions = compilation.model, compilation.conditions
    given = dict(conditions.input_shapes)
    if compilation.calibration is not None:
        given = {**_shapes_of(compilation.calibration, conditions.batch), **given}
    sizes = input_shapes(model, given, conditions.batch)
    batched = batch_inputs(model.inputs)
    batch = next((sizes[spec.name][0] for spec in model.inputs if spec.name in batched), 1)
    return infer_shapes(model, sizes), max(batch, 1)


def _shapes_of(data: Dataset, batch: int | None) -> InputShapes:
    """Shapes of the data's inputs; a batch that was asked for goes before the model's own."""
    return replace(data, fixed_batch=None).shapes(batch) if batch else data.shapes(1)


def density_table(compilation: Compilation, works: tuple[NodeWork, ...]) -> DensityTable:
    """The conditions' densities, else those measured on real calibration data, else dense."""
    if compilation.conditions.densities is not None:
        return compilation.conditions.densities
    data = compilation.calibration
    if data is None or data.synthesised:
        return DensityTable()
    threads = compilation.conditions.threads
    return measured_table(compilation.model, works, _sample(data), threads)


def _sample(data: Dataset) -> Dataset:
    """Evenly spaced inputs, a whole number of the model's batches."""
    step = max(1, len(data) // _INPUTS_FOR_DENSITIES)
    thinned = data.take(slice(0, None, step))
    return thinned if thinned.usable else data
