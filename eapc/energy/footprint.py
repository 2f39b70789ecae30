"""Whether a network fits the memories that have to hold it whole: weights and feature maps.

A feature map takes its room from the node that writes it to its last reader; what is fused into a
node, and views, share the room of what they read. Nothing else is done in place, so a library
that works in place may need less; its code, buffers of its kernels, scales and biases come on
top.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eapc.energy.worklist import NodeWork
from eapc.hardware import HardwareModel
from eapc.model import Model, find_weights
from eapc.operators import operator_of


@dataclass(frozen=True)
class Footprint:
    """Bytes of all weights, and by node key of the feature maps that are alive while it runs.

    `levels` are the memories that hold the two, `sizes` their bytes.
    """

    levels: tuple[str, str]
    sizes: tuple[int, int]
    weight_bytes: int
    feature_map_bytes: Mapping[str, int]

    @property
    def peak(self) -> tuple[str, int]:
        """The node at which most is alive, and its bytes."""
        return max(self.feature_map_bytes.items(), key=lambda one: one[1], default=("", 0))

    @property
    def shortfalls(self) -> tuple[str, ...]:
        """What does not fit, in a line each."""
        weights, maps = self.levels
        found = []
        if self.weight_bytes > self.sizes[0]:
            found.append(
                f"weights take {self.weight_bytes:,} bytes, {weights} has {self.sizes[0]:,}"
            )
        node, most = self.peak
        if most > self.sizes[1]:
            found.append(
                f"feature maps take {most:,} bytes at '{node}', {maps} has {self.sizes[1]:,}"
            )
        return tuple(f"does not fit this machine: {line}" for line in found)


def footprint(
    model: Model, works: Sequence[NodeWork], hardware: HardwareModel, batch: int = 1
) -> Footprint | None:
    """What a network needs of a machine whose memories hold it whole; None for others.

    One inference at a time: feature maps of a batch count as those of one inference.
    """
    levels = hardware.machine.homes
    if levels is None:
        return None
    main = [item for item in works if not item.node.scope]
    sizes = tuple(hardware.memories[level].size_bytes or 0 for level in levels)
    alive = {key: math.ceil(size / batch) for key, size in _alive(model, main, hardware).items()}
    return Footprint(levels, (sizes[0], sizes[1]), _weight_bytes(model, works, hardware), alive)


def _weight_bytes(model: Model, works: Sequence[NodeWork], hardware: HardwareModel) -> int:
    """Each constant once, at the width that it is worked with."""
    found: dict[str, float] = {}
    for item in works:
        for part in item.work.parts:
            source = find_weights(model, part.weights) if part.weights else None
            if source is not None:
                bits = part.workload.bits.weights or hardware.word_bits
                root = model.constants.shape(source.root) or ()
                found[source.root] = math.prod(root) * bits / 8
    return math.ceil(sum(found.values()))


class _Rooms:
    """The rooms that tensors lie in, each with its bytes, first and last place of use."""

    def __init__(self, hardware: HardwareModel) -> None:
        self._word = hardware.word_bits
        self._rooms: dict[str, tuple[str, ...]] = {}
        self._size: dict[str, float] = {}
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}

    def use(self, tensor: str, place: int, words: int, bits: int | None) -> None:
        """A tensor is read or written at a place; its first user says how large its room is."""
        for room in self._rooms.setdefault(tensor, (tensor,)):
            self._size.setdefault(room, words * (bits or self._word) / 8)
            self._first.setdefault(room, place)
            self._last[room] = place

    def share(self, tensor: str, others: Sequence[str], place: int) -> None:
        """A tensor lies in the rooms of others, which are in use at a place."""
        rooms = [room for other in others for room in self._rooms.get(other, (other,))]
        self._rooms[tensor] = tuple(dict.fromkeys(rooms))
        self._last.update({room: place for room in rooms if room in self._last})

    def keep(self, tensor: str) -> None:
        """A tensor is used by whoever runs the network, after all nodes."""
        rooms = self._rooms.get(tensor, ())
        self._last.update({room: sys.maxsize for room in rooms if room in self._last})

    def alive(self, place: int) -> float:
        """Bytes of all rooms in use at a place."""
        return sum(
            size
            for room, size in self._size.items()
            if self._first[room] <= place <= self._last[room]
        )


def _alive(model: Model, works: Sequence[NodeWork], hardware: HardwareModel) -> dict[str, float]:
    """Bytes of feature maps alive at each node that moves words."""
    rooms, places = _Rooms(hardware), {}
    for place, item in enumerate(works):
        computed = [name for name in model.view.dependencies(item.node) if _is_fed(model, name)]
        if _works(item):
            places[item.node.key] = place
            _use_operands(rooms, item, place, computed)
        elif computed:
            for name in item.node.outputs:
                rooms.share(name, computed, place)
    for name in model.outputs:
        rooms.keep(name)
    return {key: rooms.alive(place) for key, place in places.items()}


def _use_operands(rooms: _Rooms, item: NodeWork, place: int, computed: Sequence[str]) -> None:
    assert item.operands is not None  # only nodes with operands move words
    shapes = dict(zip(item.node.inputs, item.operands.input_shapes, strict=False))
    load = item.work.parts[0].workload
    for name in computed:
        rooms.use(name, place, math.prod(shapes.get(name) or ()), load.bits.ifmap)
    last = item.work.parts[-1].workload
    for name, shape in zip(item.node.outputs, item.operands.output_shapes, strict=False):
        if name:
            rooms.use(name, place, math.prod(shape or ()), last.bits.ofmap)


def _works(item: NodeWork) -> bool:
    """Whether a node writes a feature map of its own; real numbers to integers is not that."""
    moves = any(load.ofmap_words for load in item.work.workloads)
    quantizes = operator_of(item.node).kind == "quantization"
    return moves and not item.fused_into and not quantizes and item.operands is not None


def _is_fed(model: Model, name: str) -> bool:
    return bool(name) and find_weights(model, name) is None
