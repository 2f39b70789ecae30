"""Channels that need not be computed: those of filters of zeros, and those that nobody reads.

A filter whose weights are zeros, or which reads constant channels alone, makes a channel that is
its bias everywhere; whoever reads the channel can take it in with a bias of its own. (Where a
padded layer does, that is exact for a constant of zero, as behind a ReLU of a bias that is not
positive, and near the border it is an assumption for others.) Channels that only weights of zeros
meet are not read. Both are followed through per-element nodes of one feature map, pooling and
reshapes that leave the channels; through anything else all channels count as live.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eapc.energy.worklist import NodeWork
from eapc.model import (
    Array,
    Model,
    Node,
    find_weights,
    seen_through,
    spread_zero_points,
    zero_points,
)
from eapc.operators import operator_of
from eapc.workload import LiveShares

Flags = Array
"""A boolean of every channel of a feature map."""


@dataclass(frozen=True, eq=False)
class FilterTaps:
    """Which weights of a layer are there: (filters, channels of a group), true where one is not 0.

    `ifmap` and `ofmap` are the feature maps, whose channels are axis 1.
    """

    key: str
    ifmap: str
    ofmap: str
    taps: Flags
    groups: int

    def reading(self, flags: Flags) -> Flags:
        """Flags of the ifmap's channels, (filters, channels of a group)."""
        by_group = flags.reshape(self.groups, -1)
        return np.repeat(by_group, len(self.taps) // self.groups, axis=0)

    def read_by(self, filters: Flags) -> Flags:
        """Channels of the ifmap that some of the flagged filters have a weight for."""
        used = (self.taps & filters[:, None]).reshape(self.groups, -1, self.taps.shape[1])
        read: Flags = used.any(axis=1).reshape(-1)
        return read

    @property
    def channels(self) -> int:
        """Channels of the ifmap."""
        return self.groups * int(self.taps.shape[1])


def live_shares(model: Model, works: Sequence[NodeWork]) -> dict[str, LiveShares]:
    """What is live of each layer with constant weights in the main graph, by node key."""
    steps = list(_steps(model, works))
    varying = _varying(steps)
    read = _read(steps, model.outputs)
    found = {}
    for step in steps:
        if isinstance(step, FilterTaps):
            filters = _of(varying, step.ofmap, len(step.taps)) & _of(
                read, step.ofmap, len(step.taps)
            )
            inputs = _of(varying, step.ifmap, step.channels) & _of(read, step.ifmap, step.channels)
            pairs = step.reading(inputs) & filters[:, None]
            found[step.key] = LiveShares(float(filters.mean()), float(pairs.mean()))
    return found


Step = FilterTaps | tuple[tuple[str, ...], tuple[str, ...], bool]
"""A layer, or a node's feature maps read and written, and whether channels go straight through."""


def _steps(model: Model, works: Sequence[NodeWork]) -> Iterator[Step]:
    for item in works:
        if item.node.scope:
            continue
        layer = _taps(model, item)
        if layer is not None:
            yield layer
            continue
        read = tuple(
            name
            for name in model.view.dependencies(item.node)
            if name and find_weights(model, name) is None
        )
        straight = len(read) == 1 and len(item.node.outputs) == 1 and _keeps_channels(item)
        yield read, tuple(item.node.outputs), straight


def _keeps_channels(item: NodeWork) -> bool:
    """Whether axis 1 of the result has the channels of axis 1 of the one feature map."""
    row, operands = operator_of(item.node), item.operands
    if operands is None:
        return False
    given, made = operands.input_shapes[0], operands.output_shapes[0]
    if given is None or made is None or len(given) < 2 or len(made) < 2 or given[1] != made[1]:
        return False
    if row.kind == "pooling" or (row.fuses and given == made):
        return True
    flat = math.prod(given[2:]) == math.prod(made[2:]) == 1
    return item.node.op_type in ("Reshape", "Flatten", "Squeeze") and flat


def _taps(model: Model, item: NodeWork) -> FilterTaps | None:
    """A layer over axis 1 of its feature maps; None for all else."""
    node, layout = item.node, operator_of(item.node).weights
    if layout is None or item.operands is None or not item.work.parts:
        return None
    weights = item.work.parts[0].weights
    if weights != node.input(layout.operand):  # W @ x: channels run along another axis
        return None
    flags = _nonzero(model, node, weights) if len(item.work.parts) == 1 and weights else None
    shape, made = item.operands.input_shapes[0], item.operands.output_shapes[0]
    if flags is None or shape is None or made is None or min(len(shape), len(made)) < 2:
        return None
    if layout.channel_axis(len(made)) + len(made) != 1:
        return None
    outputs, inputs = layout.axes(node.attributes, flags.ndim)
    groups = layout.groups(node.attributes)
    if groups > 1 and outputs != 0:
        return None
    taps = np.moveaxis(flags, (outputs, inputs), (0, 1))
    taps = np.any(taps.reshape(*taps.shape[:2], -1), axis=2)
    if (len(taps), groups * taps.shape[1]) != (made[1], shape[1]) or len(taps) % groups:
        return None
    return FilterTaps(node.key, item.work.ifmap, node.outputs[0], taps, groups)


def _nonzero(model: Model, node: Node, weights: str) -> Flags | None:
    """Where a node's constant weights are not zero, with the axes that the layer sees."""
    source = find_weights(model, weights)
    if source is None:
        return None
    root, own = model.constants[source.root], zero_points(node).get(weights)
    dequantize = next((n for n in source.chain if n.op_type == "DequantizeLinear"), None)
    tensor, axis, block = (own.tensor, own.axis, 1) if own else ("", 0, 1)
    if dequantize is not None and dequantize.input(2):
        tensor, axis = dequantize.input(2), dequantize.attribute("axis", 1)
        block = dequantize.attribute("block_size", 0) or 1
    zero = model.constants.value(tensor) if tensor else np.zeros(1, root.dtype)
    if zero is None:
        return None
    flags = np.asarray(root != spread_zero_points(zero, root.shape, axis, block))
    seen: Flags = seen_through(model, source, flags)
    return seen


def _varying(steps: Sequence[Step]) -> Mapping[str, Flags]:
    """Channels that are no constants, by feature map; front to back."""
    found: dict[str, Flags] = {}
    for step in steps:
        if isinstance(step, FilterTaps):
            inputs = _of(found, step.ifmap, step.channels)
            found[step.ofmap] = np.any(step.taps & step.reading(inputs), axis=1)
        elif step[2] and step[0][0] in found:
            found[step[1][0]] = found[step[0][0]]
    return found


def _read(steps: Sequence[Step], outputs: Sequence[str]) -> Mapping[str, Flags]:
    """Channels that somebody reads, by feature map; back to front."""
    found: dict[str, Flags] = {}
    whole = set(outputs)

    def add(tensor: str, flags: Flags | None) -> None:
        if flags is None:
            whole.add(tensor)
        else:
            found[tensor] = found[tensor] | flags if tensor in found else flags

    for step in reversed(steps):
        if isinstance(step, FilterTaps):
            wanted = np.ones(len(step.taps), np.bool_)
            if step.ofmap not in whole:
                wanted = _of(found, step.ofmap, len(step.taps))
            add(step.ifmap, step.read_by(wanted))
            continue
        read, written, straight = step
        known = straight and written[0] not in whole and written[0] in found
        for tensor in read:
            add(tensor, found[written[0]] if known else None)
    return {name: flags for name, flags in found.items() if name not in whole}


def _of(found: Mapping[str, Flags], tensor: str, count: int) -> Flags:
    """The flags of a feature map; all true where they are not known."""
    flags = found.get(tensor)
    return np.ones(count, np.bool_) if flags is None or len(flags) != count else flags
