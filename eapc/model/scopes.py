"""Subgraphs, and what each tensor in them is called in the whole model.

A subgraph sees what the graphs around it have. A tensor's unique name is its own name behind the
scope of the graph that makes it (see `Node`); that of the main graph's is its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property

import onnx

from eapc.model.graph import GraphView, Node, initializers_of, plain_tensors, walk
from eapc.model.inlining import function_tensors
from eapc.model.tensors import subgraphs_of_node


class Scopes:
    """The subgraphs of a model."""

    def __init__(self, view: GraphView) -> None:
        self._view = view

    @cached_property
    def graphs(self) -> Mapping[str, onnx.GraphProto]:
        """All graphs by scope, that of the main graph empty; to read only."""
        return graphs_by_scope(self._view.proto.graph)

    @cached_property
    def holders(self) -> Mapping[str, Node]:
        """The node that holds each subgraph, by scope."""
        return {scope: node for node in self._view.nodes for scope in node.subgraphs}

    def around(self, scope: str) -> list[str]:
        """The scopes of the subgraphs around one, itself first; not that of the main graph."""
        found = []
        while scope:
            found.append(scope)
            scope = self.holders[scope].scope
        return found

    @cached_property
    def inner(self) -> Mapping[str, tuple[str, str]]:
        """Scope and own name of what subgraphs store or compute, by its unique name."""
        return {
            scope + name: (scope, name)
            for scope in self.holders
            for name in _made_in(self.graphs[scope])
        }

    @cached_property
    def in_functions(self) -> Mapping[str, onnx.TensorProto]:
        """What Constant nodes of functions hold, by function and name in one."""
        return function_tensors(self._view.proto)

    @cached_property
    def _own(self) -> Mapping[str, set[str]]:
        """What each graph is fed, stores and computes."""
        return {
            scope: {*_made_in(graph), *(value.name for value in graph.input)}
            for scope, graph in self.graphs.items()
        }

    def unique_name(self, scope: str, tensor: str) -> str:
        """The unique name of what a graph sees as `tensor`."""
        while scope and tensor not in self._own[scope]:
            scope = self.holders[scope].scope
        return scope + tensor

    @cached_property
    def main_names(self) -> set[str]:
        """What the main graph is fed, stores and computes."""
        return self._own[""]

    @cached_property
    def readers(self) -> Mapping[str, tuple[Node, ...]]:
        """Who reads a tensor in the whole model, by its unique name.

        What a subgraph gives back is read by the node that holds it.
        """
        found: dict[str, dict[Node, None]] = defaultdict(dict)
        for node in self._view.nodes:
            for name in filter(None, node.inputs):
                found[self.unique_name(node.scope, name)][node] = None
            for scope in node.subgraphs:
                for value in self.graphs[scope].output:
                    found[self.unique_name(scope, value.name)][node] = None
        return {name: tuple(nodes) for name, nodes in found.items()}


def scopes_of(view: GraphView) -> Scopes:
    """The subgraphs of a graph, worked out once."""
    return view.analyses.once("scopes", lambda: Scopes(view))


def graphs_by_scope(graph: onnx.GraphProto, scope: str = "") -> dict[str, onnx.GraphProto]:
    """A graph of a scope and all subgraphs in it, by scope."""
    found = {scope: graph}
    for node, proto in walk(graph, scope):
        if node.subgraphs:
            found |= dict(zip(node.subgraphs, subgraphs_of_node(proto), strict=True))
    return found


def plain_by_unique_name(proto: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The dense tensors that a model stores, in subgraphs and functions too.

    They can be written into.
    """
    found = function_tensors(proto)
    for scope, graph in graphs_by_scope(proto.graph).items():
        found |= {scope + name: tensor for name, tensor in plain_tensors(graph).items()}
    return found


def _made_in(graph: onnx.GraphProto) -> list[str]:
    computed = (name for node in graph.node for name in node.output if name)
    return [*initializers_of(graph), *computed]
