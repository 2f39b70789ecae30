"""Channels of a whole graph: which slices of which tensors must go together."""

from eapc.channels.dead_channels import dead_channels
from eapc.channels.finding import find_groups
from eapc.channels.groups import Branch, ChannelGroup, ChannelGroups, Rewrite, Slice
from eapc.channels.near_dead import (
    UNIT_ROUNDOFF,
    NearDeadLayer,
    NearDeadWeights,
    near_dead_channels,
    near_dead_weights,
)
from eapc.channels.removal import channels_left, remove_channels
from eapc.channels.settling import ONE_CHANNEL

__all__ = [
    "ONE_CHANNEL",
    "UNIT_ROUNDOFF",
    "Branch",
    "ChannelGroup",
    "ChannelGroups",
    "NearDeadLayer",
    "NearDeadWeights",
    "Rewrite",
    "Slice",
    "channels_left",
    "dead_channels",
    "find_groups",
    "near_dead_channels",
    "near_dead_weights",
    "remove_channels",
]
