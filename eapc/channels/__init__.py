"""Channels of a whole graph: which slices of which tensors must go together."""

from eapc.channels.finding import find_groups
from eapc.channels.groups import Branch, ChannelGroup, ChannelGroups, Number, Slice
from eapc.channels.holding import ONE_CHANNEL
from eapc.channels.lengths import shapes_at
from eapc.channels.removal import remove_channels, removed_indices
from eapc.channels.silence import silent_channels
from eapc.channels.tally import Tally

__all__ = [
    "ONE_CHANNEL",
    "Branch",
    "ChannelGroup",
    "ChannelGroups",
    "Number",
    "Slice",
    "Tally",
    "find_groups",
    "remove_channels",
    "removed_indices",
    "shapes_at",
    "silent_channels",
]
