"""Zeros of activations over a dataset: how many there are, and in which MACs they meet weights.

One run of the network serves both. Only one batch of activations is in memory at a time, and
what stays of it is a few sums per tensor and node.

Zeros of a model's weights, each tensor counted once however many layers read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eapc.data import Dataset
from eapc.energy.given import DensityTable
from eapc.energy.worklist import NodeWork, activation_tensors
from eapc.errors import ModelError
from eapc.model import (
    Array,
    Model,
    Node,
    Shapes,
    all_finite,
    count_nonzero,
    count_packed,
    find_weights,
    infer_shapes,
    is_packed,
    spread_zero_points,
    zero_points,
)
from eapc.runtime import Session, feed_size, with_outputs
from eapc.workload import Counting, MacFractions, Reduction, Shape, counting_of, pairs


class Counts(NamedTuple):
    """An operand's non-zeros, summed as a node's counting asks, and its shape."""

    nonzero: Array
    shape: Shape


@dataclass(frozen=True, eq=False)
class CountedOperand:
    """An operand, how its non-zeros are summed, and the sums if it is a constant."""

    tensor: str
    way: Reduction
    fixed: Counts | None = None


@dataclass(eq=False)
class CountedNode:
    """A node whose MACs are counted, and the sums so far.

    An ifmap of other extents than expected makes the count void: `fractions` is then None.
    """

    key: str
    counting: Counting
    left: CountedOperand
    right: CountedOperand
    ifmap_is_left: bool
    both: float = 0.0
    ifmap: float = 0.0
    macs: float = 0.0
    fits: bool = True
    reads: Array | None = None
    """Where weights are constant: non-zeros of the ifmap that each of them meets."""

    def add(self, measured: Mapping[tuple[str, Reduction], Counts]) -> None:
        """Count the MACs of a batch."""
        left, right = (
            operand.fixed or measured[operand.tensor, operand.way]
            for operand in (self.left, self.right)
        )
        self.fits = self.fits and self.counting.fits(left.shape)
        if not self.fits:
            return
        unrolled = self.counting.unrolled(left.nonzero)
        self.both += pairs(unrolled, right.nonzero)
        if self.has_weights:
            lacking = range(unrolled.ndim - right.nonzero.ndim)  # leading axes of the ifmap
            met = unrolled.sum(axis=tuple(lacking))
            self.reads = met if self.reads is None else self.reads + met
        if self.ifmap_is_left:
            self.ifmap += pairs(unrolled, self.right.way.of_dense(right.shape))
        else:
            self.ifmap += pairs(self.left.way.of_dense(left.shape), right.nonzero)
        self.macs += self.counting.macs(left.shape, right.shape)

    @property
    def has_weights(self) -> bool:
        """Whether a constant is multiplied from the right."""
        return self.ifmap_is_left and self.right.fixed is not None

    def with_weights(self, nonzero: Array) -> MacFractions:
        """The fractions if other weights, of which these flags tell the zeros, met the ifmap."""
        assert self.reads is not None  # see `measured_table`
        both = pairs(self.reads, self.right.way(nonzero))
        return MacFractions(both / self.macs, self.ifmap / self.macs)

    @property
    def fractions(self) -> MacFractions | None:
        """Of all its MACs so far."""
        if not self.fits or not self.macs:
            return None
        return MacFractions(self.both / self.macs, self.ifmap / self.macs)


_MEASURABLE = "fiub"
"""Kinds of types; numpy lacks others, such as bfloat16."""


def measured_table(
    model: Model, works: Sequence[NodeWork], data: Dataset, threads: int = 0
) -> DensityTable:
    """Densities of a work list's activations and its MACs without zeros, measured on `data`."""
    names = activation_tensors(tuple(works))
    shapes = infer_shapes(model, data.shapes(1))
    specs = shapes.by_scope[""]
    tensors = [
        name
        for name in names
        if not _is_constant(model, name)
        and (name not in specs or specs[name].dtype.kind in _MEASURABLE)
    ]
    nodes = tuple(_counted_nodes(model, works, shapes, frozenset(tensors)))
    zeros = {
        name: zero.tensor for n in model.view.main_nodes for name, zero in zero_points(n).items()
    }
    densities = measure_densities(model, data, tensors, threads, zeros, nodes)
    counted = [(node, node.fractions) for node in nodes]
    return DensityTable(
        densities,
        macs={node.key: macs for node, macs in counted if macs},
        macs_with={
            node.key: node.with_weights for node, macs in counted if macs and node.has_weights
        },
    )


def _counted_nodes(
    model: Model, works: Iterable[NodeWork], shapes: Shapes, measured: frozenset[str]
) -> Iterator[CountedNode]:
    """The nodes that can be counted: both operands are measured or constant."""
    for item in works:
        node = item.node
        if node.scope or not item.work.parts:
            continue
        found = counting_of(node, shapes.main)
        if found is None:
            continue
        counting, *names = found
        left, right = (
            CountedOperand(name, way) if name in measured else _constant(model, node, name, way)
            for name, way in zip(names, (counting.left, counting.right), strict=True)
        )
        if left is not None and right is not None:
            is_left = left.tensor == item.work.ifmap
            yield CountedNode(node.key, counting, left, right, is_left)


