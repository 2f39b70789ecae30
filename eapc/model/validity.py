"""What every graph must keep to: each name written once, by somebody, and no node behind itself.

Nodes may stand in any order, as onnxruntime takes them. All checks are linear in the file's size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import onnx

from eapc.errors import ModelError
from eapc.model.bodies import unlike_node
from eapc.model.declarations import declaration_faults, key_of, value_faults
from eapc.model.graph import captured_by
from eapc.model.grid_faults import grid_faults
from eapc.model.signatures import Signatures, label
from eapc.model.tensors import PLAIN, subgraphs_of_attribute


def require_valid(proto: onnx.ModelProto, path: Path) -> None:
    """Raise ModelError, one line with the node, at the first thing that no runtime could take.

    Subgraphs and local functions count. Operators that onnx does not know are left alone.
    """
    for fault in _model_faults(proto):
        raise ModelError(f"{path}: {fault}")


class _Site(NamedTuple):
    """A node with what is asked of it often; `graphs` come with their attributes' names."""

    proto: onnx.NodeProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[onnx.AttributeProto, ...]
    graphs: tuple[tuple[str, onnx.GraphProto], ...]

    @classmethod
    def of(cls, node: onnx.NodeProto) -> _Site:
        attributes = tuple(node.attribute)
        holding = [a for a in attributes if a.type not in PLAIN]
        graphs = tuple((a.name, graph) for a in holding for graph in subgraphs_of_attribute(a))
        return cls(node, tuple(node.input), tuple(node.output), attributes, graphs)


@dataclass(frozen=True)
class _Body:
    """Nodes, and what is known before the first of them: a graph, or a local function.

    `place` begins what is said of it; empty for the main graph.
    """

    place: str
    inputs: list[str]
    constants: list[str]
    nodes: list[_Site]
    outputs: list[str]

    @classmethod
    def of_graph(cls, graph: onnx.GraphProto, place: str) -> _Body:
        constants = [tensor.name for tensor in graph.initializer]
        constants += [tensor.values.name for tensor in graph.sparse_initializer]
        inputs, outputs = ([value.name for value in v] for v in (graph.input, graph.output))
        return cls(place, inputs, constants, [*map(_Site.of, graph.node)], outputs)

    @classmethod
    def of_function(cls, function: onnx.FunctionProto) -> _Body:
        inputs, outputs = list(function.input), list(function.output)
        nodes = [*map(_Site.of, function.node)]
        return cls(f"in function '{function.name}': ", inputs, [], nodes, outputs)


def _model_faults(proto: onnx.ModelProto) -> Iterator[str]:
    yield from declaration_faults(proto)
    own = {key_of(f): (len(f.input), len(f.output)) for f in proto.functions}
    main = _Body.of_graph(proto.graph, "")
    yield from _declared_faults(proto.graph, is_main=True)
    yield from _body_faults(main, _Around(), Signatures(proto.opset_import, own))
    yield from grid_faults(proto.graph)
    for function in proto.functions:
        signatures = Signatures((*proto.opset_import, *function.opset_import), own)
        yield from _body_faults(_Body.of_function(function), _Around(), signatures)


_LAYOUTS = ("com.microsoft.nchwc", "com.ms.internal.nhwc")
"""Domains of operators that onnxruntime rewrites a model with for the machine it runs on."""


def _in_blocked_layout(body: _Body) -> Iterator[str]:
    """What onnxruntime saves at its highest level: other layouts of maps and weights."""
    for node in body.nodes:
        if node.proto.domain in _LAYOUTS:
            yield (
                f"{label(node.proto)} is of domain '{node.proto.domain}', which onnxruntime lays a "
                "model out in for one machine; save it at the level ORT_ENABLE_EXTENDED, or take "
                "the model as exported"
            )


def _declared_faults(graph: onnx.GraphProto, is_main: bool) -> Iterator[str]:
    yield from value_faults(graph.input, "input", typed=is_main)
    yield from value_faults(graph.output, "output", typed=False)
    yield from value_faults(graph.value_info, "value_info", typed=False)


@dataclass(frozen=True)
class _Around:
    """What stands around a subgraph, by the graphs that hold it, the nearest first.

    `names` are all that it may read, `taken` those that come before it in the file: its nodes
    may not write them anew (onnx calls that single static assignment).
    """

    names: tuple[Set[str], ...] = ()
    taken: tuple[Set[str], ...] = ()


