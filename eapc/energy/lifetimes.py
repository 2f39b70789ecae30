"""Which feature maps could stay on chip: who writes each, who reads it, and what runs meanwhile.

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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eapc.energy.worklist import NodeWork
from eapc.model import Model
from eapc.operators import operator_of
from eapc.workload import StreamWorkload, Workload

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
        if operator_of(item.node).joins:
            sources = self._joined(item)
        else:
            for name in others:
                self._refuse(name)
        if sources:
            self.sources.update(dict.fromkeys(filter(None, item.node.outputs), sources))

    def _joined(self, item: NodeWork) -> Mapping[str, float]:
        sizes = _input_words(item)
        joined: dict[str, float] = defaultdict(float)
        for name, words in zip(item.node.inputs, sizes, strict=True):
            for tensor, share in self.sources.get(name, {}).items():
                joined[tensor] += share * words / (sum(sizes) or 1)
        return joined


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
