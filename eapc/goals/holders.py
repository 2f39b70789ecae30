"""What holds the cost of a network whose goal is missed: which nodes, so much each, and why.

Computed of the pruned network itself, so that no reason is given that is not so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eapc.energy import NodeEnergy
    from eapc.goals.result import Pruned
    from eapc.model import Model, Node

_MOST = 0.8
"""Nodes are named until together they hold this fraction of what is left."""

_NAMED = 3
_LONGEST_NAME = 48

BESIDE = "time beside the layers"
"""Stands for what no node is to blame for: what every run takes."""


@dataclass(frozen=True)
class Holder:
    """A node, its cost as a fraction of the whole original network's, and why it still costs it."""

    node: str
    share: float
    reason: str

    def said(self, verb: str = "") -> str:
        """`'gru' takes 96.9 % (GRU weights are not pruned)`."""
        return f"{_shortened(self.node)} {verb}{_percent(self.share)} ({self.reason})"


@dataclass(frozen=True)
class Held:
    """The nodes that hold most of what is left, the largest first; of the others how many.

    `moving` is the share of what is left that moves feature maps, where that is energy.
    """

    holders: tuple[Holder, ...] = ()
    others: int = 0
    others_share: float = 0.0
    moving: float | None = None

    def __str__(self) -> str:
        """What nodes take, in one line; empty where nothing is known."""
        if not self.holders:
            return ""
        first, *rest = self.holders
        said = [first.said("takes "), *(each.said() for each in rest)]
        if self.others:
            said.append(f"{self.others} other{'s' if self.others > 1 else ''}")
            said[-1] += f" {_percent(self.others_share)}"
        if self.others and self.moving is not None and self.moving > 0.5:
            said[-1] += f"; {_percent(self.moving)} of all that is left moves feature maps"
        return ", ".join(said)


def held_by(pruned: Pruned, shares: Mapping[str, float]) -> Held:
    """Who holds what is left: `shares` are nodes' costs over the original network's, by key."""
    left = sorted(((share, key) for key, share in shares.items() if share > 0), reverse=True)
    total = sum(share for share, _ in left)
    reasons = _Reasons(pruned)
    holders: list[Holder] = []
    for share, key in left[:_NAMED]:
        if holders and sum(each.share for each in holders) >= _MOST * total:
            break
        holders.append(Holder(key, share, reasons.of(key)))
    others = left[len(holders) :]
    moving = None if pruned.latency else _moving(pruned.after.nodes)
    return Held(tuple(holders), len(others), sum(share for share, _ in others), moving)


def _moving(nodes: Sequence[NodeEnergy]) -> float:
    """The share of the nodes' energy that moves feature maps."""
    moved = sum(node.by_operand["ifmap"] + node.by_operand["ofmap"] for node in nodes)
    return moved / (sum(node.energy_mac_units for node in nodes) or 1.0)


class _Reasons:
    """Why nodes of a pruned network cost what they do."""

    def __init__(self, pruned: Pruned) -> None:
        self._pruned = pruned
        self._skipped = {each.name: each.reason for each in pruned.skipped}
        self._before = _weights_by_node(pruned.compilation.reference)
        self._after = _weights_by_node(pruned.model)
        self._nodes = {node.key: node for node in pruned.model.nodes}

    def of(self, key: str) -> str:
        """A few words."""
        node, priced = self._nodes.get(key), self._pruned.after.by_node.get(key)
        if key == BESIDE:
            return "every run takes it"
        if key in self._skipped:
            return self._skipped[key]
        if node is None or key not in self._after:
            return _without_layer(self._pruned.model, node) if node else "not pruned"
        words = [f"{_percent(self._left(key))} of its weights left"]
        if self._pruned.latency is None and priced is not None:
            words.append(_largest_part(priced))
        return ", ".join(words)

    def _left(self, key: str) -> float:
        """Non-zero weights of a layer over all that it had."""
        before, after = self._pruned.compilation.reference, self._pruned.model
        shapes = map(before.constants.shape, self._before.get(key, self._after[key]))
        whole = sum(math.prod(shape or ()) for shape in shapes)
        nonzero = sum(after.constants[name].astype(bool).sum() for name in self._after[key])
        return float(nonzero / max(1, whole))


def _weights_by_node(model: Model) -> dict[str, list[str]]:
    """The weight tensors of every prunable layer, by node; tied ones have the same."""
    from eapc.layers import layers_of

    found: dict[str, list[str]] = {}
    for tied in layers_of(model).layers:
        for key in dict.fromkeys(user.node.key for user in tied.users):
            found.setdefault(key, []).append(tied.weight)
    return found


def _without_layer(model: Model, node: Node) -> str:
    """Why a node is no layer, so that nothing of it is pruned."""
    if (node.domain, node.op_type) in {(f.domain, f.name) for f in model.view.proto.functions}:
        return "local functions are not pruned"
    shapes = [model.constants.shape(name) or () for name in node.inputs if name in model.constants]
    if any(len(shape) > 1 for shape in shapes):
        return f"{node.op_type} weights are not pruned"
    return "no weights to prune"


def _largest_part(priced: NodeEnergy) -> str:
    """What most of a node's energy goes into."""
    parts = priced.by_operand
    found = {
        "moves feature maps": parts["ifmap"] + parts["ofmap"],
        "moves weights": parts["weights"],
        "computes": parts["compute"],
    }
    what = max(found, key=lambda name: found[name])
    return f"{_percent(found[what] / (priced.energy_mac_units or 1.0))} of that {what}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"


def _shortened(name: str) -> str:
    if name == BESIDE:
        return name
    return f"'{name}'" if len(name) <= _LONGEST_NAME else f"'…{name[-_LONGEST_NAME:]}'"
