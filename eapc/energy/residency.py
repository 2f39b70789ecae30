"""Which feature maps stay on chip between the nodes that write and read them.

A kept feature map occupies its words of `feature_maps_kept_in`, in whole banks, from its writer's
first step to its last reader's last; every node that runs meanwhile is mapped with what is left.
It is never in the levels outside, neither written nor read. On the safe side, tiles and psums of
the writer and the readers need room of their own beside it.

Feature maps are tried in the order of words spared outside per byte and node of their lives, and
kept where the nodes of the life then cost less together than before: each decision stands, so
the total never rises. The best choice of all would be a knapsack over time; this is not it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from eapc.dataflow.integers import ceil_div
from eapc.energy.lifetimes import Life, lives
from eapc.energy.worklist import NodeWork
from eapc.hardware import HardwareModel, Memory, with_less_room
from eapc.model import Model
from eapc.workload import Kept


@dataclass(frozen=True)
class Stay:
    """What is on chip while one node runs: of its own feature maps, by part, and in all."""

    parts: Mapping[int, Kept] = field(default_factory=dict)
    taken_bytes: int = 0

    @property
    def operands(self) -> tuple[str, ...]:
        """Those of `ifmap` and `ofmap` of which something is kept."""
        return tuple(
            operand
            for operand in ("ifmap", "ofmap")
            if any(getattr(kept, operand) for kept in self.parts.values())
        )

    def room(self, hardware: HardwareModel) -> HardwareModel:
        """The machine with what is left of the level that feature maps are kept in."""
        level = hardware.feature_maps_kept_in
        if level is None or not self.taken_bytes:
            return hardware
        return with_less_room(hardware, level, self.taken_bytes)

    def joined(self, size: int, parts: Mapping[int, Kept]) -> Stay:
        """This and another feature map of `size` bytes, which is `parts` of the node's own."""
        merged = dict(self.parts)
        for index, more in parts.items():
            own = merged.get(index, Kept())
            merged[index] = Kept(min(1.0, own.ifmap + more.ifmap), own.ofmap + more.ofmap)
        return Stay(merged, self.taken_bytes + size)


NOTHING = Stay()

Cost = Callable[[int, Stay], float]
"""Energy of the node at a place of the work list under a stay; infinite if it has no mapping."""


@dataclass(frozen=True)
class Residency:
    """What stays: by place of the work list, the bytes of each feature map, the energy spared."""

    stays: Mapping[int, Stay] = field(default_factory=dict)
    tensor_bytes: Mapping[str, int] = field(default_factory=dict)
    spared: float = 0.0


def plan(
    model: Model, works: tuple[NodeWork, ...], hardware: HardwareModel, cost: Cost
) -> Residency:
    """Decide which feature maps stay in `feature_maps_kept_in`: none where there is no such level.

    `spared` has the unit of `cost`, the energy without keeping less that with it.
    """
    if hardware.feature_maps_kept_in is None:
        return Residency()
    planner = _Planner(hardware, hardware.memories[hardware.feature_maps_kept_in], cost)
    sized = [(life, planner.bytes_of(life)) for life in lives(model, works)]
    for life, size in sorted(sized, key=lambda one: _rank(one[0], one[1], works, hardware)):
        planner.consider(life, size)
    return Residency(planner.stays, planner.tensor_bytes, planner.spared)


def _rank(
    life: Life, size: int, works: tuple[NodeWork, ...], hardware: HardwareModel
) -> tuple[float, str]:
    """Most words spared per byte and node first; ties by name."""
    spared = float(life.words * hardware.ofmap_dram_accesses_per_word)
    for (place, part), share in life.readers:
        spared += share * works[place].work.parts[part].workload.ifmap_words
    return -spared / (max(size, 1) * len(life.places)), life.tensor


class _Planner:
    """The decisions so far, and what each node costs under them."""

    def __init__(self, hardware: HardwareModel, memory: Memory, cost: Cost) -> None:
        self._capacity, self._bank = memory.size_bytes or 0, memory.bank_bytes or 1
        self._word_bits, self._cost = hardware.word_bits, cost
        self._costs: dict[int, float] = {}
        self.stays: dict[int, Stay] = {}
        self.tensor_bytes: dict[str, int] = {}
        self.spared = 0.0

    def bytes_of(self, life: Life) -> int:
        """Room that a feature map takes, in whole banks."""
        exact = ceil_div(life.words * (life.bits or self._word_bits), 8)
        return ceil_div(exact, self._bank) * self._bank

    def consider(self, life: Life, size: int) -> None:
        """Keep a feature map if it fits and the nodes of its life cost less for it."""
        taken = max(self._stay(place).taken_bytes for place in life.places)
        if taken + size >= self._capacity:
            return
        stays = self._with(life, size)
        before = sum(self._current(place) for place in life.places)
        after = {place: self._cost(place, stay) for place, stay in stays.items()}
        total = sum(after.values())
        if math.isinf(before) or total >= before:
            return
        self.stays.update(stays)
        self._costs.update(after)
        self.tensor_bytes[life.tensor] = size
        self.spared += before - total

    def _with(self, life: Life, size: int) -> dict[int, Stay]:
        stays = {place: self._stay(place).joined(size, {}) for place in life.places}
        place, part = life.writer
        stays[place] = stays[place].joined(0, {part: Kept(ofmap=1.0)})
        for (place, part), share in life.readers:
            stays[place] = stays[place].joined(0, {part: Kept(ifmap=share)})
        return stays

    def _stay(self, place: int) -> Stay:
        return self.stays.get(place, NOTHING)

    def _current(self, place: int) -> float:
        if place not in self._costs:
            self._costs[place] = self._cost(place, self._stay(place))
        return self._costs[place]
