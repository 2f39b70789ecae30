"""The energy of a model on a machine: every node priced, or listed with the reason why not.

    E(node) = executed MACs * e_MAC + operations * e_op
              + sum over operands and memory levels of accesses * e_level

Eyeriss's energy model (Yang, Chen, Sze, CVPR 2017, section 3) in units of one MAC. All
figures of a report are per inference: the batch's, divided by the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from eapc.dataflow import OPERANDS, Accesses, Execution, MappingError, execute, mac_energy
from eapc.energy.dead_channels import live_shares
from eapc.energy.footprint import Footprint, footprint
from eapc.energy.given import DensityTable
from eapc.energy.measured_zeros import WeightCounts
from eapc.energy.residency import NOTHING, Residency, Stay, plan
from eapc.energy.worklist import NodeWork
from eapc.errors import HardwareError
from eapc.hardware import HardwareModel
from eapc.model import Model
from eapc.workload import (
    BitWidths,
    ConvWorkload,
    Kept,
    MacFractions,
    OperandDensities,
    Part,
    Work,
    Workload,
)

Runs = Sequence[tuple[Execution, float]]
"""What each part of a node comes to on the machine, and how often it runs."""


@dataclass(frozen=True)
class NodeEnergy:
    """What one node costs per inference, in MAC units, words and operations.

    `densities` are those of all its parts together, `part_densities` those of each; `bits` are
    the widths of its operands, those of its widest parts. `cycles` are those of its parts with a
    timing, None where the machine has one for none. `stay` says which of its feature maps stay on
    chip and what room those of others take. Of a node that reads several weight tensors
    `by_weights` is what the work with each takes, by name.
    """

    key: str
    name: str
    op_type: str
    energy_mac_units: float
    macs: float
    nonskipped_macs: float
    operations: float
    densities: OperandDensities
    by_operand: Mapping[str, float]
    by_level: Mapping[str, float]
    accesses: Mapping[str, Accesses]
    cycles: float | None = None
    part_densities: tuple[OperandDensities, ...] = ()
    bits: BitWidths = field(default=BitWidths())
    fused_into: str = ""
    note: str = ""
    stay: Stay = NOTHING
    by_weights: Mapping[str, float] = field(default_factory=dict)

    def share(self, weights: str) -> float:
        """What falls to one of the weight tensors that the node reads.

        What the node does with none of them is shared out as its work with them is.
        """
        own = self.by_weights.get(weights)
        total = sum(self.by_weights.values())
        return self.energy_mac_units * (own / total if own is not None and total else 1.0)

    @property
    def nonskipped_counted(self) -> bool | None:
        """True if `nonskipped_macs` is a count, False if an estimate, None without MACs."""
        return any(own.macs is not None for own in self.part_densities) if self.macs else None


Figure = Callable[[NodeEnergy], float]
"""What counts of a priced node, per inference; it adds up over nodes."""


def energy_of(node: NodeEnergy) -> float:
    """Its energy in MAC units."""
    return node.energy_mac_units


def nonskipped_macs_of(node: NodeEnergy) -> float:
    """Its multiply-accumulates with both operands non-zero."""
    return node.nonskipped_macs


@dataclass(frozen=True)
class Unmodelled:
    """A node whose energy is unknown, and why."""

    key: str
    name: str
    op_type: str
    reason: str


@dataclass(frozen=True)
class EnergyReport:
    """The energy of every node of a model on a machine, per inference.

    `footprint` is there for machines whose memories have to hold the whole network. `densities`
    are those that it was made with.
    """

    hardware: HardwareModel
    batch: int
    nodes: tuple[NodeEnergy, ...]
    unmodelled: tuple[Unmodelled, ...]
    weights: int
    nonzero_weights: int
    residency: Residency = field(default_factory=Residency)
    footprint: Footprint | None = None
    densities: DensityTable = field(default_factory=DensityTable, compare=False, repr=False)

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
        pj = self.hardware.mac_unit_pj
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
    residency: Residency | None = None,
) -> EnergyReport:
    """Price a work list made for `batch` inferences; `residency` is planned unless it is given.

    Raises ModelError where weights hold NaN or infinity.
    """
    weights = WeightCounts(model)
    live = live_shares(model, works) if hardware.machine.skips_dead_channels else {}
    found = [
        tuple(
            replace(own, live=live.get(item.node.key, own.live))
            for part in item.work.parts
            for own in (_part_densities(item, part, densities, weights),)
        )
        for item in works
    ]

    def price(place: int, stay: Stay) -> NodeEnergy | Unmodelled:
        item, reason = works[place], works[place].reason
        if not reason:
            try:
                return _price(item, hardware, found[place], batch, stay)
            except (MappingError, HardwareError) as error:
                reason = str(error)
        return Unmodelled(item.node.key, item.node.name, item.node.op_type, reason)

    def cost(place: int, stay: Stay) -> float:
        priced = price(place, stay)
        return priced.energy_mac_units if isinstance(priced, NodeEnergy) else math.inf

    if residency is None:
        residency = plan(model, works, hardware, cost)
    stays = (residency.stays.get(place, NOTHING) for place in range(len(works)))
    priced = [price(place, stay) for place, stay in enumerate(stays)]
    nodes = tuple(node for node in priced if isinstance(node, NodeEnergy))
    unmodelled = tuple(node for node in priced if isinstance(node, Unmodelled))
    counts, held = weights.totals(), footprint(model, works, hardware, batch)
    used = replace(densities, macs_with={})  # which holds arrays
    return EnergyReport(hardware, batch, nodes, unmodelled, *counts, residency, held, used)


def _part_densities(
    item: NodeWork, part: Part, table: DensityTable, weights: WeightCounts
) -> OperandDensities:
    own = weights.density(item.node, part.weights)
    if own is not None:
        own = table.weight(part.weights, own)
    elif part.weights:
        own = table.activation(part.weights)
    ofmap = table.activation(item.ofmap_of(part))
    macs = table.macs.get(item.node.key)
    return OperandDensities(1.0 if own is None else own, table.activation(part.ifmap), ofmap, macs)


def _price(
    item: NodeWork,
    hardware: HardwareModel,
    densities: tuple[OperandDensities, ...],
    batch: int,
    stay: Stay,
) -> NodeEnergy:
    kept = [stay.parts.get(index, Kept()) for index in range(len(densities))]
    parts = [
        replace(part, workload=replace(part.workload, densities=own, kept=stays))
        for part, own, stays in zip(item.work.parts, densities, kept, strict=True)
    ]
    room = stay.room(hardware)
    runs = [(execute(part.workload, room), part.times) for part in parts]
    accesses = {level: _sum(runs, level, batch) for level in hardware.memories}
    compute = _compute_energy(runs, hardware) / batch
    tensors = [part.weights for part in parts]
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
        macs=sum(part.workload.macs * part.times for part in parts) / batch,
        nonskipped_macs=sum(_nonskipped(part.workload) * part.times for part in parts) / batch,
        operations=sum(run.operations * times for run, times in runs) / batch,
        densities=_mean_densities(parts),
        part_densities=densities,
        bits=_widest(parts, hardware.word_bits),
        by_operand=by_operand,
        by_level=by_level,
        accesses=accesses,
        cycles=_cycles(runs, batch),
        fused_into=item.fused_into,
        note=item.note,
        stay=stay,
        by_weights=_by_weights(tensors, runs, hardware, batch),
    )


def _by_weights(
    tensors: Sequence[str], runs: Runs, hardware: HardwareModel, batch: int
) -> dict[str, float]:
    """Energy of the runs with each weight tensor, where a node has more than one."""
    named = dict.fromkeys(filter(None, tensors))
    if len(named) < 2:
        return {}
    prices = {n: level.energy_mac_units_per_word for n, level in hardware.memories.items()}
    found = {}
    for name in named:
        own = [run for run, tensor in zip(runs, tensors, strict=True) if tensor == name]
        words = sum(_sum(own, level, batch).total * price for level, price in prices.items())
        found[name] = _compute_energy(own, hardware) / batch + words
    return found


def _mean_densities(parts: list[Part]) -> OperandDensities:
    """Densities of a node: each operand's average over the words of all parts."""
    found = [part.workload.densities for part in parts]
    if len(set(found)) <= 1:
        return found[0] if found else OperandDensities()

    def mean(operand: str) -> float:
        name = f"{operand.removesuffix('s')}_words"
        words = [getattr(part.workload, name) * part.times for part in parts]
        nonzero = sum(w * getattr(own, operand) for w, own in zip(words, found, strict=True))
        return nonzero / sum(words) if sum(words) else 1.0

    return OperandDensities(mean("weights"), mean("ifmap"), mean("ofmap"))


