"""Costs of a network with fewer channels, on items whose price is their shapes' size."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from eapc.channels import ChannelGroup, Slice
from eapc.structured import ChannelCosts
from eapc.structured.costs import Item, Shrink


def group(name: str, size: int, *slices: Slice) -> ChannelGroup:
    return ChannelGroup(name, size, slices, (name,), ())


def part(tensor: str, axis: int, size: int, width: int = 1, reader: str = "") -> Slice:
    return Slice(tensor, axis, np.arange(size * width).reshape(size, width), reader)


def words(shapes: dict[str, tuple[int, ...]], reader: str = "node") -> Item:
    """An item that costs as much as its tensors have elements."""

    def price(shrink: Shrink) -> float:
        return float(sum(prod(shrink(name, shape)) for name, shape in shapes.items()))

    return Item(reader, tuple(shapes), price)


def test_a_layer_of_two_groups_by_hand() -> None:
    a, b = group("a", 4, part("w", 1, 4)), group("b", 6, part("w", 0, 6), part("y", 1, 6))
    costs = ChannelCosts([words({"w": (6, 4, 3, 3)}), words({"y": (2, 6)})], [a, b])
    assert costs.sizes == {"a": 4, "b": 6}
    assert costs.total({}) == 6 * 4 * 9 + 12
    assert costs.total({"a": 3}) == 6 * 3 * 9 + 12
    assert costs.total({"a": 3, "b": 2}) == 2 * 3 * 9 + 4
    assert costs.total({"a": 4}) - costs.total({"a": 4, "b": 2}) == 4 * 4 * 9 + 8
    assert costs.total({"a": 3}) - costs.total({"a": 3, "b": 2}) == 4 * 3 * 9 + 8


def test_a_channel_takes_its_width_of_an_axis() -> None:
    costs = ChannelCosts([words({"f": (20, 7)})], [group("a", 5, part("f", 0, 5, 4))])
    assert costs.total({"a": 3}) == 12 * 7


def test_two_groups_share_an_axis() -> None:
    groups = [group("a", 4, part("cat", 1, 4)), group("b", 6, part("cat", 1, 6))]
    costs = ChannelCosts([words({"cat": (1, 12)})], groups)  # two channels are in no group
    assert costs.total({"a": 1, "b": 1}) == 12 - 3 - 5


def test_a_shared_constant_shrinks_for_its_reader_alone() -> None:
    groups = [group("a", 4, part("scale", 0, 4, reader="first"))]
    items = [words({"scale": (4,)}, "first"), words({"scale": (4,)}, "second")]
    assert ChannelCosts(items, groups).total({"a": 1}) == 1 + 4


def test_a_price_is_asked_for_once() -> None:
    asked = []

    def price(shrink: Shrink) -> float:
        asked.append(shrink("w", (4,)))
        return float(asked[-1][0])

    costs = ChannelCosts([Item("n", ("w",), price)], [group("a", 4, part("w", 0, 4))])
    totals = [costs.total({"a": count}) for count in (4, 2, 4, 2, 1)]
    assert totals == [4, 2, 4, 2, 1]
    assert asked == [(4,), (2,), (1,)]
    with pytest.raises(KeyError):
        costs.touched("unknown", 1)
