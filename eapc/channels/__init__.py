"""Channels of a whole graph: which slices of which tensors must go together."""

from eapc.channels.groups import ChannelGroup, ChannelGroups, Slice

__all__ = ["ChannelGroup", "ChannelGroups", "Slice"]
