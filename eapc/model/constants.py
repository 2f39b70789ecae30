"""The constants of a graph, one answer for all: stored, seen through views, or computed of others.

A file stores a constant as an initializer or in a Constant node, dense, sparse or as plain
numbers. What nodes compute of constants alone is constant too; it is worked out when somebody
asks for its value, and then kept.

Constant folding of the small integer arithmetic that exporters build shapes from.

ONNX shape inference follows part of it (Shape, Gather, Concat); Pad amounts out of
ConstantOfShape, negative Slice steps and the like it gives up on. Here such nodes are
evaluated by onnx's reference implementation and become Constant nodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import (
    GraphProto,
    NodeProto,
    OperatorSetIdProto,
    SparseTensorProto,
    TensorProto,
    helper,
    numpy_helper,
)

from eapc.errors import ModelError
from eapc.model.graph import GraphView, Node, plain_tensors, stored_in
from eapc.model.scopes import scopes_of
from eapc.model.tensors import (
    Array,
    ShapeOf,
    Stored,
    attributes_of,
    decode,
    element_type,
    is_external,
    numpy_type,
    subgraphs_of_node,
)
from eapc.operators import operator_of

LARGEST_ELEMENTS = 4096
"""Results above this size are data, not shapes; they stay nodes."""

FOLDABLE = frozenset(
    """Abs Add And Cast CastLike Ceil Clip Concat ConstantOfShape Div Equal Expand Floor Gather
    GatherElements GatherND Greater GreaterOrEqual Identity Less LessOrEqual Max Min Mod Mul Neg
    NonZero Not Or Pow Range ReduceMax ReduceMin ReduceProd ReduceSum Reshape Round ScatterND
    Shape Size Slice Sqrt Squeeze Sub Tile Transpose Unsqueeze Where""".split()
)


def fold_constants(
    graph: GraphProto,
    shape_of: ShapeOf,
    opsets: Sequence[OperatorSetIdProto],
    outer: Mapping[str, Array] | None = None,
) -> tuple[int, Mapping[str, Array]]:
    """Turn nodes of `graph` whose value is known into Constant nodes, in place.

    `shape_of` gives the shapes known so far. Node count and order stay, subgraphs are not
    entered. Returns how many nodes were folded, and what `known_constants` are then.
    """
    known = known_constants(graph, outer or {})
    folded = 0
    for node in graph.node:
        value = _value_of(node, known, shape_of, opsets)
        if value is not None:
            known[node.output[0]] = value
            become_constant(node, numpy_helper.from_array(value))
            folded += 1
    return folded, known


def known_constants(graph: GraphProto, outer: Mapping[str, Array]) -> dict[str, Array]:
    """Values of a graph's small constants and of those around it, for its subgraphs."""
    small = {name: tensor for name, tensor in stored_in(graph).items() if _is_small(tensor)}
    return {**outer, **{name: decode(tensor, Path()) for name, tensor in small.items()}}


def _is_small(tensor: Stored) -> bool:
    data = tensor.values if isinstance(tensor, SparseTensorProto) else tensor
    return not is_external(data) and math.prod(tensor.dims) <= LARGEST_ELEMENTS


def _value_of(
    node: NodeProto,
    known: Mapping[str, Array],
    shape_of: ShapeOf,
    opsets: Sequence[OperatorSetIdProto],
) -> Array | None:
    if node.op_type not in FOLDABLE or node.domain or len(node.output) != 1:
        return None
    if node.op_type in ("Shape", "Size"):
        return shape_value(node, shape_of(node.input[0]))
    if any(name and name not in known for name in node.input) or not node.input:
        return None
    shape = shape_of(node.output[0])
    if shape is not None and math.prod(shape) > LARGEST_ELEMENTS:
        return None
    array = evaluate_node(node, {name: known[name] for name in node.input if name}, opsets)
    return array if array is not None and array.size <= LARGEST_ELEMENTS else None


def shape_value(node: NodeProto, shape: tuple[int, ...] | None) -> Array | None:
    """What a Shape or Size makes of a tensor of a shape; None where that is unknown."""
    if shape is None:
        return None
    if node.op_type == "Size":
        count = math.prod(shape)
        return np.asarray(count) if 0 <= count <= np.iinfo(np.int64).max else None
    bounds = attributes_of(node)
    start, end = bounds.get("start", 0), bounds.get("end", len(shape))
    return np.asarray(shape[start:end], np.int64)