def _body_faults(body: _Body, around: _Around, signatures: Signatures) -> Iterator[str]:
    """What is wrong with nodes and names, those of the subgraphs included."""
    yield from (body.place + fault for fault in _unreadable(body))
    yield from (body.place + fault for fault in _in_blocked_layout(body))
    for node in body.nodes:
        for fault in signatures.faults(node.proto, node.inputs, node.outputs, node.attributes):
            yield body.place + fault
    yield from (body.place + fault for fault in _written_twice(body, around))
    written = {name for node in body.nodes for name in node.outputs}
    seen = (frozenset({*body.inputs, *body.constants, *written}), *around.names)
    yield from (body.place + fault for fault in _unwritten(body, seen))
    yield from (body.place + fault for fault in _cycles(body))
    taken = {*body.inputs, *body.constants}
    inside = _Around(seen, (taken, *around.taken))
    for node in body.nodes:
        if node.graphs:
            yield from _subgraph_faults(node, body.place, inside, signatures)
        taken.update(node.outputs)


def _unreadable(body: _Body) -> Iterator[str]:
    """Names that are no text: protobuf hands those over as bytes."""
    yield from _no_text((*body.inputs, *body.constants, *body.outputs), "")
    for index, (node, inputs, outputs, *_) in enumerate(body.nodes):
        named = (node.op_type, node.domain, node.name, *inputs, *outputs)
        yield from _no_text(named, f"node {index}: ")
        if node.metadata_props:
            texts = [text for each in node.metadata_props for text in (each.key, each.value)]
            yield from _no_text(texts, f"metadata of node {index}: ")


def _no_text(names: Sequence[object], where: str) -> Iterator[str]:
    wrong = [name for name in names if type(name) is not str]
    yield from (f"{where}the name {name!r} is not valid UTF-8" for name in wrong)


def _written_twice(body: _Body, around: _Around) -> Iterator[str]:
    """An initializer may be an input too; nothing else may bear a name that is taken."""
    for names, what in ((body.inputs, "inputs"), (body.constants, "initializers")):
        if "" in names:
            yield f"one of the {what} has no name"
        if len(set(names)) < len(names):
            yield f"two {what} are called '{_first_repeated(names)}'"
    taken = {*body.inputs, *body.constants}
    for node in body.nodes:
        for name in filter(None, node.outputs):
            if name in taken or any(name in names for names in around.taken):
                by = label(node.proto)
                yield f"tensor '{name}' that {by} writes has been written or given before"
            taken.add(name)


def _first_repeated(names: Sequence[str]) -> str:
    return next(name for name, count in Counter(names).items() if count > 1)


def _unwritten(body: _Body, seen: Sequence[Set[str]]) -> Iterator[str]:
    own, *_ = seen
    for node in body.nodes:
        for name in node.inputs:
            if name and name not in own and not any(name in names for names in seen):
                yield f"{label(node.proto)} reads '{name}', which nobody writes"
    for name in body.outputs:
        if not any(name in names for names in seen):
            yield f"nobody writes the output '{name}'"


def _cycles(body: _Body) -> Iterator[str]:
    """Nodes that wait for each other; where all stand in order there are none."""
    nodes = body.nodes
    writers = {name: place for place, node in enumerate(nodes) for name in node.outputs if name}
    waits: dict[int, set[int]] = {}
    for place, node in enumerate(nodes):
        names = (*node.inputs, *captured_by(node.proto)) if node.graphs else node.inputs
        waits[place] = {writers[name] for name in names if name in writers}
    if all(not first or place > max(first) for place, first in waits.items()):
        return
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        found = [label(nodes[place].proto) for place in sorted(set(error.args[1]))]
        more = f" and {len(found) - 3} others" if len(found) > 3 else ""
        yield f"nodes wait for each other in a cycle: {', '.join(found[:3])}{more}"


def _subgraph_faults(
    node: _Site, place: str, around: _Around, signatures: Signatures
) -> Iterator[str]:
    for name, graph in node.graphs:
        inner = f"{place}in {name} of {label(node.proto)}: "
        own = (_declared_faults(graph, False), unlike_node(node.proto, graph, signatures.opset))
        yield from (inner + fault for faults in own for fault in faults)
        yield from _body_faults(_Body.of_graph(graph, inner), around, signatures)
