"""A microcontroller's constants from networks that were measured: non-negative least squares.

The model is linear in what a MAC, a depthwise MAC, a weight and an output cost, so these are
fitted to relative errors. A call and an operation keep their ratio to a MAC; convolutions,
pointwise and fully connected layers share the cost of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from eapc.dataflow import IntegerKernelsMachine, KernelCosts
from eapc.energy import (
    DensityTable,
    EnergyReport,
    NodeWork,
    estimate,
    work_list_with_bodies,
)
from eapc.hardware import HardwareModel
from eapc.model import Array, Model, infer_shapes, input_shapes

_ROUNDS = 50
"""Rounds of fitting constants and scales in turns; a few settle it."""


class KernelCounts(NamedTuple):
    """What a network spends on each constant, in MAC units at a constant of 1."""

    mac: float
    depthwise: float
    weight: float
    output: float


@dataclass(frozen=True)
class KernelFit:
    """Constants in MAC units, that of a MAC being 1, and what a MAC unit measures in each group."""

    constants: KernelCounts
    scales: tuple[float, ...]

    def mac_units(self, counts: KernelCounts) -> float:
        """A network's MAC units at these constants."""
        return math.fsum(a * b for a, b in zip(self.constants, counts, strict=True))


_EVEN = KernelCounts(1.0, 1.0, 1.0, 1.0)

ALL_BUT_MAC = ("depthwise", "weight", "output")
"""Constants that can be fitted beside the scale."""


Group = tuple[Sequence[KernelCounts], Sequence[float]]
"""Networks and what was measured of each, on one board."""


def counts_of(model: Model, hardware: HardwareModel) -> KernelCounts:
    """What a network spends on each constant of a microcontroller."""
    works = _works(model)

    def units(mac: float, depthwise: float, weight: float, output: float) -> float:
        machine = with_constants(hardware, KernelCounts(mac, depthwise, weight, output))
        return estimate(model, works, machine, DensityTable()).energy_mac_units

    return KernelCounts(*(units(*map(float, row)) for row in np.eye(4)))


def report_of(model: Model, hardware: HardwareModel) -> EnergyReport:
    """What a network costs on a microcontroller."""
    return estimate(model, _works(model), hardware, DensityTable())


def _works(model: Model) -> tuple[NodeWork, ...]:
    return work_list_with_bodies(model, infer_shapes(model, input_shapes(model, {}, 1)))


def with_constants(hardware: HardwareModel, constants: KernelCounts) -> HardwareModel:
    """A microcontroller with other constants; what a call and an operation cost goes with a MAC."""
    machine = hardware.machine_as(IntegerKernelsMachine)
    mac = constants.mac
    kinds = KernelCosts.model_construct(
        convolution=mac, pointwise=mac, depthwise=constants.depthwise, fully_connected=mac
    )
    update = {
        "mac_units_per_mac": kinds,
        "mac_units_per_output": constants.output,
        "mac_units_per_call": machine.mac_units_per_call * mac,
    }
    flash = hardware.memories["flash"].model_copy(
        update={"energy_mac_units_per_word": constants.weight}
    )
    return hardware.model_copy(
        update={
            "machine": machine.model_copy(update=update),
            "memories": {**hardware.memories, "flash": flash},
            "operation_energy_mac_units": hardware.operation_energy_mac_units * mac,
        }
    )


def constants_of(hardware: HardwareModel) -> KernelCounts:
    """The constants of a microcontroller in a file."""
    machine = hardware.machine_as(IntegerKernelsMachine)
    kinds, flash = machine.mac_units_per_mac, hardware.memories["flash"]
    return KernelCounts(
        1.0, kinds.depthwise, flash.energy_mac_units_per_word, machine.mac_units_per_output
    )


# --- least squares -----------------------------------------------------------------------------


def fit_constants(
    groups: Sequence[Group],
    start: KernelCounts = _EVEN,
    free: Sequence[str] = ALL_BUT_MAC,
) -> KernelFit | None:
    """Constants shared by all groups, a scale for each: least squares of relative errors.

    Those that are not `free` keep their ratio to a MAC in `start`, which also gives the first
    scales of several groups. None where the free ones cannot be told: fewer networks than figures,
    networks without such work, or no cost left for a MAC or a depthwise MAC.
    """
    tables = [np.asarray(counts, float) for counts, _ in groups]
    values = [np.asarray(measured, float) for _, measured in groups]
    places = [KernelCounts._fields.index(name) for name in free]
    everything = np.concatenate(tables)
    if len(everything) <= len(places) or not everything[:, places].sum(axis=0).all():
        return None
    constants = np.asarray(start, float)
    fixed = constants * ~np.isin(np.arange(len(constants)), places)
    scales = [_scale(t @ constants, v) for t, v in zip(tables, values, strict=True)]
    for _ in range(_ROUNDS if len(groups) > 1 else 1):
        rows = np.concatenate(
            [s * t / v[:, None] for s, t, v in zip(scales, tables, values, strict=True)]
        )
        found = _non_negative(np.column_stack([rows @ fixed, rows[:, places]]))
        if not found[0]:
            return None
        constants = fixed.copy()
        constants[places] = found[1:] / found[0]
        if not constants[1]:
            return None
        scales = [_scale(t @ constants, v) for t, v in zip(tables, values, strict=True)]
    return KernelFit(KernelCounts(*map(float, constants)), tuple(scales))


def fit_scale(constants: KernelCounts, group: Group) -> KernelFit:
    """The scale of one group at given constants, by least squares of relative errors."""
    counts, measured = group
    units = np.asarray(counts, float) @ np.asarray(constants)
    return KernelFit(constants, (_scale(units, np.asarray(measured, float)),))


def _non_negative(rows: Array) -> Array:
    """Least squares of rows @ constants = 1, in columns of like size."""
    sizes = np.linalg.norm(rows, axis=0)
    sizes[sizes == 0] = 1.0
    found, _ = nnls(rows / sizes, np.ones(len(rows)))
    scaled: Array = found / sizes
    return scaled


def _scale(units: Array, measured: Array) -> float:
    ratios = units / measured
    return float(ratios.sum() / np.square(ratios).sum())


def left_out(fit: Callable[[Group], KernelFit | None], group: Group) -> list[float] | None:
    """Relative error of each network from a fit to the others; None where one cannot be made."""
    counts, measured = group
    found = []
    for place, value in enumerate(measured):
        others = [i for i in range(len(measured)) if i != place]
        made = fit(([counts[i] for i in others], [measured[i] for i in others])) if others else None
        if made is None:
            return None
        found.append(made.scales[0] * made.mac_units(counts[place]) / value - 1)
    return found


def rms(errors: Sequence[float]) -> float:
    """Root mean square."""
    return math.sqrt(math.fsum(error * error for error in errors) / len(errors))
