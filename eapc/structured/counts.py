"""How many channels each group keeps: the least loss for a cost.

Groups give up channels where a unit of cost saved loses least, one group at a time. A group may
leap over counts: where costs fall in steps, or the error curve flattens, the best ratio is at
the far end.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from eapc.allocation import Predicted
from eapc.structured.costs import ChannelCosts, Counts
from eapc.structured.curves import ChannelCurve

CANDIDATES = 16
"""Counts of each group that are looked at, evenly spaced, where no steps are known."""

_TINY = 1e-12
_ROUNDING = 1e-9

_NOISE = 0.01
"""A step by less than this fraction of what a group has a say in may be noise of the clock."""


@dataclass(frozen=True)
class Move:
    """A group going down to a count: what that saves and what it loses."""

    name: str
    count: int
    saved: float
    lost: float

    @property
    def ratio(self) -> float:
        """Saved per loss."""
        return self.saved / max(self.lost, _TINY)


def candidates(curve: ChannelCurve) -> tuple[int, ...]:
    """Evenly spaced counts below all channels, down to the fewest."""
    steps = {round(curve.size * i / CANDIDATES) for i in range(CANDIDATES)}
    return tuple(sorted({max(curve.fewest, count) for count in steps} - {curve.size}))


def right_edges(curve: ChannelCurve, costs: ChannelCosts) -> tuple[int, ...]:
    """Counts below all channels that cost less than any larger count, all else whole.

    Between them channels go without saving anything: less than `_NOISE` of what the group has a
    say in is nothing. Counts whose cost is a guess between known ones take no part: the next
    step's edge may lie beyond them.
    """
    edges, level = [], costs.touched(curve.name, curve.size)
    for count in range(curve.size - 1, curve.fewest - 1, -1):
        if costs.is_known(curve.name, count):
            cost = costs.touched(curve.name, count)
            if cost < level * (1 - _NOISE):
                edges.append(count)
                level = cost
    return tuple(reversed(edges))


class Descent:
    """The way down from all channels; budgets share it as far as they go it.

    What is best next depends on the counts alone until the budget is near: it is worked out
    once for each step, however many budgets are asked about.
    """

    def __init__(
        self,
        curves: Sequence[ChannelCurve],
        costs: ChannelCosts,
        allowed: Mapping[str, Sequence[int]],
    ) -> None:
        self._curves = {curve.name: curve for curve in curves}
        self._costs = costs
        self._allowed = allowed or {curve.name: candidates(curve) for curve in curves}
        self._steps: dict[tuple[int, ...], tuple[float, Move | None]] = {}

    def counts(self, budget: float) -> dict[str, int]:
        """Counts by group whose cost is at most `budget`, or the fewest if none are."""
        counts = self._costs.sizes
        cost, best = self._step(counts)
        while cost > budget * (1 + _ROUNDING) and best is not None:
            move = self._last(counts, cost - budget) if best.saved >= cost - budget else best
            counts[move.name] = move.count
            cost, best = self._step(counts)
        return self._given_back(counts, budget)

    def _step(self, counts: Counts) -> tuple[float, Move | None]:
        """The cost of counts and the move from there that saves most per loss, if any saves."""
        key = tuple(counts.values())
        if key not in self._steps:
            best = max(self._moves(counts), key=lambda move: move.ratio, default=None)
            self._steps[key] = self._costs.total(counts), best
        return self._steps[key]

    def _last(self, counts: Counts, missing: float) -> Move:
        """Of the moves that bring the budget within reach, the one that loses least."""
        enough = (move for move in self._moves(counts) if move.saved >= missing)
        return min(enough, key=lambda move: (move.lost, -move.saved))

    def _moves(self, counts: Counts) -> Iterator[Move]:
        """Every way down that saves something."""
        for name, curve in self._curves.items():
            here = curve.error_at(counts[name])
            for count in self._allowed[name]:
                if count < counts[name]:
                    saved = self._costs.saved(counts, name, count)
                    if saved > 0:
                        yield Move(name, count, saved, curve.error_at(count) - here)

    def _given_back(self, counts: dict[str, int], budget: float) -> dict[str, int]:
        """The counts raised again where the budget has room, where that wins most first.

        What costs nothing needs no room: larger counts may be no dearer.
        """
        room = budget - self._costs.total(counts)
        while True:
            ways = []
            for name, curve in self._curves.items():
                here = curve.error_at(counts[name])
                for count in (*self._allowed[name], curve.size):
                    if count > counts[name]:
                        spent = -self._costs.saved(counts, name, count)
                        won = here - curve.error_at(count)
                        if spent <= max(room, 0) and (won > 0 or spent < 0):
                            ways.append((won, count, name, spent))
            if not ways:
                return counts
            _, count, name, spent = max(ways)
            counts[name] = count
            room -= spent


@dataclass(frozen=True)
class ChannelPlan:
    """What is needed to share out any budget: the groups' curves and what counts cost.

    `allowed` names the counts that groups may go down to, where costs fall in steps; `basis` says
    by what the curves and costs were made, for those who made them.
    """

    curves: tuple[ChannelCurve, ...]
    costs: ChannelCosts
    allowed: Mapping[str, Sequence[int]] = field(default_factory=dict)
    basis: Hashable = None

    @property
    def ends_on_steps(self) -> bool:
        """Whether counts must be the very ones that were planned: others may cost more."""
        return bool(self.allowed)

    @cached_property
    def whole_cost(self) -> float:
        """The cost with all channels."""
        return self.costs.total({})

    @cached_property
    def lowest_ratio(self) -> float:
        """The cost with the lowest counts over that of the whole network."""
        fewest = {curve.name: self._lowest(curve) for curve in self.curves}
        return self.ratio(fewest)

    def _lowest(self, curve: ChannelCurve) -> int:
        return min(self.allowed.get(curve.name, (curve.fewest,)), default=curve.size)

    def counts(self, budget: float) -> dict[str, int]:
        """Counts by group for a budget, a fraction of the whole network's cost."""
        return self._descent.counts(budget * self.whole_cost)

    @cached_property
    def _descent(self) -> Descent:
        return Descent(self.curves, self.costs, self.allowed)

    def predicted(self, budget: float, late: float = 0.0) -> Predicted:
        """What is expected of the counts for a budget; no group takes `late` by itself."""
        counts = self.counts(budget + late)
        return Predicted(predicted_error(self.curves, counts), self.ratio(counts))

    def ratio(self, counts: Counts) -> float:
        """What these counts cost, a fraction of the whole network's cost."""
        return self.costs.total(counts) / self.whole_cost if self.whole_cost else 1.0


def predicted_error(curves: Sequence[ChannelCurve], counts: Mapping[str, int]) -> float:
    """The sum of the groups' own errors."""
    return math.fsum(curve.error_at(counts[curve.name]) for curve in curves)
