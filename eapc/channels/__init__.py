"""Channels of a whole graph: which slices of which tensors must go together."""

from eapc.channels.finding import find_groups
from eapc.channels.groups import ChannelGroup, ChannelGroups, Number, Slice
from eapc.channels.removal import remove_channels

__all__ = ["ChannelGroup", "ChannelGroups", "Number", "Slice", "find_groups", "remove_channels"]
