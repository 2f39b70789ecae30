"""The graph of a model, to navigate: nodes with stable keys, producers, consumers, constants.

`onnx_graphsurgeon` supplies who writes what; the proto stays the truth beside it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import numpy_helper
from onnx_graphsurgeon.logger import G_LOGGER

from eapc.errors import ModelError
from eapc.model.refusals import explained
from eapc.model.tensors import (
    Array,
    Stored,
    TensorSpec,
    attributes_of,
    spec_of,
    subgraphs_of_attribute,
    subgraphs_of_node,
)

REPLACEABLE_FROM = 4
"""IR version from which an initializer that is no input is a constant, and one that is, is none."""


T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Node:
    """A node as passes see it; `key` names it once in the whole model.

    The key is the node's name where that is unique and not empty, else its first output;
    within a subgraph it follows `<key of the enclosing node>/<attribute>/`, the node's `scope`.
    """

    key: str
    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    scope: str = ""
    subgraphs: tuple[str, ...] = ()

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute's value, or `default` where the node does not have it."""
        return self.attributes.get(name, default)

    def input(self, index: int) -> str:
        """The name of an input; empty where an optional input is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""


class Analyses:
    """What has been worked out, by what was asked."""

    def __init__(self) -> None:
        self._found: dict[object, Any] = {}

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What `make` returns, from the first call on with this key."""
        if key not in self._found:
            self._found[key] = make()
        found: T = self._found[key]
        return found