def evaluate_node(
    node: NodeProto, feeds: Mapping[str, Array], opsets: Sequence[OperatorSetIdProto]
) -> Array | None:
    """The first result of a node by onnx's reference implementation; None where it lacks it."""
    from onnx.reference import ReferenceEvaluator

    try:
        inputs = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), None)
            for n, a in feeds.items()
        ]
        result = helper.make_tensor_value_info(node.output[0], TensorProto.UNDEFINED, None)
        graph = helper.make_graph([node], "node", inputs, [result])
        evaluator = ReferenceEvaluator(graph, {each.domain: each.version for each in opsets})
        return np.asarray(evaluator.run(None, dict(feeds))[0])  # type: ignore[index]
    except Exception:  # whatever the reference implementation lacks simply stays a node
        return None


def become_constant(node: NodeProto, value: TensorProto) -> None:
    """Turn a node into a Constant of the same name and result, in place."""
    del node.input[:]
    del node.attribute[:]
    node.op_type = "Constant"
    node.attribute.append(helper.make_attribute("value", value))


# --- constants ----------------------------------------------------------------------------------

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
        """The value of a constant; None of any other tensor, and of what cannot be worked out.

        The main graph's also know those of subgraphs, by scope and name in one.
        """
        if self._scope + name in self._weights:
            return self._weights[self._scope + name]
        if name in self._computed:
            kept = self._kept(name)
            return kept[name] if name in kept else self._folded(name)
        if self._outer is not None and name in self._outer:
            return self._outer.value(name)
        stored = self.stored.get(name)
        if stored is not None:
            return decode(stored, self._folder)
        within = self._within(name)
        if within is not None:
            return within[0].value(within[1])
        tensor = self._in_function(name)
        return None if tensor is None else decode(tensor, self._folder)

    def _in_function(self, name: str) -> onnx.TensorProto | None:
        """What a Constant node of one of the model's own functions holds."""
        return None if self._outer is not None else scopes_of(self._view).in_functions.get(name)

    def _within(self, name: str) -> tuple[Constants, str] | None:
        """The constants of the subgraph that a name with a scope is one of, and its name there."""
        inner = scopes_of(self._view).inner if self._outer is None else {}
        if name not in inner:
            return None
        scope, own = inner[name]
        return self.within(scope), own

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
        within = self._within(name)
        if within is not None:
            return within[0].shape(within[1])
        tensor = self._in_function(name)
        if tensor is not None:
            return tuple(tensor.dims)
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
        within = self._within(name)
        return self[name].dtype if within is None else within[0].dtype(within[1])

    def view_of(self, node: Node, array: Array) -> Array:
        """What a node that can be undone makes of an array, other nodes count for Identity.

        Raises KeyError for a shape or axes that are not constant, ModelError for an array
        that the node cannot be given.
        """
        try:
            return self._viewed(node, array)
        except (ValueError, IndexError) as error:
            said = f"{node.op_type} '{node.key}' does not suit a constant of shape {array.shape}"
            raise ModelError(f"{said}: {error}") from error

    def _viewed(self, node: Node, array: Array) -> Array:
        if node.op_type == "Transpose":
            return np.transpose(array, node.attribute("perm", None))
        if node.op_type in ("Squeeze", "Unsqueeze"):
            return self._with_axes(node, array)
        if node.op_type == "Flatten":
            axis = node.attribute("axis", 1)
            return array.reshape(math.prod(array.shape[:axis]), math.prod(array.shape[axis:]))
        if node.op_type != "Reshape":
            return array
        sizes = [int(size) for size in self[node.input(1)]]
        if not node.attribute("allowzero", 0):
            sizes = [array.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
        return array.reshape(sizes)

    def _with_axes(self, node: Node, array: Array) -> Array:
        """What a Squeeze or Unsqueeze makes of an array; its axes are an input from opset 13 on."""
        axes = node.attribute("axes", None)
        if node.input(1):
            axes = [int(axis) for axis in self[node.input(1)].reshape(-1)]
        if node.op_type == "Unsqueeze":
            return np.expand_dims(array, tuple(axes or ()))
        return np.squeeze(array, None if axes is None else tuple(axes))

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
        if self._outer is not None:
            cut = len(self._scope)
            found |= {name[cut:] for name in self._weights if name.startswith(self._scope)}
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
