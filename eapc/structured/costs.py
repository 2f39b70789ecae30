"""What a network costs with fewer channels in its groups: energy, latency, or what it stores.

It is told without rewriting the network. A cost is a sum over items: nodes of an energy model,
layers of a latency profile. Each is priced at the shapes that its tensors would have. Prices are
kept by item and counts, so a search asks for each once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import contains

from eapc.channels import ChannelGroup
from eapc.energy import EnergyReport, Figure, NodeWork, energy_of, priced_as, resized
from eapc.hardware import MeasuredMachine
from eapc.model import Shapes, TensorSpec, static_shape
from eapc.profiling import LayerKind, NetworkLatency

Counts = Mapping[str, int]
"""Channels left, by group."""

Shape = tuple[int, ...]

Shrink = Callable[[str, Shape], Shape]
"""(tensor, its shape with all channels) -> its shape with those that are left."""


def always(_: Shrink) -> bool:
    """For prices that are known whatever the shapes."""
    return True


@dataclass(frozen=True)
class Item:
    """A part of the cost: the tensors that it depends on, as `reader` sees them, and its price."""

    reader: str
    tensors: tuple[str, ...]
    price: Callable[[Shrink], float]
    is_known: Callable[[Shrink], bool] = always
    """Whether the price at these shapes is more than a guess between others."""


@dataclass(frozen=True)
class _Share:
    """What a group has of one axis of one tensor: `width` places for each channel."""

    axis: int
    group: str
    size: int
    width: int


class ChannelCosts:
    """The cost of a network as a function of its groups' channel counts."""

    def __init__(self, items: Sequence[Item], groups: Iterable[ChannelGroup]) -> None:
        self._items = items
        self._shares: dict[tuple[str, str], list[_Share]] = {}
        self._sizes: dict[str, int] = {}
        for group in groups:
            self._sizes[group.name] = group.size
            for part in group.slices:
                share = _Share(part.axis, group.name, group.size, part.width)
                self._shares.setdefault((part.tensor, part.reader), []).append(share)
        self._groups = [self._groups_of(item) for item in items]
        self._known: dict[tuple[int, tuple[int, ...]], float] = {}
        self._touched: dict[str, list[int]] = {name: [] for name in self._sizes}
        for place, names in enumerate(self._groups):
            for name in names:
                self._touched[name].append(place)

    @property
    def sizes(self) -> dict[str, int]:
        """The counts of the whole network."""
        return dict(self._sizes)

    def total(self, counts: Counts) -> float:
        """The cost with these counts; groups that are left out are whole."""
        counts = {**self._sizes, **counts}
        return sum(self.of_item(place, counts) for place in range(len(self._items)))

    def touched(self, name: str, count: int) -> float:
        """The cost of all that a group has a say in, with it at a count and the others whole."""
        counts = {**self._sizes, name: count}
        return sum(self.of_item(place, counts) for place in self._touched[name])

    def is_known(self, name: str, count: int) -> bool:
        """Whether all prices are known with a group at a count and the others whole."""
        shrink = self._shrink({**self._sizes, name: count})
        return all(
            self._items[place].is_known(partial(shrink, self._items[place]))
            for place in self._touched[name]
        )

    def groups_of(self, place: int) -> Sequence[str]:
        """The groups that have a say in an item."""
        return self._groups[place]

    def readers(self) -> list[str]:
        """The reader of every item, by number."""
        return [item.reader for item in self._items]

    def of_item(self, place: int, counts: Counts) -> float:
        """The cost of an item with these counts of all groups."""
        key = (place, tuple(counts[name] for name in self._groups[place]))
        if key not in self._known:
            item = self._items[place]
            self._known[key] = item.price(partial(self._shrink(counts), item))
        return self._known[key]

    def _shares_of(self, item: Item, tensor: str) -> list[_Share]:
        own = self._shares.get((tensor, item.reader), []) if item.reader else []
        return [*self._shares.get((tensor, ""), ()), *own]

    def _groups_of(self, item: Item) -> tuple[str, ...]:
        shares = (share for name in item.tensors for share in self._shares_of(item, name))
        return tuple(dict.fromkeys(share.group for share in shares))

    def _shrink(self, counts: Counts) -> Callable[[Item, str, Shape], Shape]:
        def shrink(item: Item, tensor: str, shape: Shape) -> Shape:
            left = list(shape)
            for share in self._shares_of(item, tensor):
                left[share.axis] -= (share.size - counts[share.group]) * share.width
            return tuple(left)

        return shrink


# --- prices --------------------------------------------------------------------------------------


def energy_costs(
    works: Iterable[NodeWork],
    report: EnergyReport,
    groups: Sequence[ChannelGroup],
    figure: Figure = energy_of,
) -> ChannelCosts:
    """The energy, or another figure, of a network by its channel counts, per inference.

    `report` is that of these works; nodes that it does not cover cost nothing.
    """
    items = [_item(item, report, figure) for item in works if item.node.key in report.by_node]
    return ChannelCosts(items, groups)


