"""Branches that can go whole."""

from __future__ import annotations

from eapc.channels.groups import ChannelGroup
from eapc.model import Model
from eapc.shapes import Shapes


def with_vanishing(
    model: Model, shapes: Shapes, groups: tuple[ChannelGroup, ...]
) -> tuple[ChannelGroup, ...]:
    return groups


def without_branches(model, proto, vanished) -> None:
    raise NotImplementedError
