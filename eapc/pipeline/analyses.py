"""What a compilation's model comes to: shapes, work, densities, energy; error curves, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from eapc.allocation import Curves, LayerCurve
from eapc.calibration import DENSITIES, Probes, error_curves, probe_inputs, probes_of
from eapc.channels import ChannelGroups, find_groups
from eapc.checkpoints import Checkpoint
from eapc.data import Dataset
from eapc.energy import (
    DensityTable,
    EnergyReport,
    GivenBits,
    NodeWork,
    energy_of,
    estimate,
    measured_table,
    nonskipped_macs_of,
    priced_at,
    weights_priced_at,
    work_list_with_bodies,
)
from eapc.errors import UsageError
from eapc.layers import PrunableLayers, TiedLayers, layers_of
from eapc.model import Array, InputShapes, Model, Shapes, batch_of, infer_shapes, input_shapes
from eapc.pipeline.compilation import Compilation
from eapc.pipeline.objectives import COUNTED, amount_of, counted
from eapc.profiling import prepare_network
from eapc.progress import Step
from eapc.runtime import with_shapes_of_run

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

    Axes that the conditions leave open follow the calibration data, and so does what no inference
    tells, such as the length of a mask.
    """
    model, conditions = compilation.model, compilation.conditions
    given = dict(conditions.input_shapes)
    if compilation.calibration is not None:
        given = {**_shapes_of(compilation.calibration, conditions.batch), **given}
    sizes = input_shapes(model, given, conditions.batch)
    shapes, data = infer_shapes(model, sizes), compilation.calibration
    if data is not None:
        shapes = with_shapes_of_run(model, shapes, sizes, data, conditions.engine.threads)
    return shapes, batch_of(model.inputs, sizes)


def measured_milliseconds(compilation: Compilation) -> dict[str, float]:
    """Milliseconds of each layer of the model on the measured machine, for its batch, by node key.

    Raises UsageError where there is no such machine.
    """
    machine, model, conditions = compilation.measured, compilation.model, compilation.conditions
    if machine is None:
        raise UsageError("no machine was measured")
    shapes = infer_shapes(model, input_shapes(model, conditions.input_shapes, machine.batch))
    network = prepare_network(model, shapes, machine, conditions.engine.threads)
    return network.network_ms(shapes)


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
    threads = compilation.conditions.engine.threads
    return measured_table(compilation.model, works, _sample(data), threads)


