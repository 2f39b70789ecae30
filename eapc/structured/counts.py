"""How many channels each group keeps, and what is left for zeros: the least loss for a cost.

One budget is shared out over both (see `eapc.allocation.allocator`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eapc.allocation import (
    GRID,
    Curves,
    JointDecisions,
    JointItem,
    LayerCurve,
    Predicted,
    allocate,
)
from eapc.structured.costs import ChannelCosts, Counts
from eapc.structured.curves import ChannelCurve

CANDIDATES = 16
"""Counts of each group that are looked at, evenly spaced, where no steps are known."""

_NOISE = 0.01
"""A step by less than this fraction of what a group has a say in may be noise of the clock."""


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


@dataclass(frozen=True)
class ChannelPlan:
    """What is needed to share out any budget: the groups' curves and what counts cost.

    `zeros` are curves of layers whose weights are to be zeroed as well, out of the same budget.
    `allowed` names the counts that groups may go down to, where costs fall in steps; `basis` says
    by what the curves and costs were made, for those who made them.
    """

    curves: tuple[ChannelCurve, ...]
    costs: ChannelCosts
    allowed: Mapping[str, Sequence[int]] = field(default_factory=dict)
    basis: Hashable = None
    zeros: tuple[LayerCurve, ...] = ()

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
        """The cost with the lowest counts and densities over that of the whole network."""
        fewest = {curve.name: self.options(curve)[-1] for curve in self.curves}
        layers = self.layers_at(fewest)
        return self.ratio(fewest) * (layers.lowest_ratio if layers else 1.0)

    def options(self, curve: ChannelCurve) -> tuple[int, ...]:
        """The counts that a group may have, falling from all."""
        fewer = self.allowed.get(curve.name, ()) if self.allowed else candidates(curve)
        return (curve.size, *reversed(fewer))

    def counts(self, budget: float) -> dict[str, int]:
        """Counts by group for a budget, a fraction of the whole network's cost.

        With `zeros` these take their share of it.
        """
        decisions, limit = self._decisions, budget * self.whole_cost
        choice = allocate(decisions, limit)
        if not self.zeros:
            choice = decisions.filled(choice, limit)
        groups = zip(self.curves, choice, strict=False)
        return {curve.name: self.options(curve)[option] for curve, option in groups}

    @cached_property
    def _decisions(self) -> JointDecisions:
        return JointDecisions(self.errors(), self.items())

    def errors(self) -> list[NDArray[np.float64]]:
        """By option of every site: of groups by their counts, then of layers by `GRID`."""
        groups = [
            np.array([curve.error_at(count) for count in self.options(curve)])
            for curve in self.curves
        ]
        return [*groups, *(layer.error_at(GRID) for layer in self.zeros)]

    def items(self) -> list[JointItem]:
        """The cost by these sites' options, an item for each of the costs' own.

        A layer's zeros save the same fraction of its energy whatever channels are left.
        """
        sites = {curve.name: site for site, curve in enumerate(self.curves)}
        layers = {node: place for place, layer in enumerate(self.zeros) for node in layer.nodes}
        found = []
        for place, reader in enumerate(self.costs.readers()):
            names = [name for name in self.costs.groups_of(place) if name in sites]
            item = JointItem(tuple(sites[n] for n in names), self._price(place, names))
            if reader in layers:
                layer = self.zeros[layers[reader]]
                left = layer.energy_at(GRID) / (layer.energies[0] or 1.0)
                site = len(self.curves) + layers[reader]
                item = replace(item, scaled_by=(site,), factors=left)
            found.append(item)
        return found

    def _price(self, place: int, names: Sequence[str]) -> Callable[[tuple[int, ...]], float]:
        """The cost of an item by the options of some groups, all others whole."""
        sizes, by_name = self.costs.sizes, {curve.name: curve for curve in self.curves}
        counts = [self.options(by_name[name]) for name in names]

        def price(options: tuple[int, ...]) -> float:
            chosen = {n: c[o] for n, c, o in zip(names, counts, options, strict=True)}
            return self.costs.of_item(place, {**sizes, **chosen})

        return price

    def layers_at(self, counts: Counts) -> Curves | None:
        """The curves of zeros in a network with these counts; None where there are to be none."""
        total = self.costs.total(counts)
        if not self.zeros or not total:
            return None
        every = {**self.costs.sizes, **counts}
        places = {reader: place for place, reader in enumerate(self.costs.readers())}
        layers = []
        for curve in self.zeros:
            if not curve.nodes:  # within larger nodes: no channels of theirs can go
                layers.append(curve)
                continue
            dense = sum(self.costs.of_item(places[node], every) for node in curve.nodes)
            scale = dense / curve.energies[0] if curve.energies[0] else 0.0
            energies = tuple(scale * energy for energy in curve.energies)
            layers.append(replace(curve, energies=energies))
        return Curves(tuple(layers), total - sum(curve.energies[0] for curve in layers))

    def predicted(self, budget: float, tail: float = 0.0) -> Predicted:
        """What is expected of the counts for a budget, and of zeros that do what is left of it."""
        counts = self.counts(budget if self.zeros else budget + tail)
        return self.with_zeros(counts, budget + tail)

    def with_zeros(self, counts: Counts, budget: float) -> Predicted:
        """What is expected of counts and of zeros for what is missing, if there are any."""
        error, ratio = predicted_error(self.curves, counts), self.ratio(counts)
        layers = self.layers_at(counts)
        if layers is None or ratio <= budget:
            return Predicted(error, ratio)
        zeros = layers.predicted(budget / ratio)
        return Predicted(error + zeros.error, ratio * zeros.ratio)

    def ratio(self, counts: Counts) -> float:
        """What these counts cost, a fraction of the whole network's cost."""
        return self.costs.total(counts) / self.whole_cost if self.whole_cost else 1.0


def predicted_error(curves: Sequence[ChannelCurve], counts: Mapping[str, int]) -> float:
    """The sum of the groups' own errors."""
    return math.fsum(curve.error_at(counts[curve.name]) for curve in curves)
