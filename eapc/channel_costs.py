"""What a network costs with fewer channels in its groups, told without rewriting it.

Every node is priced at the shapes that its operands would have. Prices are kept by node and
counts, so a search asks for each once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from eapc.channels import ChannelGroup
from eapc.worklist import NodeWork, resized

Counts = Mapping[str, int]
"""Channels left, by group."""

Price = Callable[[NodeWork], float]
"""What a node costs in the end; for one that cannot be told, what it costs as it is."""


@dataclass(frozen=True)
class _Share:
    """What a group has of one axis of one tensor: `width` places for each channel."""

    axis: int
    group: str
    size: int
    width: int


class ChannelCosts:
    """The cost of a network as a function of its groups' channel counts."""

    def __init__(
        self, works: Sequence[NodeWork], groups: Iterable[ChannelGroup], price: Price
    ) -> None:
        self._shares: dict[str, list[_Share]] = {}
        self._sizes = {}
        for group in groups:
            self._sizes[group.name] = group.size
            for part in group.slices:
                share = _Share(part.axis, group.name, group.size, part.width)
                self._shares.setdefault(part.tensor, []).append(share)
        self._price = price
        self._works = works
        self._groups = [self._groups_of(item) for item in works]
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
        """The cost of all nodes with these counts; groups that are left out are whole."""
        counts = {**self._sizes, **counts}
        return sum(self._cost(place, counts) for place in range(len(self._works)))

    def saved(self, counts: dict[str, int], name: str, count: int) -> float:
        """What the network saves if one group goes down to a count, all others as they are."""
        fewer = {**counts, name: count}
        places = self._touched[name]
        return sum(self._cost(place, counts) - self._cost(place, fewer) for place in places)

    def _groups_of(self, item: NodeWork) -> tuple[str, ...]:
        if item.operands is None:
            return ()
        names = (*item.node.inputs, *item.node.outputs)
        shares = (share for name in names for share in self._shares.get(name, ()))
        return tuple(dict.fromkeys(share.group for share in shares))

    def _cost(self, place: int, counts: Counts) -> float:
        key = (place, tuple(counts[name] for name in self._groups[place]))
        if key not in self._known:
            self._known[key] = self._price(self._resized(self._works[place], counts))
        return self._known[key]

    def _resized(self, item: NodeWork, counts: Counts) -> NodeWork:
        if item.operands is None or not any(
            counts[name] != self._sizes[name] for name in self._groups_of(item)
        ):
            return item
        inputs = zip(item.node.inputs, item.operands.input_shapes, strict=True)
        outputs = zip(item.node.outputs, item.operands.output_shapes, strict=True)
        return resized(
            item,
            tuple(self._shape(*each, counts) for each in inputs),
            tuple(self._shape(*each, counts) for each in outputs),
        )

    def _shape(
        self, tensor: str, shape: tuple[int, ...] | None, counts: Counts
    ) -> tuple[int, ...] | None:
        if shape is None:
            return None
        left = list(shape)
        for share in self._shares.get(tensor, ()):
            left[share.axis] -= (share.size - counts[share.group]) * share.width
        return tuple(left)
