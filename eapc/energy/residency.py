"""Which feature maps stay on chip between the nodes that write and read them.

A kept feature map occupies its words of `feature_maps_kept_in`, in whole banks, from its writer's
first step to its last reader's last; every node that runs meanwhile is mapped with what is left.
It is never in the levels outside, neither written nor read. On the safe side, tiles and psums of
the writer and the readers need room of their own beside it.

Feature maps are tried in the order of words spared outside per byte and node of their lives, and
kept where the nodes of the life then cost less together than before: each decision stands, so
the total never rises. The best choice of all would be a knapsack over time; this is not it.

Which feature maps could stay on chip: who writes each, who reads it, and what runs meanwhile.

A feature map lives from the node that writes it, behind what is fused into that node, to its
last reader; views (Reshape, Concat, Slice) read on behalf of those behind them. Left out are the
model's outputs; tensors read otherwise than as an ifmap (as the weights of a product of two
activations, by a subgraph, by a call of a function); what repeated parts read or write; and
lives in which a subgraph or a node without a model runs, whose use of the chip nobody knows.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from eapc.dataflow.integers import ceil_div
from eapc.energy.worklist import NodeWork
from eapc.hardware import HardwareModel, Memory, with_less_room
from eapc.model import Model, Node
from eapc.operators import operator_of
from eapc.workload import Kept, StreamWorkload, Workload


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


def all_kept(
    model: Model, works: tuple[NodeWork, ...], hardware: HardwareModel
) -> tuple[Residency, int]:
    """Every feature map that could stay does, in room beside the level's own; and the most bytes.

    That room is what all feature maps that live at once take, in whole banks.
    """
    assert hardware.feature_maps_kept_in is not None
    memory = hardware.memories[hardware.feature_maps_kept_in]
    planner = _Planner(hardware, memory, lambda _, __: 0.0)
    for life in lives(model, works):
        planner.keep(life, planner.bytes_of(life))
    most = max((stay.taken_bytes for stay in planner.stays.values()), default=0)
    beside = {place: replace(stay, taken_bytes=0) for place, stay in planner.stays.items()}
    return Residency(beside, planner.tensor_bytes), most


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

    def keep(self, life: Life, size: int) -> None:
        """Keep a feature map whatever it costs."""
        self.stays.update(self._with(life, size))
        self.tensor_bytes[life.tensor] = size

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


# --- lifetimes of feature maps -------------------------------------------------------------------


_LONGEST = 64
"""Nodes with work that a life may span; bounds what a decision costs in any graph."""

Place = tuple[int, int]
"""A node's place in the work list and one of its parts."""


@dataclass(frozen=True)
class Life:
    """A feature map of `words` words, its writer, its readers and all that works meanwhile.

    A reader comes with the share of its ifmap that this feature map is; `bits` are None for the
    machine's word.
    """

    tensor: str
    words: int
    bits: int | None
    writer: Place
    readers: tuple[tuple[Place, float], ...]
    places: tuple[int, ...]


def lives(model: Model, works: tuple[NodeWork, ...]) -> Iterator[Life]:
    """The lives of the feature maps that could stay on chip, by place of the writer."""
    trace = _Trace(model, works)
    working = [place for place, item in enumerate(works) if _works(item)]
    unknown = [place for place, item in enumerate(works) if _is_unknown(item)]
    for tensor, (place, part) in trace.writers.items():
        readers = trace.readers.get(tensor)
        if tensor in trace.refused or not readers:
            continue
        last = max(reader for (reader, _), _ in readers)
        first, end = bisect_left(working, place), bisect_right(working, last)
        blocked = bisect_left(unknown, place) < bisect_right(unknown, last)
        if blocked or end - first > _LONGEST:
            continue
        load = works[place].work.parts[part].workload
        yield Life(
            tensor,
            load.ofmap_words,
            load.bits.ofmap,
            (place, part),
            tuple(readers),
            tuple(working[first:end]),
        )


def _works(item: NodeWork) -> bool:
    return not item.fused_into and any(map(_moves_words, item.work.workloads))


def _moves_words(load: Workload) -> bool:
    return bool(load.ifmap_words or load.ofmap_words)


def _is_unknown(item: NodeWork) -> bool:
    return bool(item.reason or item.node.scope or item.node.subgraphs)


