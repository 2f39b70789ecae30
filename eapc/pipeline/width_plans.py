"""The plan that shares out a budget over widths, and over channels and zeros beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from eapc.allocation import LayerCurve
from eapc.calibration import probe_inputs, probes_of
from eapc.checkpoints import Checkpoint
from eapc.data import Dataset
from eapc.energy import estimate
from eapc.errors import UsageError
from eapc.layers import TiedLayers, layers_of
from eapc.pipeline.analyses import density_table, estimate_energy, one_by_one, works_of
from eapc.pipeline.compilation import Compilation
from eapc.quantization import (
    QuantizationPlan,
    WidthCurve,
    activation_curves,
    names_in_nodes,
    names_of_weights,
    planned,
    weight_curves,
)
from eapc.structured import ChannelPlan, energy_costs
from eapc.widths import WidthPlan

_TYPICAL_DENSITY = 0.35
"""What weights are pruned to before they are rounded, where there are to be zeros."""

Planned = Callable[[Compilation], ChannelPlan]
"""The curves of channels and zeros, and costs by channels, of a compilation's model."""


@dataclass(frozen=True)
class AllowedWidths:
    """The bits that weights and activations may have, falling."""

    weights: tuple[int, ...]
    activations: tuple[int, ...]


def without_pruning(compilation: Compilation, zeros: Sequence[LayerCurve] = ()) -> ChannelPlan:
    """The plan of a network that keeps its channels; `zeros` are the curves of its layers."""
    works, batch = works_of(compilation)
    table = density_table(compilation, works)
    report = estimate(compilation.model, works, compilation.hardware, table, batch)
    return ChannelPlan((), energy_costs(works, report, ()), zeros=tuple(zeros))


def width_plan(compilation: Compilation, allowed: AllowedWidths, pruning: Planned) -> WidthPlan:
    """The plan of a float network; `pruning` is asked at the widest widths.

    Raises UsageError without calibration data, ModelError where nothing can be quantized.
    """
    if compilation.calibration is None:
        raise UsageError("widths are shared out on calibration data; there is none")
    prepared, plan = planned(compilation.model, compilation.calibration)
    dense = estimate_energy(compilation.with_model(compilation.model.original))
    widest = with_widths(compilation, _widest(plan, allowed))
    channels = pruning(widest)
    works, batch = works_of(widest)
    table = density_table(widest, works)
    report = estimate(widest.model, works, widest.hardware, table, batch)
    own = _WidthCurves(compilation, plan, allowed, report.macs)
    raised = compilation.with_model(prepared.model)
    curves = own.of_weights(bool(channels.zeros)), own.of_activations(raised)
    return WidthPlan(*curves, channels, works, report, dense.energy_mac_units)


def with_widths(compilation: Compilation, widths: Mapping[str, int]) -> Compilation:
    """The compilation under conditions that give some tensors these bits, by name."""
    given = compilation.conditions.bits
    bits = replace(given, by_tensor=tuple({**given.of_tensor, **widths}.items()))
    conditions = replace(compilation.conditions, bits=bits)
    return replace(compilation, conditions=conditions, energy=None)


def _widest(plan: QuantizationPlan, allowed: AllowedWidths) -> dict[str, int]:
    weights = {each.weights: allowed.weights[0] for each in plan.nodes if each.weights}
    return {**dict.fromkeys(plan.tensors, allowed.activations[0]), **weights}


@dataclass(frozen=True)
class _WidthCurves:
    """What is measured of a compilation's model; `macs` are those of an inference."""

    compilation: Compilation
    plan: QuantizationPlan
    allowed: AllowedWidths
    macs: float

    def of_weights(self, zeros: bool) -> tuple[WidthCurve, ...]:
        """A curve for each layer; weights of what is no layer have the widest alone."""
        compilation, widths = self.compilation, self.allowed.weights
        written = {each.weights for each in self.plan.nodes if each.weights}
        layers = [
            tied
            for tied in layers_of(compilation.model).layers
            if not tied.fixed and written.issuperset(names_in_nodes(tied))
        ]
        density = _TYPICAL_DENSITY if zeros else 1.0
        measured = partial(self._measured_weights, layers, density)
        subjects = [(tied.weight, tied.first.node.key, tied) for tied in layers]
        filed = f"weight-width-curves {widths} {density}"
        read = partial(_read, widths=widths)
        stage = ("weight-width-curves", filed)
        curves = one_by_one(
            compilation,
            stage,
            subjects,
            lambda t, p: read(t.weight, names_of_weights(t), p),
            measured,
        )
        others = written - {name for curve in curves for name in curve.tensors}
        fixed = (WidthCurve(name, (name,), widths[:1], (0.0,)) for name in sorted(others))
        return (*curves, *fixed)

    def of_activations(self, compilation: Compilation) -> tuple[WidthCurve, ...]:
        """A curve for each group of tensors with one grid, of a model that the plan is of."""
        widths, plan = self.allowed.activations, self.plan
        tied = {name: [t for t in plan.tensors if plan.tied[t] == name] for name in plan.groups}
        measured = partial(self._measured_activations, compilation)
        subjects = [(name, name, name) for name in plan.groups]
        stage = ("activation-width-curves", f"activation-width-curves {widths}")
        read = partial(_read, widths=widths)
        return one_by_one(
            self.compilation, stage, subjects, lambda n, p: read(n, tied[n], p), measured
        )

    def _measured_weights(
        self, layers: Sequence[TiedLayers], density: float, first: int
    ) -> Iterator[tuple[WidthCurve, Checkpoint]]:
        widths, engine = self.allowed.weights, self.compilation.conditions.engine
        probes = probes_of(self._data, self.macs * len(layers) * (len(widths) + 1))
        model = self.compilation.model
        return map(_kept, weight_curves(model, layers, probes, engine, widths, density, first))

    def _measured_activations(
        self, compilation: Compilation, first: int
    ) -> Iterator[tuple[WidthCurve, Checkpoint]]:
        widths, engine = self.allowed.activations, compilation.conditions.engine
        data = probe_inputs(self._data, self.macs * len(self.plan.groups) * len(widths))
        curves = activation_curves(compilation.model, self.plan, data, engine, widths, first)
        return map(_kept, curves)

    @property
    def _data(self) -> Dataset:
        data = self.compilation.calibration
        assert data is not None  # `width_plan` has seen to it
        return data


def _kept(curve: WidthCurve) -> tuple[WidthCurve, Checkpoint]:
    return curve, Checkpoint(facts={"errors": curve.errors})


def _read(
    name: str, tensors: Sequence[str], part: Checkpoint, widths: tuple[int, ...]
) -> WidthCurve:
    return WidthCurve(name, tuple(tensors), widths, tuple(part.facts["errors"]))
