"""What channels cost on the machine at hand: modelled energy, or measured latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from eapc.channel_costs import ChannelCosts, Item, Shape, Shrink
from eapc.channels import ChannelGroup
from eapc.energy import EnergyReport, estimate, priced_as
from eapc.errors import UsageError
from eapc.hardware import HardwareModel
from eapc.hardware_measured import MeasuredMachine
from eapc.latency import prepare_network
from eapc.layer_kinds import LayerKind
from eapc.pipeline import Compilation
from eapc.shapes import infer_shapes, input_shapes, static_shape
from eapc.tensors import TensorSpec
from eapc.worklist import NodeWork, resized

from .annotate_energy import density_table, works_of


def energy_costs(compilation: Compilation, groups: Sequence[ChannelGroup]) -> ChannelCosts:
    """The energy of a network by its channel counts, in MAC units per inference."""
    works, batch = works_of(compilation)
    table = density_table(compilation, works)
    hardware = compilation.hardware
    report = estimate(compilation.model, works, hardware, table, batch)
    items = [_item(item, hardware, report) for item in works if item.node.key in report.by_node]
    return ChannelCosts(items, groups)


def latency_costs(compilation: Compilation, groups: Sequence[ChannelGroup]) -> ChannelCosts:
    """The latency of a network by its channel counts, in ms per run on the measured machine.

    Raises UsageError where no machine was measured.
    """
    machine = compilation.measured
    if machine is None:
        raise UsageError("latency is measured: `eapc profile MODEL -o host.yaml`, then --hw it")
    model, conditions = compilation.model, compilation.conditions
    shapes = infer_shapes(model, input_shapes(model, conditions.input_shapes, machine.batch))
    network = prepare_network(model, shapes, machine, conditions.threads)
    specs = shapes.by_scope[""]
    layers = [
        Item(key, (*kind.kernel.inputs, *kind.kernel.outputs), partial(_ms, kind, specs, machine))
        for key, kind in network.layers.items()
    ]
    return ChannelCosts([*layers, Item("", (), lambda _: machine.overhead_ms)], groups)


def _ms(
    kind: LayerKind, specs: Mapping[str, TensorSpec], machine: MeasuredMachine, shrink: Shrink
) -> float:
    """Latency of a layer at smaller shapes; nothing with no channels left."""
    names = (*kind.kernel.inputs, *kind.kernel.outputs)
    shapes = {name: static_shape(specs[name]) for name in names}
    smaller = {
        name: replace(specs[name], shape=shrink(name, shape))
        for name, shape in shapes.items()
        if shape is not None
    }
    if any(0 in spec.shape for spec in smaller.values()):
        return 0.0
    return machine.node_ms(kind.name, *kind.counts({**specs, **smaller}))


def _item(item: NodeWork, hardware: HardwareModel, report: EnergyReport) -> Item:
    node = item.node
    if item.operands is None or node.scope:
        energy = report.by_node[node.key].energy_mac_units
        return Item(node.key, (), lambda _: energy)
    tensors = tuple(name for name in (*node.inputs, *node.outputs) if name)
    return Item(node.key, tensors, partial(_energy, item, hardware, report))


def _energy(item: NodeWork, hardware: HardwareModel, report: EnergyReport, shrink: Shrink) -> float:
    """Energy of a node at smaller shapes; with no channels left, or in vain, as it is."""
    assert item.operands is not None  # see `_item`
    inputs = _shrunk(item.node.inputs, item.operands.input_shapes, shrink)
    outputs = _shrunk(item.node.outputs, item.operands.output_shapes, shrink)
    if any(0 in shape for shape in (*inputs, *outputs) if shape is not None):
        return 0.0
    smaller = resized(item, inputs, outputs)
    return priced_as(item if smaller.reason else smaller, hardware, report)


def _shrunk(
    names: Sequence[str], shapes: Sequence[Shape | None], shrink: Shrink
) -> tuple[Shape | None, ...]:
    return tuple(
        None if shape is None else shrink(name, shape)
        for name, shape in zip(names, shapes, strict=True)
    )
