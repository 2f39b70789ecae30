"""The constants of a graph, one answer for all: stored, seen through views, or computed of others.

A file stores a constant as an initializer or in a Constant node, dense, sparse or as plain
numbers. What nodes compute of constants alone is constant too; it is worked out when somebody
asks for its value, and then kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from eapc.model.folding import FOLDABLE, LARGEST_ELEMENTS, evaluate_node, shape_value
from eapc.model.graph import GraphView, Node, plain_tensors, stored_in
from eapc.model.tensors import (
    Array,
    Stored,
    decode,
    element_type,
    numpy_type,
    subgraphs_of_node,
)
from eapc.operators import operator_of

ARITHMETIC = FOLDABLE | frozenset(
    """Einsum Elu Erf Exp Flatten Gemm HardSigmoid Log LpNormalization MatMul Mean Pad Reciprocal
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean ReduceSumSquare Relu Sigmoid Sign
    Softplus Sum Tanh""".split()
)
"""Operators whose result is constant where all that they read is."""


class Constants:
    """The constants that the nodes of a graph see, those of the graphs around it included.

    `weights` are new values of the main graph's, which go before the file's. Nothing is read
    or computed before somebody asks for it, and of names and shapes nobody needs to.
    """

    def __init__(
        self,
        view: GraphView,
        folder: Path,
        weights: Mapping[str, Array],
        inner: tuple[str, onnx.GraphProto, Constants] | None = None,
    ) -> None:
        self._view, self._folder, self._weights = view, folder, weights
        self._scope, self._graph = inner[:2] if inner else ("", view.proto.graph)
        self._outer = inner[2] if inner else None
        self._own: dict[str, Array | None] = {}

    def within(self, scope: str) -> Constants:
        """The constants that the nodes of a scope see; to ask of the main graph's."""
        return self._by_scope[scope]

    @cached_property
    def _by_scope(self) -> Mapping[str, Constants]:
        found = {"": self}
        for node in self._view.nodes:
            graphs = subgraphs_of_node(self._view.node_proto(node)) if node.subgraphs else []
            for scope, graph in zip(node.subgraphs, graphs, strict=True):
                inner = (scope, graph, found[node.scope])
                found[scope] = Constants(self._view, self._folder, self._weights, inner)
        return found

    @cached_property
    def stored(self) -> Mapping[str, Stored]:
        """What the file stores, by name."""
        outer = {} if self._outer is None else self._outer.stored
        return {**outer, **stored_in(self._graph)}

    @cached_property
    def plain(self) -> Mapping[str, onnx.TensorProto]:
        """The dense tensors that the graph itself stores, by name: they can be written into."""
        return plain_tensors(self._graph)

    def __contains__(self, name: object) -> bool:
        known = name in self.stored or name in self._computed
        return known or (self._outer is not None and name in self._outer)

    def __getitem__(self, name: str) -> Array:
        """The value of a tensor that is known to be constant; KeyError for any other."""
        value = self.value(name)
        if value is None:
            raise KeyError(name)
        return value

    def value(self, name: str) -> Array | None:
        """The value of a constant; None of any other tensor, and of what cannot be worked out."""
        if name in self._weights:
            return self._weights[name]
        if name in self._computed:
            kept = self._kept(name)
            return kept[name] if name in kept else self._folded(name)
        if self._outer is not None and name in self._outer:
            return self._outer.value(name)
        stored = self.stored.get(name)
        return None if stored is None else decode(stored, self._folder)

    def scalar(self, name: str) -> float | None:
        """The number that a constant of one element is, whatever its rank; else None."""
        value = self.value(name)
        return None if value is None or value.size != 1 else float(value.reshape(-1)[0])

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a constant, from which nothing is read for it where the file stores it."""
        stored = self.stored.get(name)
        if stored is not None:
            return tuple(stored.dims)
        node = self._computed.get(name)
        if node is not None and operator_of(node).invertible:
            before = self.shape(node.input(0))
            return None if before is None else self.view_of(node, np.empty(before, bool)).shape
        value = self.value(name)
        return None if value is None else value.shape

    def dtype(self, name: str) -> np.dtype[Any]:
        """The type of a constant's elements; KeyError for any other tensor."""
        stored = self.stored.get(name)
        if stored is not None:
            return numpy_type(element_type(stored))
        node = self._computed.get(name)
        if node is not None and operator_of(node).invertible:
            return self.dtype(node.input(0))
        return self[name].dtype

    def view_of(self, node: Node, array: Array) -> Array:
        """What a node that can be undone makes of an array, other nodes count for Identity.

        Raises KeyError for a Reshape to a shape that is not constant.
        """
        if node.op_type == "Transpose":
            return np.transpose(array, node.attribute("perm", None))
        if node.op_type != "Reshape":
            return array
        sizes = [int(size) for size in self[node.input(1)]]
        if not node.attribute("allowzero", 0):
            sizes = [array.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
        return array.reshape(sizes)

    # --- what nodes compute ----------------------------------------------------------------------

    @cached_property
    def _computed(self) -> dict[str, Node]:
        """The nodes of this graph that compute constants, by what they write."""
        found: dict[str, Node] = {}
        for node in self._view.by_scope.get(self._scope, ()):
            if node.domain or node.op_type not in ARITHMETIC or len(node.outputs) != 1:
                continue
            read = [name for name in node.inputs if name]
            if read and all(self._is_fixed(node, name, found) for name in read):
                found[node.outputs[0]] = node
        return found

    def _is_fixed(self, reader: Node, name: str, computed: Mapping[str, Node]) -> bool:
        """True for a constant; one that may be fed is none to compute with."""
        if name in self._view.replaceable and not operator_of(reader).invertible:
            return False
        known = name in computed or name in self.stored
        return known or (self._outer is not None and name in self._outer)

    @cached_property
    def _changed(self) -> frozenset[str]:
        """Constants with new weights, and those that are computed of them."""
        found = set(self._weights if self._outer is None else self._outer._changed)
        for name, node in self._computed.items() if found else ():
            if not found.isdisjoint(node.inputs):
                found.add(name)
        return frozenset(found)

    def _folded(self, name: str) -> Array | None:
        """A computed constant; all models of a file share those that no new weights go into."""
        cone = self._cone(name)
        with np.errstate(all="ignore"):
            for made, node in cone:
                self._kept(made)[made] = self._result(node)
        value = self._kept(name)[name]
        for made, _ in cone[:-1]:
            on_the_way = self._kept(made)[made]
            if on_the_way is not None and on_the_way.size > LARGEST_ELEMENTS:
                del self._kept(made)[made]
        return value

    def _kept(self, name: str) -> dict[str, Array | None]:
        return self._own if name in self._changed else self._view.folded[self._scope]

    def _cone(self, name: str) -> list[tuple[str, Node]]:
        """What is still to be computed for a constant, by which nodes; the constant itself last."""
        needed, found = {name}, []
        for made, node in reversed(self._computed.items()):
            if made in needed and made not in self._kept(made):
                needed.update(node.inputs)
                found.append((made, node))
        return found[::-1]

    def _result(self, node: Node) -> Array | None:
        if node.op_type in ("Shape", "Size"):
            return shape_value(self._view.node_proto(node), self.shape(node.input(0)))
        feeds = {name: self.value(name) for name in node.inputs if name}
        known = {name: value for name, value in feeds.items() if value is not None}
        if len(known) < len(feeds):
            return None
        opsets = self._view.proto.opset_import
        return evaluate_node(self._view.node_proto(node), known, opsets)
