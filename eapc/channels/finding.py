"""Finding the channel groups of a graph."""

from __future__ import annotations

from collections.abc import Iterable

from eapc.channels.axis_rules import Freeze
from eapc.channels.groups import ChannelGroups, Number, Patch, Renumbering
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
    renumberings = tuple(
        e for said in search.said for e in said.effects if isinstance(e, Renumbering)
    )
    groups, branches = with_vanishing(model, sites.shape, groups)
    patches = search.patches()
    left = _left_whole(search.said, frozenset(patches))
    held = search.held()
    found = ChannelGroups(groups, left, numbers, branches, held, patches, renumberings)
    return found, search.said


def _left_whole(said: Iterable[Said], patches: frozenset[Patch]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for one in said:
        frozen = (e for e in one.effects if isinstance(e, Freeze) and e.patch not in patches)
        reason = one.reason or next((e.reason for e in frozen if e.reason), "")
        if reason:
            reasons[one.site.node.key] = reason
    return reasons
