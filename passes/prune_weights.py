"""prune-weights: give every layer its density and zero its smallest weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from eapc.allocation import Curves, Schedule, correct_tail, share_out, share_out_evenly
from eapc.calibration import probe_inputs, scaled_matrix, unreached, unscaled_matrix
from eapc.errors import UsageError
from eapc.layers import (
    EXCLUDED,
    PrunableLayers,
    Skipped,
    choose,
    given_densities,
    layers_of,
    pattern_of,
    read_layer_densities,
    require_layers,
    suited,
    without,
)
from eapc.model import Model
from eapc.pipeline import OBJECTIVES, Compilation, LayerRecord, Names, Pass, with_curves
from eapc.solvers import PATTERNS, parse_pattern

NOT_REACHED = "no calibration input comes to it; give some that do"

_OBJECTIVES = tuple(name for name in OBJECTIVES if name != "latency")
"""What budgets of zeros are of: zeros save no time on stock runtimes."""

_ROUNDING = 0.005
"""How near the sparsity that is typed must come to the one that a pattern fixes."""


@dataclass(frozen=True)
class PruneWeights(Pass):
    """Zero weights: the same fraction everywhere, down to an energy budget, or as a file says."""

    name: ClassVar[str] = "prune-weights"

    sparsity: float | None = field(
        default=None, metadata={"help": "fraction of zeros in every layer, 0 to 1"}
    )
    energy: float | None = field(
        default=None,
        metadata={"help": "energy to keep, as a fraction of the dense network's, shared out"},
    )
    weights: float | None = field(default=None, metadata={"help": "the same for non-zero weights"})
    macs: float | None = field(default=None, metadata={"help": "the same for MACs not skipped"})
    size: float | None = field(
        default=None, metadata={"help": "the same for bytes of the file, zeros left out"}
    )
    densities: Path | None = field(
        default=None, metadata={"help": "YAML file of layers and their densities; others stay"}
    )
    pattern: str = field(
        default="unstructured",
        metadata={"help": f"which weights survive together: {', '.join(PATTERNS)}"},
    )
    include: Names = field(
        default=(), metadata={"help": "layers to prune: nodes, weights, operators or globs, by |"}
    )
    exclude: Names = field(default=(), metadata={"help": "layers to leave as they are"})
    order: str = field(
        default="shared", metadata={"help": "how energy is shared out: shared, energy or uniform"}
    )

    late: float = field(
        default=0.0, metadata={"help": "energy, such a fraction, that goes to the last layers too"}
    )

    def __post_init__(self) -> None:
        self._require_one_goal()
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise UsageError(f"prune-weights: sparsity must be in [0, 1), got {self.sparsity}")
        budget = self._budget
        if budget is not None and not 0 < budget <= 1:
            raise UsageError(f"prune-weights: {self._objective} must be in (0, 1], got {budget}")
        if self.order not in ORDERS:
            choice = ", ".join(ORDERS)
            raise UsageError(f"prune-weights: unknown order '{self.order}'; choose from {choice}")
        if budget is None and (self.order != DEFAULT_ORDER or self.late):
            raise UsageError("prune-weights: order and late share an energy budget: give energy")

    def _require_one_goal(self) -> None:
        goals = (self.sparsity, self.densities, *(getattr(self, name) for name in _OBJECTIVES))
        given = sum(goal is not None for goal in goals)
        density = parse_pattern(self.pattern).fixed_density
        if density is None and given != 1:
            raise UsageError(
                "prune-weights: give either sparsity or densities or a budget: "
                f"{', '.join(_OBJECTIVES)}"
            )
        if density is None or given == 0:
            return
        sparsity = 1 - density
        if given > 1 or self.sparsity is None or abs(self.sparsity - sparsity) > _ROUNDING:
            raise UsageError(
                f"prune-weights: pattern {self.pattern} fixes the share of zeros: give no "
                f"other goal, or a sparsity of {sparsity:.4g}"
            )

    @property
    def _objective(self) -> str:
        """What the budget is of; empty where there is none."""
        return next((name for name in _OBJECTIVES if getattr(self, name) is not None), "")

    @property
    def _budget(self) -> float | None:
        """What is to be kept of the objective."""
        found: float | None = getattr(self, self._objective) if self._objective else None
        return found

    @property
    def needs_calibration(self) -> bool:
        """Sharing out a budget takes error curves."""
        return self._budget is not None

    def check(self, model: Model) -> None:
        """Find the layers that names and patterns mean."""
        chosen = self._chosen(model)
        if self.densities is not None:
            given_densities(chosen, read_layer_densities(self.densities), self.densities)

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with weights zeroed by magnitude, ready to be reconstructed."""
        chosen = self._reached(compilation, self._chosen(compilation.model))
        if self._budget is not None:
            fitting = _without_other_curves(compilation, chosen)
            compilation = with_curves(fitting, chosen, objective=self._objective)
            compilation = compilation.with_record(budget=self._budget)
        densities = self._densities(compilation, chosen)
        return self._zeroed(compilation, chosen, densities)

    def _chosen(self, model: Model) -> PrunableLayers:
        found = choose(layers_of(model), self.include, self.exclude)
        suitable = suited(found, model, self.pattern)
        require_layers(suitable)
        return suitable

    def _reached(self, compilation: Compilation, chosen: PrunableLayers) -> PrunableLayers:
        """The layers that calibration inputs come to; without any data all count as such."""
        data, engine = compilation.calibration, compilation.conditions.engine
        if data is None:
            return chosen
        missed = unreached(compilation.model, chosen.layers, data, engine)
        reached = without(chosen, missed, NOT_REACHED)
        require_layers(reached)
        return reached

    def _densities(self, compilation: Compilation, chosen: PrunableLayers) -> Mapping[str, float]:
        """The density of each layer's weights; those that a pattern fixes are for show."""
        if self.densities is not None:
            table = read_layer_densities(self.densities)
            return given_densities(chosen, table, self.densities)
        if self._budget is not None:
            densities = ORDERS[self.order](compilation, chosen, self._budget)
            return correct_tail(_curves_of(compilation), densities, self.late)
        return dict.fromkeys((tied.weight for tied in chosen.layers), 1 - (self.sparsity or 0.0))

    def _zeroed(
        self, compilation: Compilation, chosen: PrunableLayers, densities: Mapping[str, float]
    ) -> Compilation:
        """Keep each layer's largest weights, as the layers behind see them."""
        model = compilation.model
        weights = {}
        for tied in chosen.layers:
            matrix = scaled_matrix(tied, model)
            count = round(densities[tied.weight] * matrix.size)
            mask = pattern_of(tied, self.pattern).mask(matrix, count)
            weights[tied.weight] = tied.stored(
                model, unscaled_matrix(tied, np.where(mask, matrix, 0))
            )
        pruned = model.with_weights(weights)
        records = {
            tied.weight: LayerRecord.of(tied, tied.size(model), tied.nonzero(pruned))
            for tied in chosen.layers
        }
        return _recorded(compilation, records, chosen.skipped).with_model(pruned)


