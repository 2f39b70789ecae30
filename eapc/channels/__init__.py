"""Channels of a whole graph: which slices of which tensors must go together."""

from eapc.channels.blockers import ONE_CHANNEL
from eapc.channels.dead_channels import dead_channels
from eapc.channels.finding import find_groups
from eapc.channels.groups import Branch, ChannelGroup, ChannelGroups, Rewrite, Slice
from eapc.channels.removal import remove_channels, removed_indices
from eapc.channels.tracking import ChannelTracker

__all__ = [
    "ONE_CHANNEL",
    "Branch",
    "ChannelGroup",
    "ChannelGroups",
    "ChannelTracker",
    "Rewrite",
    "Slice",
    "dead_channels",
    "find_groups",
    "remove_channels",
    "removed_indices",
]