def _is_constant(model: Model, name: str) -> bool:
    """True for what the file stores or computes of constants, rather than sees them through."""
    source = find_weights(model, name)
    return source is not None and not source.chain


def _constant(model: Model, node: Node, name: str, way: Reduction) -> CountedOperand | None:
    """A constant operand; None if its values or its zero points are not known."""
    if not _is_constant(model, name):
        return None
    values, zero = model.constants[name], zero_points(node).get(name)
    zeros = model.constants.value(zero.tensor) if zero else np.zeros(1, np.int8)
    if zeros is None:
        return None
    flags = values != spread_zero_points(zeros, values.shape, zero.axis if zero else 0)
    return CountedOperand(name, way, Counts(way(flags), flags.shape))


def measure_densities(
    model: Model,
    data: Dataset,
    tensors: Sequence[str],
    threads: int = 0,
    zeros: Mapping[str, str] | None = None,
    nodes: Sequence[CountedNode] = (),
) -> dict[str, float]:
    """Fraction of non-zero elements of each named tensor over a dataset; `nodes` count along.

    `zeros` names the tensor that holds what zero is in a quantized one. Operands of
    `nodes` that are no constants must be among the tensors. What turns out to be no dense
    tensor is left out.
    """
    zero_of = {name: (zeros or {}).get(name, "") for name in tensors}
    ways: dict[str, set[Reduction]] = {name: set() for name in tensors}
    for operand in (operand for node in nodes for operand in (node.left, node.right)):
        ways.setdefault(operand.tensor, set()).add(operand.way)
    nonzero = dict.fromkeys(tensors, 0)
    elements = dict.fromkeys(tensors, 0)
    for values in _batches(model, data, [*tensors, *zero_of.values()], threads):
        counts: dict[tuple[str, Reduction], Counts] = {}
        for name in tensors:
            if not isinstance(values[name], np.ndarray):
                continue
            flags = values[name] != (values[zero_of[name]] if zero_of[name] else 0)
            nonzero[name] += int(np.count_nonzero(flags))
            elements[name] += flags.size
            counts.update({(name, way): Counts(way(flags), flags.shape) for way in ways[name]})
        for node in nodes:
            node.add(counts)
    return {name: nonzero[name] / elements[name] for name in tensors if elements[name]}


def _batches(
    model: Model, data: Dataset, tensors: Sequence[str], threads: int
) -> Iterator[Mapping[str, Array]]:
    """Values of tensors, fed or computed, batch by batch; empty names are passed over."""
    computed = [name for name in dict.fromkeys(tensors) if name and name not in data.specs]
    proto = with_outputs(model.to_proto(embed=True), computed)
    session = Session(proto, threads, optimise=False) if computed else None
    for feed in data.batches(max(1, feed_size(model, data) // 4)):
        yield {**feed, **(session.run(feed) if session else {})}


# --- zeros of weights ----------------------------------------------------------------------------


class WeightCounts:
    """Zeros of the weights met so far; raises ModelError where they hold NaN or infinity."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._counts: dict[str, tuple[int, int]] = {}

    def density(self, node: Node, tensor: str) -> float | None:
        """Density of a constant weight tensor; None if `tensor` is an activation."""
        counted = self._count(node, tensor) if tensor else None
        if counted is None:
            return None
        nonzero, elements = counted
        return nonzero / elements if elements else 1.0

    def totals(self) -> tuple[int, int]:
        """(elements, non-zero elements) of all weights met."""
        counts = self._counts.values()
        return sum(elements for _, elements in counts), sum(nonzero for nonzero, _ in counts)

    def _count(self, node: Node, tensor: str) -> tuple[int, int] | None:
        constants = self._model.constants
        if is_packed(node, tensor):
            return self._count_packed(node, tensor)
        if tensor not in constants and tensor in constants.within(node.scope):
            return self._count_inner(node.scope, tensor)
        source = find_weights(self._model, tensor)
        if source is None:
            return None
        if source.root not in self._counts:
            self._require_finite(source.root, constants[source.root])
            zero = zero_points(node).get(tensor)
            zeros = constants.value(zero.tensor) if zero else None
            axis = zero.axis if zero else 0
            self._counts[source.root] = count_nonzero(self._model, source, zeros, axis)
        return self._counts[source.root]

    def _count_packed(self, node: Node, tensor: str) -> tuple[int, int] | None:
        name = tensor if tensor in self._model.constants else node.scope + tensor
        if name not in self._counts:
            counted = count_packed(self._model.constants.within(node.scope), node)
            if counted is None:
                return None
            self._counts[name] = counted
        return self._counts[name]

    def _count_inner(self, scope: str, tensor: str) -> tuple[int, int] | None:
        if scope + tensor not in self._counts:
            value = self._model.constants.within(scope).value(tensor)
            if value is None:
                return None
            self._require_finite(tensor, value)
            self._counts[scope + tensor] = (int(np.count_nonzero(value)), value.size)
        return self._counts[scope + tensor]

    def _require_finite(self, name: str, value: Array) -> None:
        if not all_finite(value):
            raise ModelError(f"{self._model.name}: weights '{name}' hold NaN or infinity")
