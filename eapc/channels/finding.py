"""Finding the channel groups of a graph."""

from __future__ import annotations

from collections.abc import Iterable

from eapc.channels.axis_rules import Freeze
from eapc.channels.groups import ChannelGroups, Number
from eapc.channels.search import Search
from eapc.channels.sites import Said, Sites
from eapc.channels.vanishing import with_vanishing
from eapc.model import Model, Shapes


def find_groups(model: Model, shapes: Shapes) -> ChannelGroups:
    """Every channel group of a model's main graph.

    Where a node's axes can be tied in several ways (see `Options`), the first is taken unless
    nothing around the node can shrink then and another way lets more channels go.
    """
    return tied_groups(model, shapes)[0]


def tied_groups(model: Model, shapes: Shapes) -> tuple[ChannelGroups, list[Said]]:
    """The channel groups, and what each node says of its axes, in data-flow order."""
    sites = Sites(model, shapes)
    search = Search(sites)
    search.improve()
    groups = search.channels().groups(search.made())
    numbers = tuple(e for said in search.said for e in said.effects if isinstance(e, Number))
    groups, branches = with_vanishing(model, sites.shape, groups)
    left_whole, held = _left_whole(search.said), search.held()
    return ChannelGroups(groups, left_whole, numbers, branches, held), search.said


def _left_whole(said: Iterable[Said]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for one in said:
        frozen = (e.reason for e in one.effects if isinstance(e, Freeze) and e.reason)
        reason = one.reason or next(frozen, "")
        if reason:
            reasons[one.site.node.key] = reason
    return reasons
