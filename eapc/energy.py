"""The energy of a model on a machine: every node priced, or listed with the reason why not.

    E(node) = executed MACs * e_MAC + operations * e_op
              + sum over operands and memory levels of accesses * e_level

Eyeriss's energy model (Yang, Chen, Sze, CVPR 2017, section 3) in units of one MAC. All
figures of a report are per inference: the batch's, divided by the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from onnx import TensorProto

from eapc.dataflow import Accesses, Execution, MappingError, execute
from eapc.errors import ModelError
from eapc.graph import Node
from eapc.hardware import HardwareModel
from eapc.model import Model
from eapc.tensors import Array, decode
from eapc.weights import all_finite, count_nonzero, find_weights
from eapc.worklist import NodeWork
from eapc.workload import ConvWorkload, Densities, Workload

OPERANDS = ("weights", "ifmap", "ofmap")


@dataclass(frozen=True)
class DensityTable:
    """Densities to use where they are not the weights' own: by tensor, else by default."""

    by_tensor: Mapping[str, float] = field(default_factory=dict)
    activations: float = 1.0
    weights: float | None = None

    def activation(self, tensor: str) -> float:
        """Density of an activation, 0 to 1."""
        return self.by_tensor.get(tensor, self.activations)

    def weight(self, tensor: str, own: float) -> float:
        """Density of a weight tensor whose own zeros give `own`."""
        override = own if self.weights is None else self.weights
        return self.by_tensor.get(tensor, override)


@dataclass(frozen=True)
class NodeEnergy:
    """What one node costs per inference, in MAC units, words and operations.

    `cycles` is None where the machine has no timing for some of its work.
    """

    key: str
    name: str
    op_type: str
    energy_mac_units: float
    macs: float
    nonskipped_macs: float
    operations: float
    densities: Densities
    by_operand: Mapping[str, float]
    by_level: Mapping[str, float]
    accesses: Mapping[str, Accesses]
    cycles: float | None = None
    fused_into: str = ""
    note: str = ""


@dataclass(frozen=True)
class Unmodelled:
    """A node whose energy is unknown, and why."""

    key: str
    name: str
    op_type: str
    reason: str


@dataclass(frozen=True)
class EnergyReport:
    """The energy of every node of a model on a machine, per inference."""

    hardware: HardwareModel
    batch: int
    nodes: tuple[NodeEnergy, ...]
    unmodelled: tuple[Unmodelled, ...]
    weights: int
    nonzero_weights: int

    @cached_property
    def by_node(self) -> Mapping[str, NodeEnergy]:
        """Nodes by key."""
        return {node.key: node for node in self.nodes}

    @property
    def energy_mac_units(self) -> float:
        """Total energy in units of one MAC."""
        return sum(node.energy_mac_units for node in self.nodes)

    @property
    def energy_pj(self) -> float | None:
        """Total energy in pJ; None where the machine's file gives no absolute energy."""
        pj = self.hardware.mac_energy_pj
        return None if pj is None else self.energy_mac_units * pj

    @property
    def latency_ms(self) -> float | None:
        """Least time of an inference: nodes with a timing, one by one; None if none has one."""
        known = [node.cycles for node in self.nodes if node.cycles is not None]
        return self.hardware.milliseconds(sum(known)) if known else None

    @property
    def static_energy_pj(self) -> float | None:
        """What the machine's static power comes to over `latency_ms`, beside `energy_pj`."""
        power, latency = self.hardware.static_power_mw, self.latency_ms
        return None if power is None or latency is None else power * latency * 1e6

    @property
    def macs(self) -> float:
        """Multiply-accumulates, padding included."""
        return sum(node.macs for node in self.nodes)

    @property
    def nonskipped_macs(self) -> float:
        """Multiply-accumulates with both operands non-zero."""
        return sum(node.nonskipped_macs for node in self.nodes)


def estimate(
    model: Model,
    works: tuple[NodeWork, ...],
    hardware: HardwareModel,
    densities: DensityTable,
    batch: int = 1,
) -> EnergyReport:
    """Price a work list made for `batch` inferences.

    Raises ModelError where weights hold NaN or infinity.
    """
    weights = _WeightCounts(model, densities)
    nodes: list[NodeEnergy] = []
    unmodelled: list[Unmodelled] = []
    for item in works:
        reason = item.reason
        if not reason:
            try:
                nodes.append(_price(item, hardware, _densities(item, densities, weights), batch))
            except MappingError as error:
                reason = str(error)
        if reason:
            node = item.node
            unmodelled.append(Unmodelled(node.key, node.name, node.op_type, reason))
    everything, nonzero = weights.totals()
    return EnergyReport(hardware, batch, tuple(nodes), tuple(unmodelled), everything, nonzero)