def _recorded(
    compilation: Compilation, records: Mapping[str, LayerRecord], skipped: Sequence[Skipped]
) -> Compilation:
    """The records beside those of layers that earlier passes have pruned, in data-flow order.

    What earlier passes left alone stays said, but for layers that are pruned now.
    """
    known = {**compilation.record.layers, **records}
    layers = layers_of(compilation.model).layers
    ordered = {tied.weight: known[tied.weight] for tied in layers if tied.weight in known}
    pruned = {user.node.key for tied in layers if tied.weight in known for user in tied.users}
    said = {**{one.name: one for one in compilation.record.skipped}, **{o.name: o for o in skipped}}
    left = (one for one in said.values() if one.reason != EXCLUDED or one.name not in pruned)
    return compilation.with_record(layers=ordered, skipped=tuple(left))


# --- orders ----------------------------------------------------------------------------------

DEFAULT_ORDER = "shared"

Order = Callable[[Compilation, PrunableLayers, float], Mapping[str, float]]
"""(compilation with curves, layers, energy to keep) -> density by weight."""


def _shared(compilation: Compilation, _: PrunableLayers, energy: float) -> Mapping[str, float]:
    return share_out(_curves_of(compilation), energy)


def _uniform(compilation: Compilation, _: PrunableLayers, energy: float) -> Mapping[str, float]:
    return share_out_evenly(_curves_of(compilation), energy)


_ROUNDS = 40
"""Two networks, the rungs of limits that are tried, and the corrections of a budget."""


def _by_energy(
    compilation: Compilation, chosen: PrunableLayers, energy: float
) -> Mapping[str, float]:
    assert compilation.calibration is not None  # `with_curves` has seen to it
    engine, model = compilation.conditions.engine, compilation.model.original
    report = compilation.energy
    macs = report.macs * len(chosen.layers) * _ROUNDS if report else 0
    probes = probe_inputs(compilation.calibration, macs)
    curves = _curves_of(compilation)
    schedule = Schedule(model, chosen.layers, curves, probes, engine)
    return schedule.densities(energy)


def _curves_of(compilation: Compilation) -> Curves:
    assert compilation.record.curves is not None  # `run` has had them computed
    return compilation.record.curves


ORDERS: Mapping[str, Order] = MappingProxyType(
    {DEFAULT_ORDER: _shared, "energy": _by_energy, "uniform": _uniform}
)
"""`shared`: least error; `energy`: the costliest layer first; `uniform`: all layers alike."""


def _without_other_curves(compilation: Compilation, chosen: PrunableLayers) -> Compilation:
    """Curves serve the layers that they were made for."""
    curves = compilation.record.curves
    weights = {tied.weight for tied in chosen.layers}
    if curves is None or {curve.name for curve in curves.layers} == weights:
        return compilation
    return compilation.with_record(curves=None)
