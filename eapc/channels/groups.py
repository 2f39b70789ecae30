"""Channel groups: the channels that can be removed from a graph, and what goes with each.

A channel is not one axis of one tensor. Removing a filter of a convolution removes the feature
map that it writes, the normalisation parameters of that map, the inputs of every consumer's
filters that read it, and, where an Add ties two branches, a filter of the other branch as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from eapc.model import Array


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
class Number:
    """A number in the file that counts indices of an axis, and so shrinks with it.

    It stands at `index` of an attribute or of a constant operand of `node`, whichever is named,
    and counts the indices start <= i < stop of the tensor's axis, `per` at a time: an entry of
    a Reshape's shape, a size of a Split, an end of a Slice, the groups of a convolution.
    """

    node: str
    index: int
    tensor: str
    axis: int
    start: int
    stop: int
    per: int = 1
    attribute: str = ""
    constant: str = ""


@dataclass(frozen=True)
class Patch:
    """An entry of a computed shape that does not follow by itself, and what must stand there.

    It is entry `index` of `count` of an operand of `node`, and describes an axis of `tensor`
    that is `size` long. `value` is None where the new length of that axis must stand there.
    `lengths` are the axes, by tensor, that the entry comes from: when one of them or the one
    described shrinks, the entry is overwritten.
    """

    node: str
    operand: int
    index: int
    count: int
    tensor: str
    axis: int
    size: int
    value: int | None
    lengths: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True)
class Renumbering:
    """A constant, as `reader` sees it where others share it, of indices along a tensor's axis."""

    constant: str
    reader: str
    tensor: str
    axis: int
    size: int


@dataclass(frozen=True)
class Branch:
    """How a branch without channels ends: in `adds`, the node and the place of its operand.

    `consumers`, layers without inputs, write their bias then; `path` are the nodes that turn it
    into what is added. All are keys of nodes.
    """

    consumers: tuple[str, ...]
    path: tuple[str, ...]
    adds: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ChannelGroups:
    """Every group of a model in data-flow order; `left_whole` says by node why others are not.

    `numbers` are those in attributes and constants that follow an axis's length, `patches` entries
    of computed shapes that do not, `renumberings` constants of indices; `branches` has, by name,
    where the branches of groups that may vanish end. `held` says by node with weights what keeps
    all of the channels that it makes.
    """

    groups: tuple[ChannelGroup, ...]
    left_whole: Mapping[str, str]
    numbers: tuple[Number, ...] = ()
    branches: Mapping[str, Branch] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)
    patches: tuple[Patch, ...] = ()
    renumberings: tuple[Renumbering, ...] = ()

    def by_name(self) -> dict[str, ChannelGroup]:
        """The groups by name."""
        return {group.name: group for group in self.groups}