class GraphView:
    """Who writes and who reads each tensor of a model's main graph; never changes."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto = proto
        self.folded: dict[str, dict[str, Array | None]] = defaultdict(dict)
        """Values of the file's computed constants, by scope and name, once they are asked for."""
        self.analyses = Analyses()
        """What else is known of the graph, which no new weights change."""

    @cached_property
    def surgeon(self) -> gs.Graph:
        """The onnx_graphsurgeon view; to read only."""
        G_LOGGER.severity = G_LOGGER.CRITICAL  # it prints to stdout, which is for results
        try:
            return gs.import_onnx(self.proto)
        except Exception as error:  # whatever a graph library makes of a malformed graph
            said = explained(error, "onnx-graphsurgeon")
            raise ModelError(f"the graph cannot be read: {said}") from error

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators that the model imports; 0 where it imports none."""
        entries = self.proto.opset_import
        return next((e.version for e in entries if e.domain in ("", "ai.onnx")), 0)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node in file order; a node's subgraphs follow it."""
        return tuple(self._keyed)

    @cached_property
    def main_nodes(self) -> tuple[Node, ...]:
        """The nodes of the main graph alone, in file order."""
        return tuple(self.by_scope[""])

    @cached_property
    def by_scope(self) -> Mapping[str, Sequence[Node]]:
        """The nodes of the main graph and of each subgraph that has some, in file order."""
        found: dict[str, list[Node]] = {"": []}
        for node in self.nodes:
            found.setdefault(node.scope, []).append(node)
        return found

    @cached_property
    def _keyed(self) -> dict[Node, onnx.NodeProto]:
        return dict(walk(self.proto.graph))

    @cached_property
    def _node_by_key(self) -> dict[str, Node]:
        return {node.key: node for node in self.nodes}

    def node(self, key: str) -> Node:
        """The node with a key."""
        return self._node_by_key[key]

    def producer(self, tensor: str) -> Node | None:
        """The main-graph node that writes a tensor; None for inputs and initializers."""
        return self._producers.get(tensor)

    @cached_property
    def _producers(self) -> dict[str, Node]:
        view = zip(self.surgeon.nodes, self.main_nodes, strict=True)
        return {tensor.name: node for seen, node in view for tensor in seen.outputs if tensor.name}

    def consumers(self, tensor: str) -> tuple[Node, ...]:
        """The main-graph nodes that read a tensor, in file order, once each.

        A subgraph's use counts as one by the node that holds the subgraph.
        """
        return self._consumers.get(tensor, ())

    @cached_property
    def _consumers(self) -> dict[str, tuple[Node, ...]]:
        users: dict[str, dict[Node, None]] = {}
        for node in self.main_nodes:
            for tensor in self.dependencies(node):
                users.setdefault(tensor, {})[node] = None
        return {tensor: tuple(nodes) for tensor, nodes in users.items()}

    def dependencies(self, node: Node) -> tuple[str, ...]:
        """Every outer tensor a main-graph node reads, those of its subgraphs included."""
        return tuple(name for name in (*node.inputs, *captured_by(self._keyed[node])) if name)

    def ancestors(self, tensors: Iterable[str]) -> set[Node]:
        """Every main-graph node that the tensors depend on."""
        return _reached(
            tensors, lambda name: filter(None, [self.producer(name)]), self.dependencies
        )

    @cached_property
    def needed(self) -> frozenset[Node]:
        """The main-graph nodes that an output depends on; no runtime need run the others."""
        return frozenset(self.ancestors(self.outputs))

    @cached_property
    def unneeded(self) -> frozenset[Node]:
        """The nodes, in their own graph, that no output of that graph depends on."""
        found = set(self.main_nodes) - self.needed
        for node, proto in self._keyed.items():
            for scope, graph in zip(node.subgraphs, subgraphs_of_node(proto), strict=True):
                inner = self.by_scope.get(scope, ())
                writers = {name: each for each in inner for name in each.outputs if name}
                results = [value.name for value in graph.output]
                found |= set(inner) - _reached(
                    results, partial(_writer_in, writers), self.dependencies
                )
        return frozenset(found)

    def descendants(self, tensors: Iterable[str]) -> set[Node]:
        """Every main-graph node that depends on the tensors."""
        return _reached(tensors, self.consumers, lambda node: node.outputs)

    def holds(self, node: Node) -> bool:
        """Whether a node is one of this graph or its bodies; another form of it has others."""
        return node in self._keyed

    def node_proto(self, node: Node) -> onnx.NodeProto:
        """The node as it is in the file; to read only."""
        return self._keyed[node]

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model must be fed: graph inputs that no initializer gives a value."""
        given = self.initializers
        values = (value for value in self.proto.graph.input if value.name not in given)
        return tuple(_input_spec(value) for value in values)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        return tuple(value.name for value in self.proto.graph.output)

    @cached_property
    def initializers(self) -> Mapping[str, Stored]:
        """Initializers of the main graph, sparse ones included, by name."""
        return initializers_of(self.proto.graph)

    @cached_property
    def replaceable(self) -> frozenset[str]:
        """Initializers that whoever runs the model may feed in place of: they are inputs as well.

        Before IR version 4 every initializer had to be an input, which then meant nothing.
        """
        if self.proto.ir_version < REPLACEABLE_FROM:
            return frozenset()
        declared = (value.name for value in self.proto.graph.input)
        return frozenset(name for name in declared if name in self.initializers)


def _writer_in(writers: Mapping[str, Node], tensor: str) -> Sequence[Node]:
    return [writers[tensor]] if tensor in writers else []


def _reached(
    tensors: Iterable[str],
    nodes_at: Callable[[str], Iterable[Node]],
    tensors_at: Callable[[Node], Iterable[str]],
) -> set[Node]:
    found: set[Node] = set()
    pending = list(tensors)
    while pending:
        new = set(nodes_at(pending.pop())) - found
        found |= new
        pending.extend(name for node in new for name in tensors_at(node))
    return found


def _input_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    spec = spec_of(value)
    if spec is None:
        raise ModelError(f"input '{value.name}' is not a tensor of known rank")
    return spec


_NUMBERS: Mapping[str, type[np.generic]] = {
    **dict.fromkeys(("value_int", "value_ints"), np.int64),
    **dict.fromkeys(("value_float", "value_floats"), np.float32),
}


def initializers_of(graph: onnx.GraphProto) -> dict[str, Stored]:
    """A graph's own initializers, dense and sparse, by name."""
    dense = {tensor.name: tensor for tensor in graph.initializer}
    return {**dense, **{tensor.values.name: tensor for tensor in graph.sparse_initializer}}


