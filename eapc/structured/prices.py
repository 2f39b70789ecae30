"""What channels cost on a machine: modelled energy, or measured latency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import contains

from eapc.channels import ChannelGroup
from eapc.energy import EnergyReport, NodeWork, priced_as, resized
from eapc.hardware import MeasuredMachine
from eapc.model import Shapes, TensorSpec, static_shape
from eapc.profiling import LayerKind, NetworkLatency
from eapc.structured.costs import ChannelCosts, Item, Shape, Shrink


def energy_costs(
    works: Iterable[NodeWork], report: EnergyReport, groups: Sequence[ChannelGroup]
) -> ChannelCosts:
    """The energy of a network by its channel counts, in MAC units per inference.

    `report` is that of these works; nodes that it does not cover cost nothing.
    """
    items = [_item(item, report) for item in works if item.node.key in report.by_node]
    return ChannelCosts(items, groups)


def latency_costs(
    network: NetworkLatency, shapes: Shapes, groups: Sequence[ChannelGroup]
) -> ChannelCosts:
    """The latency of a network by its channel counts, in ms per run on the measured machine.

    `shapes` are those that the network was prepared with.
    """
    machine, specs = network.machine, shapes.by_scope[""]
    layers = [
        Item(
            key,
            (*kind.kernel.inputs, *kind.kernel.outputs),
            partial(_ms, kind, specs, machine),
            partial(_is_measured, kind, specs, machine),
        )
        for key, kind in network.layers.items()
    ]
    return ChannelCosts([*layers, Item("", (), lambda _: machine.overhead_ms)], groups)


def _ms(
    kind: LayerKind, specs: Mapping[str, TensorSpec], machine: MeasuredMachine, shrink: Shrink
) -> float:
    """Latency of a layer at smaller shapes; nothing with no channels left."""
    counts = _counts(kind, specs, shrink)
    return 0.0 if counts is None else machine.node_ms(kind.name, *counts)


def _is_measured(
    kind: LayerKind, specs: Mapping[str, TensorSpec], machine: MeasuredMachine, shrink: Shrink
) -> bool:
    """Whether the layer was timed at those counts of these shapes that are not the whole ones."""
    counts, whole = _counts(kind, specs, shrink), kind.counts(specs)
    layer = machine.by_layer[kind.name]
    known = (
        (*measured, own)
        for measured, own in zip((layer.in_channels, layer.out_channels), whole, strict=True)
    )
    return counts is None or all(map(contains, known, counts))


def _counts(
    kind: LayerKind, specs: Mapping[str, TensorSpec], shrink: Shrink
) -> tuple[int, int] | None:
    """(input, output) channels of a layer at smaller shapes; None with no channels left."""
    names = (*kind.kernel.inputs, *kind.kernel.outputs)
    shapes = {name: static_shape(specs[name]) for name in names}
    smaller = {
        name: replace(specs[name], shape=shrink(name, shape))
        for name, shape in shapes.items()
        if shape is not None
    }
    if any(_is_emptied(shapes[name], spec.shape) for name, spec in smaller.items()):
        return None
    return kind.counts({**specs, **smaller})


def _item(item: NodeWork, report: EnergyReport) -> Item:
    node = item.node
    if item.operands is None or node.scope:
        energy = report.by_node[node.key].energy_mac_units
        return Item(node.key, (), lambda _: energy)
    tensors = tuple(name for name in (*node.inputs, *node.outputs) if name)
    return Item(node.key, tensors, partial(_energy, item, report))


def _energy(item: NodeWork, report: EnergyReport, shrink: Shrink) -> float:
    """Energy of a node at smaller shapes, or as it is where its work cannot be told then.

    Nothing with no channels left.
    """
    operands = item.operands
    assert operands is not None  # see `_item`
    inputs = _shrunk(item.node.inputs, operands.input_shapes, shrink)
    outputs = _shrunk(item.node.outputs, operands.output_shapes, shrink)
    before = (*operands.input_shapes, *operands.output_shapes)
    if any(map(_is_emptied, before, (*inputs, *outputs))):
        return 0.0
    smaller = resized(item, inputs, outputs)
    return priced_as(item if smaller.reason else smaller, report.hardware, report)


def _shrunk(
    names: Sequence[str], shapes: Sequence[Shape | None], shrink: Shrink
) -> tuple[Shape | None, ...]:
    return tuple(
        None if shape is None else shrink(name, shape)
        for name, shape in zip(names, shapes, strict=True)
    )


def _is_emptied(before: Sequence[object] | None, after: Sequence[object] | None) -> bool:
    """True where the last channel has gone; operands may be empty from the first."""
    return before is not None and after is not None and 0 in after and 0 not in before
