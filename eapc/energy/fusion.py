"""Which per-element nodes a machine works on before it writes their producer's result.

A group is a producer (the host) and per-element nodes behind it that read nothing but
constants and each other, back to the host's result; all of it but one final tensor stays
within the group. ReLU is the plain case; a Gelu of five nodes, x * sigmoid(x) and the like
are groups too, although they read the host's result twice.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterator
from typing import NamedTuple

from eapc.model import Model, Node, Shapes
from eapc.operators import operator_of

_LOOKAHEAD = 16
"""Nodes a group may grow by without coming down to one tensor; bounds the work per host."""


class Group(NamedTuple):
    """The nodes fused into a host, in file order, and the tensor that is written in the end."""

    fused: tuple[Node, ...]
    written: str


class Fusion:
    """Finds the groups of a model's main graph; `constants` are the tensors that never change."""

    def __init__(self, model: Model, shapes: Shapes, constants: Collection[str]) -> None:
        self._view = model.view
        self._outputs = frozenset(model.outputs)
        self._shapes = shapes
        self._constants = constants
        self._place = {node: place for place, node in enumerate(model.view.main_nodes)}

    def group(self, result: str) -> Group | None:
        """The longest group behind a host's result, or None where nothing can be fused."""
        outside = {result: self._readers(result)}
        leaving = {result}
        fused: list[Node] = []
        best, written = 0, result
        for node in self._candidates(result, outside):
            fused.append(node)
            for name in self._computed(node):
                outside[name] -= 1
                if not outside[name]:
                    leaving.discard(name)
            outside[node.outputs[0]] = self._readers(node.outputs[0])
            leaving.add(node.outputs[0])
            if len(leaving) == 1:
                best, (written,) = len(fused), leaving
            if len(fused) - best >= _LOOKAHEAD:
                break
        return Group(tuple(fused[:best]), written) if best else None

    def _candidates(self, result: str, group: Collection[str]) -> Iterator[Node]:
        """Nodes that can join, in file order; `group` grows with each that is yielded."""
        size = self._size(result)
        seen = set(self._view.consumers(result))
        heap = [(self._place[node], node) for node in seen]
        heapq.heapify(heap)
        while heap:
            _, node = heapq.heappop(heap)
            if not self._joins(node, group, size):
                continue
            yield node
            for reader in self._view.consumers(node.outputs[0]):
                if reader not in seen:
                    seen.add(reader)
                    heapq.heappush(heap, (self._place[reader], reader))

    def _joins(self, node: Node, group: Collection[str], size: int | None) -> bool:
        if not operator_of(node).fuses or size is None:
            return False
        within = all(name in group for name in self._computed(node))
        return within and self._size(node.outputs[0]) == size

    def _computed(self, node: Node) -> set[str]:
        return {name for name in node.inputs if name and name not in self._constants}

    def _readers(self, tensor: str) -> int:
        """How many have use for a tensor; being an output of the model is one use."""
        return len(self._view.consumers(tensor)) + (tensor in self._outputs)

    def _size(self, tensor: str) -> int | None:
        shape = self._shapes.main(tensor)
        return None if shape is None else math.prod(shape)
