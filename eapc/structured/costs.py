"""What a network costs with fewer channels in its groups, told without rewriting it.

A cost is a sum over items: nodes of an energy model, layers of a latency profile. Each is
priced at the shapes that its tensors would have. Prices are kept by item and counts, so a
search asks for each once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from eapc.channels import ChannelGroup

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

    def places_of(self, name: str) -> Sequence[int]:
        """The items that a group has a say in, by number."""
        return self._touched[name]

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
