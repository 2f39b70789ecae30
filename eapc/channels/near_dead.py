"""Near-dead weights: those whose products lie below the last bit of the sum that they are added to.

A sum y = c + w1 x1 + ... + wn xn with a constant c is rounded to bits that are worth |c| 2^-23 in
float32. Terms that come to no more than half of such a bit, all of them together and whatever
the input, change it by no more than one rounding does. How large an x can be follows from how
large the inputs of the model are (see `ranges`); c is the bias and what a BatchNormalization
or constants right behind the layer make of it, in the units of the sum. Where c is zero nothing is
near-dead. Half the last bit is the unit roundoff (Higham: Accuracy and Stability of Numerical
Algorithms, 2002, section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eapc.channels.bounded_layers import ConstantLayer, constant_layer, unmatrix
from eapc.channels.dead_channels import dead_channels
from eapc.channels.groups import ChannelGroups
from eapc.channels.intervals import Interval, product
from eapc.channels.ranges import Ranges, line_of
from eapc.model import (
    Array,
    Model,
    Node,
    Shapes,
    as_seen,
    as_stored,
    obstacle,
)

UNIT_ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
"""Half the last bit of a number, relative to it, by the type's name."""


@dataclass(frozen=True)
class NearDeadLayer:
    """How much of a layer is near-dead: its own weights, and the channels that they make."""

    node: str
    weights: int
    near_dead_weights: int
    near_dead_channels: int = 0


@dataclass(frozen=True, eq=False)
class NearDeadWeights:
    """Where a model's weights are near-dead: a boolean (shape of the constant) by its name.

    `layers` are all that were looked at, in data-flow order. `fills` tells whether some layer has
    nothing but near-dead weights and zeros for a channel that it reads or makes.
    """

    flags: Mapping[str, Array]
    layers: tuple[NearDeadLayer, ...] = ()
    fills: bool = False

    @property
    def count(self) -> int:
        """How many weights are near-dead, each constant counted once."""
        return sum(int(np.count_nonzero(flags)) for flags in self.flags.values())

    def zeroed(self, model: Model) -> Model:
        """The model with zeros in their place."""
        zero = {name: model.constants[name].copy() for name in self.flags}
        for name, flags in self.flags.items():
            zero[name][flags] = 0
        return model.with_weights(zero)


def near_dead_weights(model: Model, shapes: Shapes, limits: Mapping[str, float]) -> NearDeadWeights:
    """The near-dead weights of a model's main graph.

    `limits` are the largest magnitudes of the model's inputs, by name; one that is not named has
    none. Weights that cannot be written back, or that are read by others than layers, are none.
    """
    found = judged_layers(model, Ranges(model, shapes, limits))
    flags = {}
    for root, judgements in found.items():
        if all(judged.flags is not None for judged in judgements) and _alone(model, judgements):
            both = np.logical_and.reduce([judged.stored(model) for judged in judgements])
            if both.any():
                flags[root] = both
    return _summary(found, flags)


def judged_layers(model: Model, ranges: Ranges) -> dict[str, list[JudgedLayer]]:
    """The layers of each constant with weights, in data-flow order; fills in `ranges`."""
    found: dict[str, list[JudgedLayer]] = {}
    for node in model.view.main_nodes:
        layer = constant_layer(model, ranges, node)
        if layer is None:
            ranges.follow(node)
            continue
        judged = JudgedLayer(layer, layer.result(ranges), _flags(layer, ranges))
        ranges.set(node.outputs[0], judged.result)
        found.setdefault(layer.source.root, []).append(judged)
    return found


def near_dead_channels(
    model: Model, shapes: Shapes, weights: NearDeadWeights
) -> tuple[ChannelGroups, dict[str, Array]]:
    """The channel groups, and by name the channels that are dead once near-dead weights are zero.

    Those that are dead as it is are among them.
    """
    return dead_channels(weights.zeroed(model), shapes)


# --- layers --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class JudgedLayer:
    """What was found of a layer; `flags`, as it sees weights, are None where none is near-dead."""

    layer: ConstantLayer
    result: Interval
    flags: Array | None

    @property
    def fills(self) -> bool:
        """Whether all weights that make or read some channel are near-dead, or zeros, not all 0."""
        if self.flags is None:
            return False
        nothing = self.flags | (self.layer.weights == 0)
        return any(
            bool((nothing.all(axis) & self.flags.any(axis)).any()) for axis in ((2, 3), (1, 3))
        )

    def stored(self, model: Model) -> Array:
        """The flags in the shape of the constant."""
        layer, flags = self.layer, self.flags
        assert flags is not None  # see `near_dead_weights`
        seen = as_seen(model, layer.source)
        flat = unmatrix(flags, seen.shape, layer.layout, layer.node)
        return as_stored(model, layer.source, flat)


def _flags(layer: ConstantLayer, ranges: Ranges) -> Array | None:
    """Which weights are near-dead, as the layer sees them; None where none is, or may be told."""
    model, source = layer.model, layer.source
    unit = UNIT_ROUNDOFF.get(model.constants.dtype(source.root).name)
    low, high = layer.bias(ranges)
    if low is not high or unit is None or obstacle(model, source):
        return None
    groups, outputs, inputs, _ = layer.weights.shape
    constant = _constant_of_sum(ranges, layer.node, layer.axis(ranges), low)
    most = (unit * np.abs(constant)).reshape(groups, outputs)
    x = layer.read(ranges).magnitude.reshape(groups, inputs)
    found = _below(np.abs(layer.weights), x, most)
    return found if found.any() else None


