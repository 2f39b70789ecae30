"""Channel groups: the channels that can be removed from a graph, and what goes with each.

A channel is not one axis of one tensor. Removing a filter of a convolution removes the feature
map that it writes, the normalisation parameters of that map, the inputs of every consumer's
filters that read it, and, where an Add ties two branches, a filter of the other branch as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eapc.tensors import Array


@dataclass(frozen=True)
class Slice:
    """What a channel takes of one axis of one tensor: `width` indices for each channel.

    `indices` (channels, width) are positions along the axis as the file has it.
    """

    tensor: str
    axis: int
    indices: Array

    @property
    def width(self) -> int:
        """Indices that go with one channel: 1, or h * w behind a Flatten."""
        return int(self.indices.shape[1])


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that compete with each other: each takes as much of the same axes.

    `name` is the key of the first node, in data-flow order, whose weights make the channels.
    `producers` are the keys of the nodes whose weights make them (outputs), `consumers` of those
    whose weights read them (inputs); a depthwise convolution is both. `may_vanish` is True where
    all channels can go, because they are the inside of a branch that an Add leads around.
    """

    name: str
    size: int
    slices: tuple[Slice, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    may_vanish: bool = False


@dataclass(frozen=True)
class ChannelGroups:
    """Every group of a model in data-flow order; `left_whole` says by node why others are not."""

    groups: tuple[ChannelGroup, ...]
    left_whole: Mapping[str, str]
