"""Channel groups: the channels that can be removed from a graph, and what goes with each.

A channel is not one axis of one tensor. Removing a filter of a convolution removes the feature
map that it writes, the normalisation parameters of that map, the inputs of every consumer's
filters that read it, and, where an Add ties two branches, a filter of the other branch as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from eapc.model import Array

Removed = Mapping[tuple[str, str, int], Array]
"""(tensor, reader, axis) -> sorted indices that go."""


@dataclass(frozen=True)
class Slice:
    """What a channel takes of one axis of one tensor: `width` indices for each channel.

    `indices` (channels, width) are positions along the axis as the file has it. `reader` is the
    key of a node where the slice is of a constant as that node reads it: several nodes share the
    constant, and each may need another part of it. It is empty for all other tensors.
    """

    tensor: str
    axis: int
    indices: Array
    reader: str = ""

    @property
    def width(self) -> int:
        """Indices that go with one channel: 1, or h * w behind a Flatten."""
        return int(self.indices.shape[1])


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that compete with each other: each takes as much of the same axes.

    `name` is the key of the first node, in data-flow order, whose weights make the channels;
    further groups of that node end in `#2`, `#3`. `producers` are the keys of the nodes whose
    weights make them (outputs), `consumers` of those whose weights read them (inputs); a
    depthwise convolution is both. `may_vanish` is True where all channels can go, because they
    are the inside of a branch that an Add leads around.
    """

    name: str
    size: int
    slices: tuple[Slice, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    may_vanish: bool = False


@dataclass(frozen=True)
class Rewrite:
    """A number in the file that must change with the length of an axis of a tensor.

    Where: at `index` of an attribute of `node`, of a constant that it reads, or of its operand
    number `operand`, a computed shape of `entries` numbers in all, whichever is given. What: how
    many of the indices start <= i < stop of the axis are kept, `per` at a time, or `value` where
    that may stand there whatever the length is. It is written when the axis shrinks, or one of
    `lengths`, (tensor, axis), that a computed number comes from. Without an index the constant
    holds indices of the axis, which are counted anew.
    """

    node: str
    index: int | None
    tensor: str
    axis: int
    start: int
    stop: int
    per: int = 1
    attribute: str = ""
    constant: str = ""
    operand: int | None = None
    entries: int = 0
    value: int | None = None
    lengths: frozenset[tuple[str, int]] = frozenset()

    def number(self, removed: Removed) -> int | None:
        """The new number; None where the old one stays."""
        gone = removed.get((self.tensor, "", self.axis), np.empty(0, np.int64))
        if not len(gone) and not any((of, "", axis) in removed for of, axis in self.lengths):
            return None
        if self.value is not None:
            return self.value
        lost = np.count_nonzero((self.start <= gone) & (gone < self.stop))
        return (self.stop - self.start - int(lost)) // self.per


@dataclass(frozen=True)
class Branch:
    """How a branch without channels ends: in `adds`, the node and the place of its operand.

    `consumers`, layers without inputs, write their bias then. All are keys of nodes.
    """

    consumers: tuple[str, ...]
    adds: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ChannelGroups:
    """Every group of a model in data-flow order; `left_whole` says by node why others are not.

    `rewrites` are the numbers that follow the lengths of axes; `branches` has, by name, where the
    branches of groups that may vanish end. `held` says by node with weights what keeps all of the
    channels that it makes.
    """

    groups: tuple[ChannelGroup, ...]
    left_whole: Mapping[str, str]
    rewrites: tuple[Rewrite, ...] = ()
    branches: Mapping[str, Branch] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)

    def by_name(self) -> dict[str, ChannelGroup]:
        """The groups by name."""
        return {group.name: group for group in self.groups}