def _widest(parts: list[Part], word: int) -> BitWidths:
    """Bits of a node's operands: the most of any part, the machine's word where none are known."""
    found = [part.workload.bits for part in parts] or [BitWidths()]
    return BitWidths(*(max(getattr(own, operand) or word for own in found) for operand in OPERANDS))


def priced_at(
    item: NodeWork,
    hardware: HardwareModel,
    report: EnergyReport,
    weight_density: float,
    macs: MacFractions | None = None,
    figure: Figure = energy_of,
) -> float:
    """Energy per inference, or another figure, of a node whose weights had another density.

    A weight density above the node's own in `report` counts as its own. MACs that were counted
    become `macs`, or go down in proportion, as if the further zeros fell independently of the
    ifmap's. What stays on chip is what the report says.
    """
    node = report.by_node[item.node.key]
    sparser = [own.with_weights_at_most(weight_density) for own in node.part_densities]
    if macs is not None:
        sparser = [own if own.macs is None else replace(own, macs=macs) for own in sparser]
    return figure(_price(item, hardware, tuple(sparser), report.batch, node.stay))


def weights_priced_at(
    item: NodeWork,
    report: EnergyReport,
    tensor: str,
    weight_density: float,
    figure: Figure = energy_of,
) -> float:
    """Energy per inference of those parts of a node that read a weight tensor, as `priced_at`.

    So each weight of a node that has several is priced by itself.
    """
    node = report.by_node[item.node.key]
    places = [i for i, part in enumerate(item.work.parts) if part.weights == tensor]
    alone = replace(item, work=Work(tuple(item.work.parts[i] for i in places)))
    found = tuple(node.part_densities[i].with_weights_at_most(weight_density) for i in places)
    kept = {new: node.stay.parts[i] for new, i in enumerate(places) if i in node.stay.parts}
    stay = replace(node.stay, parts=kept)
    return figure(_price(alone, report.hardware, found, report.batch, stay))


