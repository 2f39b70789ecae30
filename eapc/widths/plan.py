"""Widths, channels and zeros for one budget: what loses least."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from eapc.allocation import (
    GRID,
    Choice,
    JointDecisions,
    JointItem,
    Predicted,
    allocate,
)
from eapc.energy import EnergyReport, GivenBits, NodeWork
from eapc.quantization import WidthCurve
from eapc.structured import ChannelPlan
from eapc.widths.costs import WidthCosts, WidthSite


class JointChoice(NamedTuple):
    """What a budget comes to: widths, and the counts and densities that they were chosen for."""

    bits: GivenBits
    counts: dict[str, int]
    densities: dict[str, float]
    predicted: Predicted


@dataclass(frozen=True)
class WidthPlan:
    """What is needed to share out any budget over widths, and over channels and zeros beside them.

    `weights` and `activations` are the curves of their widths. `channels` holds the curves of
    groups and layers, if these may lose anything, and the price of each node at the widest
    widths; `works` and `report` are those of the network at these. Budgets are fractions of
    `dense_energy`, in MAC units: the dense network's at its file's own widths. `basis` says by
    what the curves were made, for those who made them.
    """

    weights: tuple[WidthCurve, ...]
    activations: tuple[WidthCurve, ...]
    channels: ChannelPlan
    works: tuple[NodeWork, ...]
    report: EnergyReport
    dense_energy: float
    basis: Hashable = None

    @property
    def widths(self) -> tuple[WidthCurve, ...]:
        """All curves of widths, in the order of their sites."""
        return (*self.weights, *self.activations)

    @cached_property
    def lowest_ratio(self) -> float:
        """The energy with the least of everything over the dense energy."""
        return self._ratio(self.decisions.cost(self.decisions.cheapest))

    def predicted(self, budget: float, tail: float = 0.0) -> Predicted:
        """What is expected at a budget; widths are those for it, a tail changes the rest alone."""
        return self.choice(budget + tail).predicted

    def choice(self, budget: float) -> JointChoice:
        """What loses least for a budget, or the least of everything where none keeps it."""
        decisions, limit = self.decisions, budget * self.dense_energy
        chosen = decisions.filled(allocate(decisions, limit), limit)
        predicted = Predicted(decisions.error(chosen), self._ratio(decisions.cost(chosen)))
        return JointChoice(self._bits(chosen), *self._rest(chosen), predicted)

    def _ratio(self, energy: float) -> float:
        return energy / self.dense_energy if self.dense_energy else 1.0

    @cached_property
    def decisions(self) -> JointDecisions:
        """What a budget is shared out over: groups, layers, then widths, in the curves' order."""
        own = [np.array(curve.errors) for curve in self.widths]
        return JointDecisions([*self.channels.errors(), *own], list(self._items()))

    def _items(self) -> list[JointItem]:
        works = {item.node.key: item for item in self.works}
        costs = WidthCosts(works, self.report, self._sites())
        items = zip(self.channels.costs.readers(), self.channels.items(), strict=True)
        return [part for reader, item in items for part in costs.items(reader, item)]

    def _sites(self) -> list[WidthSite]:
        first = len(self.channels.curves) + len(self.channels.zeros)
        return [
            WidthSite(first + place, frozenset(curve.tensors), curve.widths)
            for place, curve in enumerate(self.widths)
        ]

    def _bits(self, choice: Choice) -> GivenBits:
        options = choice[len(choice) - len(self.widths) :]
        pairs = [
            (name, curve.widths[option])
            for curve, option in zip(self.widths, options, strict=True)
            for name in curve.tensors
        ]
        return GivenBits(by_tensor=tuple(pairs))

    def _rest(self, choice: Choice) -> tuple[dict[str, int], dict[str, float]]:
        """Channels by group, and densities by layer."""
        plan = self.channels
        groups = zip(plan.curves, choice, strict=False)
        counts = {curve.name: plan.options(curve)[option] for curve, option in groups}
        layers = zip(plan.zeros, choice[len(plan.curves) :], strict=False)
        return counts, {layer.name: float(GRID[option]) for layer, option in layers}