def _sample(data: Dataset) -> Dataset:
    """Evenly spaced inputs, a whole number of the model's batches."""
    step = max(1, len(data) // _INPUTS_FOR_DENSITIES)
    thinned = data.take(slice(0, None, step))
    return thinned if thinned.usable else data


# --- curves --------------------------------------------------------------------------------------


S = TypeVar("S")
C = TypeVar("C")


def one_by_one(
    compilation: Compilation,
    stage: tuple[str, str],
    subjects: Sequence[tuple[str, str, S]],
    read: Callable[[S, Checkpoint], C],
    measured: Callable[[int], Iterator[tuple[C, Checkpoint]]],
) -> tuple[C, ...]:
    """The curve of every subject, those of a run before read from its finished parts.

    `stage` is its name and what finished parts are filed under; a subject has the key of its
    part and the name that is shown. `measured` gives the curves from a place on.
    """
    name, filed = stage
    finished, curves = compilation.finished(filed, results=False), list[C]()
    for key, _, subject in subjects:
        part = finished.load(key)
        if part is None:
            break
        curves.append(read(subject, part))
    made = measured(len(curves))
    for key, shown, _ in subjects[len(curves) :]:
        compilation.progress(Step(name, len(curves), len(subjects), shown))
        curve, part = next(made)
        curves.append(curve)
        finished.save(key, part)
    compilation.progress(Step(name, len(subjects), len(subjects)))
    return tuple(curves)


def with_curves(
    compilation: Compilation,
    found: PrunableLayers,
    *,
    apart: bool = False,
    objective: str = "energy",
) -> Compilation:
    """The compilation with error and cost curves of its layers, computed if need be.

    With `apart` layers are fitted on other inputs than those that show their errors: so they
    compare with those of channels. Raises UsageError without calibration data.
    """
    known = compilation.record.curves
    if known is not None:
        is_priced = known.objective == objective
        return compilation if is_priced else with_repriced_curves(compilation, objective)
    if compilation.calibration is None:
        raise UsageError("an energy budget is shared out on calibration data; there is none")
    original = compilation.with_model(compilation.model.original)
    return compilation.with_record(curves=_curves(original, found.layers, apart, objective))


def _curves(
    compilation: Compilation, layers: Sequence[TiedLayers], apart: bool, objective: str
) -> Curves:
    data = compilation.calibration
    assert data is not None  # `with_curves` has seen to it
    costs = _DenseCosts.of(compilation, objective)
    macs = costs.report.macs * len(layers) * (len(DENSITIES) - 1)
    shown = probe_inputs(data, macs)
    probes = probes_of(data, macs) if apart else Probes(shown, shown)

    def measured(first: int) -> Iterator[tuple[LayerCurve, Checkpoint]]:
        engine = compilation.conditions.engine
        errors = error_curves(compilation.model, layers, probes, engine, first)
        for tied, curve in zip(layers[first:], errors, strict=True):
            energies = costs.energies(tied, curve.kept)
            found = LayerCurve(curve.name, DENSITIES, curve.errors, energies, costs.nodes(tied))
            yield found, Checkpoint(facts={"errors": found.errors, "energies": found.energies})

    def read(tied: TiedLayers, part: Checkpoint) -> LayerCurve:
        errors, energies = tuple(part.facts["errors"]), tuple(part.facts["energies"])
        return LayerCurve(tied.weight, DENSITIES, errors, energies, costs.nodes(tied))

    subjects = [(tied.weight, tied.first.node.key, tied) for tied in layers]
    bits = compilation.conditions.bits
    at = "" if bits == GivenBits() else f" {bits}"
    at += "" if objective == "energy" else f" {objective}"
    stage = ("error-curves", f"error-curves{' apart' if apart else ''}{at}")
    return costs.curves(one_by_one(compilation, stage, subjects, read, measured))


def with_repriced_curves(compilation: Compilation, objective: str = "energy") -> Compilation:
    """The compilation with its layers' curves priced under its conditions; errors stay.

    Where zeros of weights and of the ifmap were counted together, the counts go down with the
    weights' density.
    """
    known = compilation.record.curves
    if known is None:
        return compilation
    original = compilation.with_model(compilation.model.original)
    costs = _DenseCosts.of(original, objective)
    by_weight = {tied.weight: tied for tied in layers_of(original.model).layers}
    kept = [None for _ in DENSITIES]
    layers = tuple(
        replace(curve, energies=costs.energies(by_weight[curve.name], kept))
        for curve in known.layers
    )
    return compilation.with_record(curves=costs.curves(layers))


@dataclass(frozen=True)
class _DenseCosts:
    """What a dense network takes of an objective, node by node."""

    model: Model
    works: dict[str, NodeWork]
    table: DensityTable
    report: EnergyReport
    objective: str
    whole: float

    @classmethod
    def of(cls, compilation: Compilation, objective: str) -> _DenseCosts:
        works, batch = works_of(compilation)
        table = density_table(compilation, works)
        report = estimate(compilation.model, works, compilation.hardware, table, batch)
        whole = amount_of(replace(compilation, energy=report), objective)
        by_key = {item.node.key: item for item in works}
        return cls(compilation.model, by_key, table, report, objective, whole)

    def curves(self, layers: tuple[LayerCurve, ...]) -> Curves:
        """The curves of these layers, and what of the objective they cannot change."""
        changeable = sum(curve.energies[0] for curve in layers)
        left = self.whole - changeable
        fixed = left if self.objective == "energy" else max(0.0, left)
        return Curves(layers, fixed, self.objective)

    def energies(self, tied: TiedLayers, kept: Sequence[Array | None]) -> tuple[float, ...]:
        """What a weight's users take with the weights kept at each of `DENSITIES`, if known which.

        Where weights' zeros meet the ifmap's, they are counted. Users that are not modelled cost
        nothing, so that there is nothing to be had from them.
        """
        if self.objective in COUNTED:
            return tuple(counted(self.model, tied, self.objective, d) for d in DENSITIES)
        figure = nonskipped_macs_of if self.objective == "macs" else energy_of

        def price(node: str, density: float, flags: Array | None) -> float:
            count = self.table.macs_with.get(node)
            pairs = None if count is None or flags is None else count(flags)
            hardware = self.report.hardware
            return priced_at(self.works[node], hardware, self.report, density, pairs, figure)

        own, parts = self.nodes(tied), self._parts(tied)
        return tuple(
            sum(price(node, density, flags) for node in own)
            + sum(
                weights_priced_at(self.works[node], self.report, tensor, density, figure)
                for node, tensor in parts
            )
            for density, flags in zip(DENSITIES, kept, strict=True)
        )

    def nodes(self, tied: TiedLayers) -> tuple[str, ...]:
        """The users of a weight whose energy is modelled, and that have no other weights."""
        keys = (user.node.key for user in tied.users if not user.tapped)
        return tuple(key for key in keys if key in self.report.by_node)

    def _parts(self, tied: TiedLayers) -> list[tuple[str, str]]:
        """The other users, each with the name that it has for the weights."""
        users = [
            (user.node.key, user.node.input(user.tapped)) for user in tied.users if user.tapped
        ]
        return [(key, tensor) for key, tensor in users if key in self.report.by_node]