def priced_as(
    item: NodeWork, hardware: HardwareModel, report: EnergyReport, figure: Figure = energy_of
) -> float:
    """Energy, or another figure, of a node whose operands have other shapes than in `report`.

    Densities are those of the report, as is what stays on chip.
    """
    node = report.by_node[item.node.key]
    found = node.part_densities[: len(item.work.parts)]
    return figure(_price(item, hardware, found, report.batch, node.stay))


def _nonskipped(load: Workload) -> float:
    return load.nonskipped_macs if isinstance(load, ConvWorkload) else 0.0


def _compute_energy(runs: Runs, hardware: HardwareModel) -> float:
    summed = sum((run.compute_mac_units or 0.0) * times for run, times in runs)
    runs = [(run, times) for run, times in runs if run.compute_mac_units is None]
    arithmetic = sum(
        run.executed_macs * times * mac_energy(run.mac_bits, hardware)
        for run, times in runs
        if run.executed_macs
    )
    operations = sum(run.operations * times for run, times in runs)
    issued = sum(run.instructions * times for run, times in runs)
    issuing = issued * (hardware.instruction_energy_mac_units or 0.0)
    return summed + arithmetic + operations * hardware.operation_energy_mac_units + issuing


def _cycles(runs: Runs, batch: int) -> float | None:
    """Cycles of workloads that run one after another, of those with a timing; None without one."""
    known = [run.cycles * times for run, times in runs if run.cycles is not None]
    return sum(known) / batch if known else None


def _sum(runs: Runs, level: str, batch: int) -> Accesses:
    found = [(run.accesses[level], times) for run, times in runs if level in run.accesses]
    return Accesses(
        *(
            sum(getattr(words, operand) * times for words, times in found) / batch
            for operand in OPERANDS
        )
    )