def constant_costs(
    works: Iterable[NodeWork],
    report: EnergyReport,
    groups: Sequence[ChannelGroup],
    amounts: Mapping[str, float],
    whole: float,
) -> ChannelCosts:
    """What the constants of a network take by its channel counts, `whole` in all.

    `amounts` has what each takes with all channels, by the name that a node reads it by; the first
    node counts. What no node of the report takes is the same whatever channels there are.
    """
    items, left = [], dict(amounts)
    for work in works:
        if work.node.key in report.by_node:
            own = {name: left.pop(name) for name in dict.fromkeys(work.node.inputs) if name in left}
            items.append(_constants(work, own))
    spent = sum(item.price(_whole) for item in items)
    return ChannelCosts([*items, Item("", (), lambda _: whole - spent)], groups)


def _constants(work: NodeWork, amounts: Mapping[str, float]) -> Item:
    """What a node of the main graph reads of constants, each in proportion to its elements."""
    shapes = work.operands.input_shapes if work.operands and not work.node.scope else ()
    known = {
        name: (shape, amounts[name] / _elements(shape))
        for name, shape in zip(work.node.inputs, shapes, strict=False)
        if shape is not None and name in amounts and _elements(shape)
    }

    def price(shrink: Shrink) -> float:
        left = [(shrink(name, shape), unit) for name, (shape, unit) in known.items()]
        return math.fsum(_elements(shape) * unit for shape, unit in left)

    return Item(work.node.key, tuple(known), price)


def _elements(shape: Shape) -> int:
    return math.prod(shape)


def _whole(_: str, shape: Shape) -> Shape:
    return shape


def latency_costs(
    network: NetworkLatency,
    shapes: Shapes,
    groups: Sequence[ChannelGroup],
    tensor_of: Mapping[str, str] | None = None,
) -> ChannelCosts:
    """The latency of a network by its channel counts, in ms per run on the measured machine.

    `shapes` are those that the network was prepared with. Where the groups are another network's,
    whose quantized twin it is, `tensor_of` names that one's tensor for each of its own.
    """
    machine = network.machine
    read = partial(_TimedLayer, shapes.by_scope[""], machine, tensor_of or {})
    layers = [
        Item(key, layer.tensors, layer.ms, layer.is_measured)
        for key, kind in network.layers.items()
        for layer in [read(kind)]
    ]
    return ChannelCosts([*layers, Item("", (), lambda _: machine.overhead_ms)], groups)


@dataclass(frozen=True)
class _TimedLayer:
    """A layer of a network whose tensors' shapes `specs` has, on a measured machine."""

    specs: Mapping[str, TensorSpec]
    machine: MeasuredMachine
    tensor_of: Mapping[str, str]
    kind: LayerKind

    @property
    def _names(self) -> tuple[str, ...]:
        return (*self.kind.kernel.inputs, *self.kind.kernel.outputs)

    @property
    def tensors(self) -> tuple[str, ...]:
        """What it reads and writes, by the names that groups have for it."""
        return tuple(self.tensor_of.get(name, name) for name in self._names)

    def ms(self, shrink: Shrink) -> float:
        """Latency at smaller shapes; nothing with no channels left."""
        counts = self._counts(shrink)
        return 0.0 if counts is None else self.machine.node_ms(self.kind.name, *counts)

    def is_measured(self, shrink: Shrink) -> bool:
        """Whether it was timed at those counts of these shapes that are not the whole ones."""
        counts, whole = self._counts(shrink), self.kind.counts(self.specs)
        layer = self.machine.by_layer[self.kind.name]
        known = (
            (*measured, own)
            for measured, own in zip((layer.in_channels, layer.out_channels), whole, strict=True)
        )
        return counts is None or all(map(contains, known, counts))

    def _counts(self, shrink: Shrink) -> tuple[int, int] | None:
        """(input, output) channels at smaller shapes; None with no channels left."""
        specs, shapes = self.specs, {name: static_shape(self.specs[name]) for name in self._names}
        smaller = {
            name: replace(specs[name], shape=shrink(self.tensor_of.get(name, name), shape))
            for name, shape in shapes.items()
            if shape is not None
        }
        if any(_is_emptied(shapes[name], spec.shape) for name, spec in smaller.items()):
            return None
        return self.kind.counts({**specs, **smaller})


def _item(item: NodeWork, report: EnergyReport, figure: Figure) -> Item:
    node = item.node
    if item.operands is None or node.scope:
        known = figure(report.by_node[node.key])
        return Item(node.key, (), lambda _: known)
    tensors = tuple(name for name in (*node.inputs, *node.outputs) if name)
    return Item(node.key, tensors, partial(_figure, item, report, figure))


def _figure(item: NodeWork, report: EnergyReport, figure: Figure, shrink: Shrink) -> float:
    """A figure of a node at smaller shapes, or as it is where its work cannot be told then.

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
    return priced_as(item if smaller.reason else smaller, report.hardware, report, figure)


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