def stored_in(graph: onnx.GraphProto) -> dict[str, Stored]:
    """What a graph stores, by the name that it has there."""
    found = initializers_of(graph)
    for node in graph.node:
        tensor = stored_by(node)
        if tensor is not None:
            found[node.output[0]] = tensor
    return found


def stored_by(node: onnx.NodeProto) -> Stored | None:
    """What a Constant node holds, in any form but strings; None for other nodes."""
    if not _is_constant(node):
        return None
    for name, value in attributes_of(node).items():
        if name in ("value", "sparse_value"):
            held: Stored = value
            return held
        if name in _NUMBERS:
            return numpy_helper.from_array(np.asarray(value, _NUMBERS[name]))
    return None


def _is_constant(node: onnx.NodeProto) -> bool:
    return node.op_type == "Constant" and node.domain in ("", "ai.onnx")


def plain_tensors(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """The dense tensors in a graph, which can be written into, by the name that it gives them."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    held = {node.output[0]: plain_tensor(node) for node in graph.node if node.output}
    return found | {name: tensor for name, tensor in held.items() if tensor is not None}


def plain_tensor(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The dense tensor in a Constant node."""
    return next((a.t for a in node.attribute if _is_constant(node) and a.name == "value"), None)


def walk(graph: onnx.GraphProto, scope: str = "") -> Iterator[tuple[Node, onnx.NodeProto]]:
    """Every node of a graph of a scope and its subgraphs in file order, with its proto."""
    return _walk(graph, scope, set())


def _walk(
    graph: onnx.GraphProto, scope: str, taken: set[str]
) -> Iterator[tuple[Node, onnx.NodeProto]]:
    names = Counter(node.name for node in graph.node)
    for index, proto in enumerate(graph.node):
        key = scope + _label(proto, names, index)
        while key in taken:
            key += "_"
        taken.add(key)
        inner = list(_inner_graphs(proto, key))
        yield _node(proto, scope, key, tuple(name for name, _ in inner)), proto
        for inner_scope, inner_graph in inner:
            yield from _walk(inner_graph, inner_scope, taken)


def _label(proto: onnx.NodeProto, names: Counter[str], index: int) -> str:
    if proto.name and names[proto.name] == 1:
        return proto.name
    return next((name for name in proto.output if name), f"node_{index}")


def _inner_graphs(proto: onnx.NodeProto, key: str) -> Iterator[tuple[str, onnx.GraphProto]]:
    """The subgraphs of a node, each with the scope its nodes' keys begin with."""
    for attribute in proto.attribute:
        for index, graph in enumerate(subgraphs_of_attribute(attribute)):
            place = f"{attribute.name}{index}" if len(attribute.graphs) > 1 else attribute.name
            yield f"{key}/{place}/", graph


def _node(proto: onnx.NodeProto, scope: str, key: str, subgraphs: tuple[str, ...]) -> Node:
    return Node(
        key=key,
        name=proto.name,
        op_type=proto.op_type,
        domain="" if proto.domain == "ai.onnx" else proto.domain,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=MappingProxyType(attributes_of(proto)),
        scope=scope,
        subgraphs=subgraphs,
    )


def captured_by(node: onnx.NodeProto) -> list[str]:
    """Names that the subgraphs of a node take from the graphs around them."""
    return [name for graph in subgraphs_of_node(node) for name in free_names(graph)]


def free_names(graph: onnx.GraphProto) -> set[str]:
    """Names a subgraph takes from the graphs around it."""
    own = {value.name for value in graph.input} | initializers_of(graph).keys()
    used: set[str] = {value.name for value in graph.output}
    for node in graph.node:
        own.update(node.output)
        used.update(node.input, captured_by(node))
    return used - own - {""}
