"""The exposed twin of a model: what every layer reads and writes, as tensors of the main graph.

Some layers multiply their weights by what no tensor of the main graph holds. In the twin, nodes
beside them make such tensors, under the names that `Layer.x` and `Layer.y` have. What bodies of If,
Loop and Scan hold of layers stands in the main graph there, by its unique name. All else is as in
the model, so that new weights of the one are new weights of the other. What is written to a file
is never the twin.

Layers are fitted one after another, so each in a body has a copy of the outermost node to itself:
there the layers before it have the weights that the model has, it and those behind it the file's.
Where a node holds very many layers, neighbours share a copy, so that cost does not grow with their
square: the later ones then read what the file's weights of the earlier ones make.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from eapc.layers.calls import without_calls
from eapc.layers.finding import layers_of
from eapc.layers.forms import DenseForm
from eapc.layers.integers import without_integers
from eapc.layers.layer import Layer
from eapc.layers.lifting import Gathered, keep_only, lift
from eapc.layers.recurrent import R, RecurrentForm
from eapc.layers.taps import Nodes, tap_cell
from eapc.model import (
    GraphView,
    Model,
    Node,
    Scopes,
    as_seen,
    float_types,
    graphs_by_scope,
    plain_tensors,
    scopes_of,
    subgraphs_of_node,
)


def exposed(model: Model) -> Model:
    """The model's twin; the model itself where all layers' tensors are in its main graph."""
    view = model.view.analyses.once("exposed", lambda: _exposed_view(model.original))
    return model if view is None else replace(model, view=view, annotations={})


def _exposed_view(model: Model) -> GraphView | None:
    flat = without_integers(without_calls(model))
    view = _tapped_view(flat)
    if view is None and flat is not model:
        view = flat.view
    if view is not None:
        view.analyses.once("exposed", lambda: None)
    return view


def _tapped_view(model: Model) -> GraphView | None:
    found = layers_of(model).layers
    users = [
        (place, user) for place, tied in enumerate(found) for user in tied.users if user.tapped
    ]
    if not users:
        return None
    return GraphView(_Twin(model, users).made())


_MOST_COPIES = 64
"""Of one node. Forty products in a loop at 70 % zeros err 0.15 with a copy each, in 15 seconds, and
0.31 in 10 seconds where every two share one: so they do only where there are many more."""


@dataclass(frozen=True)
class _Twin:
    """The twin in the making; `users` are the layers to show, each with its place in the order."""

    model: Model
    users: list[tuple[int, Layer]]

    def made(self) -> onnx.ModelProto:
        """The twin's file."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.model.view.proto)
        _hoist(self.model, self.users, proto.graph)
        nodes = dict(zip(self.model.view.main_nodes, proto.graph.node, strict=True))
        beside: dict[Node, list[NodeProto]] = defaultdict(list)
        for _, user in self.users:
            self._add_original(user, proto.graph)
            if not user.node.scope:
                beside[user.node] += self._shown_cell(user)
        for top, group in self._groups():
            beside[top] += self._shown(group, nodes[top])
        ordered = [each for node, own in nodes.items() for each in (*beside[node], own)]
        ordered = [NodeProto.FromString(node.SerializeToString()) for node in ordered]
        del proto.graph.node[:]
        proto.graph.node.extend(ordered)
        return proto

    @property
    def _scopes(self) -> Scopes:
        return scopes_of(self.model.view)

    def _add_original(self, user: Layer, graph: GraphProto) -> None:
        """What the file has for a layer's weights, as a constant that stays as it is."""
        if user.node.scope or user.tapped == R:
            value = as_seen(self.model, user.source)
            graph.initializer.append(numpy_helper.from_array(value, _original(user)))

    def _groups(self) -> Iterator[tuple[Node, list[tuple[int, Layer]]]]:
        """The main graph's nodes that hold layers, each with those that share a copy of it."""
        held: dict[Node, list[tuple[int, Layer]]] = defaultdict(list)
        for place, user in self.users:
            if user.node.scope:
                held[_top(self._scopes, user.node)].append((place, user))
        for top, users in held.items():
            size = -(-len(users) // _MOST_COPIES)
            yield from ((top, users[i : i + size]) for i in range(0, len(users), size))

    def _shown_cell(self, user: Layer) -> list[NodeProto]:
        """The nodes that make x and y of a weight of a cell in the main graph."""
        assert isinstance(user.form, RecurrentForm)
        nodes, names = Nodes(_prefix(user), self.model.opset), (user.x, user.y)
        tap_cell(nodes, user.node, user.form, user.tapped, names, _original(user))
        return nodes.protos

    def _shown(self, group: Sequence[tuple[int, Layer]], top: NodeProto) -> list[NodeProto]:
        """The nodes that make x and y of layers in a node's bodies, beside that node, `top`."""
        place, first = group[0]
        nodes, copy = Nodes(_prefix(first), self.model.opset), NodeProto()
        copy.CopyFrom(top)
        copy.name = ""
        copy.output[:] = [nodes.fresh() for _ in copy.output]
        for later, other in self.users:
            if later >= place and _top(self._scopes, other.node) is _top(self._scopes, first.node):
                _find(self._scopes, copy, other.node).input[other.tapped] = _original(other)
        wanted = []
        for _, user in group:
            lifted = self._lifted(user, copy, nodes)
            for rows, name in zip(lifted, (user.x, user.y), strict=True):
                wanted.append(nodes.add("Identity", rows.tensor, result=name))
        shown = GraphProto(node=[*nodes.ahead, copy, *nodes.protos])
        keep_only(shown, wanted)
        return list(shown.node)

    def _lifted(self, user: Layer, copy: NodeProto, outside: Nodes) -> list[Gathered]:
        """x and y of a layer within `copy`, lifted level by level; nodes to add go `outside`."""
        way = _way(self._scopes, copy, user.node)
        inside = Nodes(f"{_prefix(user)}in/", self.model.opset)
        kind = helper.np_dtype_to_tensor_dtype(float_types(self.model, user.source)[-1])
        found = _tapped(user, _find(self._scopes, copy, user.node), kind, inside)
        for level, (holder, place) in enumerate(reversed(way)):
            body = subgraphs_of_node(holder)[place]
            _add(body, inside)
            last = level == len(way) - 1
            around = outside if last else Nodes(f"{inside.fresh()}/", self.model.opset)
            found = [lift(holder, place, rows, around) for rows in found]
            inside = around
        return found


def _prefix(user: Layer) -> str:
    return f"eapc/{user.node.key}/{user.tapped}/"


def _original(user: Layer) -> str:
    return f"eapc/original/{user.source.tensor}"


def _add(graph: GraphProto, nodes: Nodes) -> None:
    kept = [NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend([*nodes.ahead, *kept, *nodes.protos])


def _tapped(user: Layer, node: NodeProto, kind: int, nodes: Nodes) -> list[Gathered]:
    """Rows of x and y in the layer's own graph; `nodes` make what is missing."""
    form = user.form
    x, y = node.input[0], node.output[0]
    if isinstance(form, RecurrentForm):
        cell = replace(user.node, inputs=tuple(node.input))
        x, y = nodes.fresh(), nodes.fresh()
        tap_cell(nodes, cell, form, user.tapped, (x, y), _original(user))
        groups = form.groups if user.tapped == R else 1
        return [
            Gathered(x, kind, (groups, form.weight_shape[2])), Gathered(y, kind, form.channel_shape)
        ]  # fmt: skip
    if isinstance(form, DenseForm):
        inputs, outputs = form.weight_shape[::-1] if form.filters_first else form.weight_shape
        return [
            Gathered(nodes.reshape(x, -1, inputs), kind, (inputs,)),
            Gathered(nodes.reshape(y, -1, outputs), kind, (outputs,)),
        ]
    spatial = (None,) * len(form.weight_shape[2:])
    x, y = (nodes.add("Identity", name) for name in (x, y))  # a body gives back what it made
    return [
        Gathered(x, kind, (None, *spatial)),
        Gathered(y, kind, (form.channel_shape[0], *spatial)),
    ]


# --- places in a copy ----------------------------------------------------------------------------


def _top(scopes: Scopes, node: Node) -> Node:
    """The main graph's node that a node is, or is within."""
    around = scopes.around(node.scope)
    return scopes.holders[around[-1]] if around else node


def _way(scopes: Scopes, copy: NodeProto, node: Node) -> list[tuple[NodeProto, int]]:
    """The nodes around one, within `copy`, which comes first, each with the place of its body."""
    way: list[tuple[NodeProto, int]] = []
    for scope in reversed(scopes.around(node.scope)):
        holder = scopes.holders[scope]
        proto = _holding(subgraphs_of_node(way[-1][0])[way[-1][1]], holder) if way else copy
        way.append((proto, holder.subgraphs.index(scope)))
    return way


def _find(scopes: Scopes, copy: NodeProto, node: Node) -> NodeProto:
    """A node within a copy of the main graph's node that holds it."""
    holder, place = _way(scopes, copy, node)[-1]
    return _holding(subgraphs_of_node(holder)[place], node)


def _holding(graph: GraphProto, node: Node) -> NodeProto:
    made = next(name for name in node.outputs if name)
    found: NodeProto = next(each for each in graph.node if made in each.output)
    return found


# --- constants of bodies -------------------------------------------------------------------------


def _hoist(model: Model, users: Iterable[tuple[int, Layer]], graph: GraphProto) -> None:
    """Let the main graph have what bodies hold of layers, by its unique name, in place."""
    scopes = scopes_of(model.view)
    names = (n for _, user in users for n in (user.source.root, user.bias and user.bias.tensor))
    by_scope: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        if name and name not in scopes.main_names:
            scope, own = scopes.inner[name]
            by_scope[scope][own] = name
    graphs = graphs_by_scope(graph)
    for scope in sorted(by_scope, key=lambda scope: -len(scopes.around(scope))):  # innermost first
        new = by_scope[scope]
        stored = plain_tensors(graphs[scope])
        for own, name in new.items():
            graph.initializer.append(_constant(model, stored.get(own), name))
        _drop_makers(graphs[scope], new)
        _rename(graphs[scope], new)


def _constant(model: Model, stored: TensorProto | None, name: str) -> TensorProto:
    if stored is None:
        return numpy_helper.from_array(model.constants[name], name)
    copy = TensorProto()
    copy.CopyFrom(stored)
    copy.name = name
    return copy


def _drop_makers(graph: GraphProto, names: Mapping[str, str]) -> None:
    kept = [node for node in graph.node if names.keys().isdisjoint(node.output)]
    tensors = [tensor for tensor in graph.initializer if tensor.name not in names]
    sparse = [each for each in graph.sparse_initializer if each.values.name not in names]
    only = GraphProto(node=kept, initializer=tensors, sparse_initializer=sparse)
    del graph.node[:], graph.initializer[:], graph.sparse_initializer[:]
    graph.MergeFrom(only)


def _rename(graph: GraphProto, new: Mapping[str, str]) -> None:
    """Let a graph and those within read tensors by other names."""
    for value in graph.output:
        value.name = new.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        for inner in subgraphs_of_node(node):
            _rename(inner, new)