# --- the rule ------------------------------------------------------------------------------------


def _constant_of_sum(ranges: Ranges, node: Node, axis: int, bias: Array) -> Array:
    """What is added to the products of each output, (outputs,), in units of the products.

    That is the bias; right behind it a BatchNormalization, and constants that are added,
    subtracted or multiplied by, make slope * y + offset of the sum y: then offset / slope.
    """
    slope, offset, name = np.ones(len(bias)), bias, node.outputs[0]
    while name not in ranges.model.outputs:
        readers = ranges.model.view.consumers(name)
        step = _line(ranges, readers[0], name, axis, len(bias)) if len(readers) == 1 else None
        if step is None:
            break
        slope, offset = slope * step[0], offset * step[0] + step[1]
        name = readers[0].outputs[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.where(slope == 0, np.inf, np.abs(offset / slope))
    return np.nan_to_num(found, nan=0.0, posinf=np.inf)


def _line(
    ranges: Ranges, node: Node, name: str, axis: int, size: int
) -> tuple[Array, Array] | None:
    """(slope, offset) of what a node makes of each channel of a tensor; None for other nodes."""
    rank = len(ranges.shape(name) or ())
    if node.domain or ranges.shape(node.outputs[0]) != ranges.shape(name):
        return None
    if node.op_type == "BatchNormalization":
        line = line_of(ranges, node) if axis + rank == 1 else None
        return line if line is not None and len(line[0]) == size else None
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(set(node.inputs)) != 2:
        return None
    other = next(each for each in node.inputs if each != name)
    if ranges.constant(other) is None:
        return None
    low, high = ranges.channels(other, axis, size)
    if not np.array_equal(low, high):
        return None
    return _with_constant(node, low, node.input(0) == name)


def _with_constant(node: Node, value: Array, comes_first: bool) -> tuple[Array, Array] | None:
    """(slope, offset) of x + value, x - value, value - x, x * value or x / value."""
    one, zero = np.ones(len(value)), np.zeros(len(value))
    if node.op_type == "Add":
        return one, value
    if node.op_type == "Mul":
        return value, zero
    if node.op_type == "Sub":
        return (one, -value) if comes_first else (-one, value)
    return (1 / value, zero) if comes_first and value.all() else None


def _below(magnitudes: Array, x: Array, most: Array) -> Array:
    """Weights other than zero whose products come to no more than `most` in each row, together.

    `magnitudes` (groups, outputs, inputs, taps) of weights, `x` (groups, inputs) of what they
    read, `most` (groups, outputs). Where all that are small enough alone come to more, the smallest
    are taken as long as their sum is not.
    """
    found = np.zeros(magnitudes.shape, np.bool_)
    if not _any_below(magnitudes, x, most):
        return found
    least = magnitudes.reshape(*most.shape, -1).min(axis=2)
    smallest = product(least, x.min(axis=1, keepdims=True))
    place = np.nonzero(smallest <= most)
    if not len(place[0]):
        return found
    rows, read, limits = magnitudes[place], x[place[0]], most[place]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = limits[:, None] / read
    share[read == 0] = np.inf
    flags = (rows <= share[:, :, None]) & (rows > 0)
    for row in np.flatnonzero(flags.any(axis=(1, 2))):
        terms = product(np.where(flags[row], rows[row], 0).astype(np.float64), read[row][:, None])
        if terms.sum() > limits[row]:
            flags[row] &= _smallest(terms, limits[row])
    found[place] = flags
    return found


def _any_below(magnitudes: Array, x: Array, most: Array) -> bool:
    """Whether some weight other than zero is small enough beside the largest of `most`."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = magnitudes.dtype.type(most.max(initial=0) / x.min(initial=math.inf))
    if not share < math.inf:
        return True
    few = np.count_nonzero(magnitudes <= np.nextafter(share, magnitudes.dtype.type(math.inf)))
    return bool(few > magnitudes.size - np.count_nonzero(magnitudes))


def _smallest(terms: Array, limit: float) -> Array:
    """Where the smallest terms are whose sum is no more than a limit."""
    order = np.argsort(terms, axis=None)
    fits = np.zeros(terms.size, np.bool_)
    fits[order[np.cumsum(terms.reshape(-1)[order]) <= limit]] = True
    return fits.reshape(terms.shape)


# --- what comes of it ----------------------------------------------------------------------------


def _alone(model: Model, judgements: list[JudgedLayer]) -> bool:
    """Whether nobody but these layers reads their weights."""
    sources = [judged.layer.source for judged in judgements]
    known = {judged.layer.node.key for judged in judgements}
    known |= {node.key for source in sources for node in source.chain}
    names = {name for source in sources for name in source.tensors}
    readers = {node.key for name in names for node in model.view.consumers(name)}
    return readers <= known and not names & set(model.outputs)


def _summary(found: Mapping[str, list[JudgedLayer]], flags: Mapping[str, Array]) -> NearDeadWeights:
    layers = []
    for root, (first, *_) in found.items():
        count = int(np.count_nonzero(flags[root])) if root in flags else 0
        layers.append(NearDeadLayer(first.layer.node.key, first.layer.weights.size, count))
    fills = any(judged.fills for root in flags for judged in found[root])
    return NearDeadWeights(flags, tuple(layers), fills)