class _Trace:
    """What has been seen of a work list: `sources` gives the feature maps a tensor consists of.

    By tensor and written feature map, the share of the tensor's words; the rest are constants,
    inputs of the model or what else cannot stay.
    """

    def __init__(self, model: Model, works: tuple[NodeWork, ...]) -> None:
        self._view = model.view
        self.sources: dict[str, Mapping[str, float]] = {}
        self.writers: dict[str, Place] = {}
        self.readers: dict[str, list[tuple[Place, float]]] = defaultdict(list)
        self.refused: set[str] = set()
        for place, item in enumerate(works):
            self._visit(place, item)
        for name in model.outputs:
            self._refuse(name)

    def _refuse(self, tensor: str) -> None:
        """Nothing that a tensor consists of can stay."""
        self.refused.update(self.sources.get(tensor, ()))

    def _visit(self, place: int, item: NodeWork) -> None:
        """Take in a node; those before it have been."""
        if item.node.scope or item.fused_into:
            return
        if item.operands is None or _is_unknown(item):
            for name in self._view.dependencies(item.node):
                self._refuse(name)
        elif _works(item):
            self._read(place, item)
            self._write(place, item)
        elif operator_of(item.node).kind != "source":
            self._alias(item)

    def _read(self, place: int, item: NodeWork) -> None:
        for index, name in enumerate(item.node.inputs):
            sources = self.sources.get(name)
            if not sources:
                continue
            shares = _shares(item, index)
            if not shares:
                self._refuse(name)
            for part, share in shares.items():
                for tensor, fraction in sources.items():
                    self.readers[tensor].append(((place, part), share * fraction))

    def _write(self, place: int, item: NodeWork) -> None:
        parts = item.work.parts
        wrote = [
            index
            for index, part in enumerate(parts)
            if item.ofmap_of(part) == item.ofmap and part.workload.ofmap_words
        ]
        if item.ofmap and len(wrote) == 1 and parts[wrote[0]].times == 1:
            self.writers[item.ofmap] = (place, wrote[0])
            self.sources[item.ofmap] = {item.ofmap: 1.0}

    def _alias(self, item: NodeWork) -> None:
        """A view is made of its first input, Concat of all."""
        first, *others = item.node.inputs or ("",)
        sources = self.sources.get(first, {})
        if _joined_places(item.node):
            sources = self._joined(item)
        else:
            for name in others:
                self._refuse(name)
        if sources:
            self.sources.update(dict.fromkeys(filter(None, item.node.outputs), sources))

    def _joined(self, item: NodeWork) -> Mapping[str, float]:
        places, words_of = _joined_places(item.node), _input_words(item)
        sizes = [words_of[place] for place in places]
        joined: dict[str, float] = defaultdict(float)
        for name, words in zip([item.node.inputs[at] for at in places], sizes, strict=True):
            for tensor, share in self.sources.get(name, {}).items():
                joined[tensor] += share * words / (sum(sizes) or 1)
        return joined


def _joined_places(node: Node) -> range:
    """Which inputs a Concat puts one behind the other, that of codes too; none of other nodes."""
    row = operator_of(node)
    if row.joins:
        return range(len(node.inputs))
    if row.substitute is None or row.substitute.name != "Concat":
        return range(0)
    return range(row.substitute.places[0], len(node.inputs), row.substitute.step)


def _input_words(item: NodeWork) -> list[int]:
    """Words of each input; 0 where the shape is unknown."""
    assert item.operands is not None  # the caller has seen to it
    return [0 if shape is None else math.prod(shape) for shape in item.operands.input_shapes]


def _shares(item: NodeWork, index: int) -> dict[int, float]:
    """By part, the share of its ifmap that an input is; empty where that cannot be told."""
    assert item.operands is not None  # the caller has seen to it
    parts, name = item.work.parts, item.node.inputs[index]
    if any(part.times != 1 or part.weights == name for part in parts):
        return {}
    load = parts[0].workload
    if len(parts) == 1 and isinstance(load, StreamWorkload):
        words = _input_words(item)
        moving = [i for i in range(len(words)) if not item.operands.is_constant(i)]
        if index in moving and sum(words[i] for i in moving) == load.ifmap_words:
            return {0: words[index] / load.ifmap_words} if load.ifmap_words else {}
    return {place: 1.0 for place, part in enumerate(parts) if part.ifmap == name}
