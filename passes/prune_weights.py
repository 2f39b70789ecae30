"""prune-weights: give every layer its density and zero its smallest weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from eapc.allocation import Curves, LayerCurve, share_out
from eapc.checkpoints import Finished, Part
from eapc.data import Dataset
from eapc.densities import DensityTable
from eapc.energy import EnergyReport, estimate, priced_at
from eapc.errors import UsageError
from eapc.hardware import HardwareModel
from eapc.layers import PrunableLayers, find_layers, require_layers
from eapc.pipeline import Compilation, LayerRecord, Pass
from eapc.progress import Step
from eapc.reconstruction import scaled_matrix, unscaled_matrix
from eapc.sensitivity import DENSITIES, error_curves
from eapc.solvers import PROJECTIONS
from eapc.tensors import Array
from eapc.worklist import NodeWork

from .annotate_energy import density_table, works_of

_PROBE_MACS = 2e12
_PROBES = (8, 128)


@dataclass(frozen=True)
class PruneWeights(Pass):
    """Zero weights: the same fraction everywhere, or down to an energy budget."""

    name: ClassVar[str] = "prune-weights"

    sparsity: float | None = field(
        default=None, metadata={"help": "fraction of zeros in every layer, 0 to 1"}
    )
    energy: float | None = field(
        default=None,
        metadata={"help": "energy to keep, as a fraction of the dense network's, shared out"},
    )

    def __post_init__(self) -> None:
        if (self.sparsity is None) == (self.energy is None):
            raise UsageError("prune-weights: give either sparsity or energy")
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise UsageError(f"prune-weights: sparsity must be in [0, 1), got {self.sparsity}")
        if self.energy is not None and not 0 < self.energy <= 1:
            raise UsageError(f"prune-weights: energy must be in (0, 1], got {self.energy}")

    @property
    def needs_calibration(self) -> bool:
        """Sharing out a budget takes error curves."""
        return self.energy is not None

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with weights zeroed by magnitude, ready to be reconstructed."""
        found = find_layers(compilation.model)
        require_layers(found)
        if self.sparsity is not None:
            densities = {tied.weight: 1 - self.sparsity for tied in found.layers}
        else:
            assert self.energy is not None  # __post_init__ has seen to it
            compilation = with_curves(compilation, found)
            assert compilation.record.curves is not None  # just computed
            densities = share_out(compilation.record.curves, self.energy)
        return _zeroed(compilation, found, densities)


def _zeroed(
    compilation: Compilation, found: PrunableLayers, densities: dict[str, float]
) -> Compilation:
    """Keep each layer's largest weights, as the layers behind see them."""
    model = compilation.model
    weights, records = {}, {}
    for tied in found.layers:
        matrix = scaled_matrix(tied, model)
        count = round(densities[tied.weight] * matrix.size)
        kept = np.where(PROJECTIONS["unstructured"](matrix, count), matrix, 0)
        weights[tied.weight] = tied.stored(model, unscaled_matrix(tied, kept))
        nonzero = int(np.count_nonzero(weights[tied.weight]))
        records[tied.weight] = LayerRecord(tied.first.node.key, matrix.size, nonzero)
    changed = compilation.with_model(model.with_weights(weights))
    return changed.with_record(layers=records, skipped=found.skipped)


# --- curves ----------------------------------------------------------------------------------


def with_curves(compilation: Compilation, found: PrunableLayers) -> Compilation:
    """The compilation with error and energy curves of its layers, computed if need be."""
    if compilation.record.curves is not None:
        return compilation
    if compilation.calibration is None:
        raise UsageError("an energy budget is shared out on calibration data; there is none")
    original = compilation.with_model(compilation.model.original)
    return compilation.with_record(curves=_curves(original, found))


def _curves(compilation: Compilation, found: PrunableLayers) -> Curves:
    assert compilation.calibration is not None  # `with_curves` has seen to it
    conditions = compilation.conditions
    works, batch = works_of(compilation)
    table = density_table(compilation, works)
    report = estimate(compilation.model, works, compilation.hardware, table, batch)
    passes = len(found.layers) * (len(DENSITIES) - 1)
    probes = _probe_inputs(compilation.calibration, report.macs * passes)
    finished = compilation.finished("error-curves")
    curves = _finished_curves(finished, found)
    where = (conditions.seed, conditions.threads, len(curves), conditions.memory)
    errors = error_curves(compilation.model, found.layers, probes, *where)
    by_key = {item.node.key: item for item in works}
    for tied in found.layers[len(curves) :]:
        name = tied.first.node.key
        compilation.progress(Step("error-curves", len(curves), len(found.layers), name))
        curve = next(errors)
        users = [by_key[user.node.key] for user in tied.users]
        energies = [
            sum(_price(item, compilation.hardware, report, table, *point) for item in users)
            for point in zip(DENSITIES, curve.kept, strict=True)
        ]
        curves.append(LayerCurve(curve.name, DENSITIES, curve.errors, tuple(energies)))
        facts = {"errors": curve.errors, "energies": energies}
        finished.save(tied.weight, Part(facts=facts))
    compilation.progress(Step("error-curves", len(curves), len(curves)))
    changeable = sum(curve.energies[0] for curve in curves)
    return Curves(tuple(curves), report.energy_mac_units - changeable)


def _finished_curves(finished: Finished, found: PrunableLayers) -> list[LayerCurve]:
    """The curves of the first layers, as far as a run before has come."""
    curves = []
    for tied in found.layers:
        part = finished.load(tied.weight)
        if part is None:
            break
        errors, energies = tuple(part.facts["errors"]), tuple(part.facts["energies"])
        curves.append(LayerCurve(tied.weight, DENSITIES, errors, energies))
    return curves


def _price(
    item: NodeWork,
    hardware: HardwareModel,
    report: EnergyReport,
    table: DensityTable,
    density: float,
    kept: Array,
) -> float:
    """Energy of a node with the kept weights, their zeros met by the ifmap's where counted."""
    count = table.macs_with.get(item.node.key)
    return priced_at(item, hardware, report, density, None if count is None else count(kept))


def _probe_inputs(data: Dataset, macs_per_input: float) -> Dataset:
    """Evenly spaced inputs: as many as keep all passes within `_PROBE_MACS`, 8 to 128."""
    fewest, most = _PROBES
    count = min(len(data), most, max(fewest, int(_PROBE_MACS / max(macs_per_input, 1))))
    thinned = data.take(slice(0, None, max(1, len(data) // count))).take(slice(0, count))
    return thinned if thinned.usable else data