class _WeightCounts:
    """Zeros of the weights, each tensor counted once."""

    def __init__(self, model: Model, densities: DensityTable) -> None:
        self._model = model
        self._densities = densities
        self._counts: dict[str, tuple[int, int]] = {}

    def density(self, node: Node, tensor: str) -> float | None:
        """Density of a constant weight tensor; None if `tensor` is an activation."""
        counted = self._count(node, tensor)
        if counted is None:
            return None
        nonzero, elements = counted
        return self._densities.weight(tensor, nonzero / elements if elements else 1.0)

    def _count(self, node: Node, tensor: str) -> tuple[int, int] | None:
        inner = self._model.view.scope_constants[node.scope].get(tensor) if node.scope else None
        if inner is not None and inner is not self._model.view.constants.get(tensor):
            return self._count_inner(node.scope + tensor, inner)
        source = find_weights(self._model.view, tensor)
        if source is None:
            return None
        if source.root not in self._counts:
            self._require_finite(source.root, self._model.constant(source.root))
            self._counts[source.root] = count_nonzero(self._model, source)
        return self._counts[source.root]

    def _count_inner(self, key: str, tensor: TensorProto) -> tuple[int, int]:
        if key not in self._counts:
            value = decode(tensor, self._model.folder)
            self._require_finite(tensor.name, value)
            self._counts[key] = (int(np.count_nonzero(value)), value.size)
        return self._counts[key]

    def _require_finite(self, name: str, value: Array | None) -> None:
        if value is not None and not all_finite(value):
            raise ModelError(f"{self._model.name}: weights '{name}' hold NaN or infinity")

    def totals(self) -> tuple[int, int]:
        """(elements, non-zero elements) of all weights met."""
        counts = self._counts.values()
        return sum(elements for _, elements in counts), sum(nonzero for nonzero, _ in counts)


def _densities(item: NodeWork, table: DensityTable, weights: _WeightCounts) -> Densities:
    own = weights.density(item.node, item.work.weights) if item.work.weights else None
    if own is None:
        own = table.activation(item.work.weights) if item.work.weights else 1.0
    return Densities(own, table.activation(item.work.ifmap), table.activation(item.ofmap))


def _price(item: NodeWork, hardware: HardwareModel, densities: Densities, batch: int) -> NodeEnergy:
    loads = [replace(load, densities=densities) for load in item.work.workloads]
    runs = [execute(load, hardware) for load in loads]
    accesses = {level: _sum(runs, level, batch) for level in hardware.memories}
    compute = _compute_energy(runs, hardware) / batch
    by_level = {"mac": compute}
    by_operand = {"compute": compute, **dict.fromkeys(OPERANDS, 0.0)}
    for level, words in accesses.items():
        price = hardware.memories[level].energy_mac_units_per_word
        by_level[level] = words.total * price
        for operand in OPERANDS:
            by_operand[operand] += getattr(words, operand) * price
    return NodeEnergy(
        key=item.node.key,
        name=item.node.name,
        op_type=item.node.op_type,
        energy_mac_units=sum(by_level.values()),
        macs=sum(load.macs for load in loads) / batch,
        nonskipped_macs=sum(_nonskipped(load) for load in loads) / batch,
        operations=sum(run.operations for run in runs) / batch,
        densities=densities,
        by_operand=by_operand,
        by_level=by_level,
        accesses=accesses,
        cycles=_cycles(runs, batch),
        fused_into=item.fused_into,
        note=item.note,
    )


def priced_at(
    item: NodeWork, hardware: HardwareModel, report: EnergyReport, weight_density: float
) -> float:
    """Energy per inference of a node if its weights had another density, all else equal.

    A weight density above the node's own in `report` counts as its own.
    """
    densities = report.by_node[item.node.key].densities
    sparser = replace(densities, weights=min(densities.weights, weight_density))
    return _price(item, hardware, sparser, report.batch).energy_mac_units


def _nonskipped(load: Workload) -> float:
    return load.nonskipped_macs if isinstance(load, ConvWorkload) else 0.0


def _compute_energy(runs: list[Execution], hardware: HardwareModel) -> float:
    macs = sum(run.executed_macs for run in runs)
    operations = sum(run.operations for run in runs)
    issued = sum(run.instructions for run in runs) * (hardware.instruction_energy_mac_units or 0.0)
    arithmetic = macs * hardware.mac_energy_mac_units
    return arithmetic + operations * hardware.operation_energy_mac_units + issued


def _cycles(runs: list[Execution], batch: int) -> float | None:
    """Cycles of workloads that run one after another; None where one has no timing."""
    known = [run.cycles for run in runs if run.cycles is not None]
    return sum(known) / batch if runs and len(known) == len(runs) else None


def _sum(runs: list[Execution], level: str, batch: int) -> Accesses:
    found = [run.accesses[level] for run in runs if level in run.accesses]
    return Accesses(
        *(sum(getattr(words, operand) for words in found) / batch for operand in OPERANDS)
    )


def node_annotations(report: EnergyReport) -> dict[str, dict[str, str]]:
    """Metadata for every node, by key: its energy and share, or why it has none."""
    total = report.energy_mac_units or 1.0
    found = {node.key: _annotation(node, total) for node in report.nodes}
    for missing in report.unmodelled:
        found[missing.key] = {"eapc.unmodelled": missing.reason}
    return found


def _annotation(node: NodeEnergy, total: float) -> dict[str, str]:
    entries = {
        "eapc.energy_mac_units": f"{node.energy_mac_units:.6g}",
        "eapc.energy_percent": f"{100 * node.energy_mac_units / total:.4g}",
    }
    if node.macs:
        entries["eapc.macs"] = f"{node.macs:.12g}"
        entries["eapc.weight_density"] = f"{node.densities.weights:.4g}"
    if node.fused_into:
        entries["eapc.fused_into"] = node.fused_into
    return entries
