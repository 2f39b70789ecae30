"""Why layers keep all of their channels: one reason for each, and the one that tells most."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from eapc.channels import ONE_CHANNEL, ChannelGroups
from eapc.layers import PrunableLayers, Skipped
from eapc.model import Model
from eapc.structured.layers import LayeredGroup

_NAME = re.compile("'[^']*'")
_TELLS_LITTLE = re.compile(f"{re.escape(ONE_CHANNEL)}|their channels reach the output")


def left_alone(
    model: Model, found: ChannelGroups, layered: Sequence[LayeredGroup], layers: PrunableLayers
) -> tuple[Skipped, ...]:
    """Every layer none of whose channels can be taken out, in file order, and why.

    `layered` are the groups of more than one channel with their layers.
    """
    usable = {node for each in layered if not each.obstacle for node in each.group.producers}
    reasons = {
        **dict.fromkeys((user.node.key for tied in layers.layers for user in tied.users), ""),
        **{skip.name: skip.reason for skip in layers.skipped},
    }
    others = {
        **{node: ONE_CHANNEL for group in found.groups for node in group.producers},
        **{node: each.obstacle for each in layered for node in each.group.producers},
        **found.held,
    }
    return tuple(
        Skipped(node.key, reasons[node.key] or others[node.key])
        for node in model.nodes
        if node.key in reasons and node.key not in usable
    )


def most_telling(skipped: Sequence[Skipped]) -> str:
    """What keeps most layers whole, by the first of them.

    That channels reach an output, or that there is one, is said where there is nothing else.
    """
    if not skipped:
        return "no layer makes any"
    kinds = Counter(_NAME.sub("", each.reason) for each in skipped)

    def tells(each: Skipped) -> tuple[bool, int]:
        return not _TELLS_LITTLE.match(each.reason), kinds[_NAME.sub("", each.reason)]

    first = max(skipped, key=tells)  # the first of equals
    more = kinds[_NAME.sub("", first.reason)] - 1
    return f"{first.reason} ('{first.name}'" + (f" and {more} more like it)" if more else ")")
