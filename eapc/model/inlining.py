"""A model's own functions, put in the place of their calls.

What a function's Constant nodes hold becomes one constant of the main graph, named after the
function, which all calls read; and it is known of which call each tensor is. onnx's own inliner
gives each call a copy of its constants, and tells nothing of the calls that are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto, helper

from eapc.model.graph import Node, plain_tensor, walk
from eapc.model.tensors import subgraphs_of_node


def function_tensors(proto: onnx.ModelProto) -> dict[str, TensorProto]:
    """The dense tensors in Constant nodes of functions, by function and name in one."""
    return {
        _constant_name(function, node.output[0]): tensor
        for function in proto.functions
        for node in function.node
        if node.output and (tensor := plain_tensor(node)) is not None
    }


def _constant_name(function: FunctionProto, tensor: str) -> str:
    return f"{function.domain}.{function.name}/{tensor}"


@dataclass(frozen=True)
class Inlined:
    """A model without calls in its main graph.

    `calls` gives, for what bodies make, the key of the main graph's call; `left` are the beginnings
    of names of constants in functions that are called elsewhere too.
    """

    proto: onnx.ModelProto
    calls: Mapping[str, str]
    left: tuple[str, ...]


def inlined(proto: onnx.ModelProto) -> Inlined | None:
    """The model with the calls in its main graph replaced by what they stand for.

    None where nothing is called there. Functions of other opsets than the model's stay calls, and
    so do those that are called within subgraphs.
    """
    functions = {(f.domain, f.name): f for f in proto.functions if _is_alike(f, proto)}
    nodes = [node for node, _ in walk(proto.graph) if not node.scope]
    if not any((node.domain, node.op_type) in functions for node in nodes):
        return None
    flat = onnx.ModelProto()
    flat.CopyFrom(proto)
    del flat.graph.node[:]
    work = _Inlining(functions)
    calls: dict[str, str] = {}
    for node, own in zip(nodes, proto.graph.node, strict=True):
        for made in work.expanded(own, f"{node.key}/"):
            flat.graph.node.append(made)
            if made is not own:
                calls.update((name, node.key) for name in _made_within(made))
    tensors = function_tensors(proto)
    for name in sorted(work.constants):
        copy = TensorProto()
        copy.CopyFrom(tensors[name])
        copy.name = name
        flat.graph.initializer.append(copy)
    return Inlined(flat, calls, tuple(_still_called(flat)))


def _still_called(proto: onnx.ModelProto) -> Iterator[str]:
    """The beginnings of constants' names in functions that are called, or that those call."""
    functions = {(f.domain, f.name): f for f in proto.functions}
    pending = [node for _, node in walk(proto.graph)]
    seen: set[tuple[str, str]] = set()
    while pending:
        node = pending.pop()
        key = (node.domain, node.op_type)
        if key in functions and key not in seen:
            seen.add(key)
            yield _constant_name(functions[key], "")
            pending += [inner for _, inner in walk(GraphProto(node=functions[key].node))]


def body_constants(proto: onnx.ModelProto, node: Node | NodeProto) -> Iterator[str]:
    """For every node of a call's body, those of calls within included: the constant that it is.

    Empty for nodes that are none.
    """
    functions = {(f.domain, f.name): f for f in proto.functions}
    function = functions[node.domain, node.op_type]
    for each in function.node:
        if (each.domain, each.op_type) in functions:
            yield from body_constants(proto, each)
        else:
            yield _constant_name(function, each.output[0]) if plain_tensor(each) else ""


def _is_alike(function: FunctionProto, proto: onnx.ModelProto) -> bool:
    own = {entry.domain: entry.version for entry in proto.opset_import}
    return all(own.get(e.domain, e.version) == e.version for e in function.opset_import)


def _made_within(node: NodeProto) -> Iterator[str]:
    yield from (name for name in node.output if name)
    for graph in subgraphs_of_node(node):
        for inner in graph.node:
            yield from _made_within(inner)


@dataclass
class _Inlining:
    functions: Mapping[tuple[str, str], FunctionProto]
    constants: set[str] = field(default_factory=set)

    def expanded(self, node: NodeProto, prefix: str) -> Iterator[NodeProto]:
        """What a node stands for; itself where it is no call."""
        domain = "" if node.domain == "ai.onnx" else node.domain
        function = self.functions.get((domain, node.op_type))
        if function is None:
            yield node
            return
        new = self._names(function, node, prefix)
        given = {a.name: a for a in (*function.attribute_proto, *node.attribute)}
        for index, each in enumerate(function.node):
            if _constant_name(function, each.output[0]) in self.constants:
                continue
            copy = NodeProto()
            copy.CopyFrom(each)
            _adapt(copy, new, given, prefix)
            yield from self.expanded(copy, f"{prefix}{each.name or index}/")
        for name in function.output:
            if name in function.input:
                yield helper.make_node(
                    "Identity", [new(name)], [self._result(function, node, name)]
                )

    def _names(self, function: FunctionProto, node: NodeProto, prefix: str) -> Callable[[str], str]:
        fed = [*node.input, *("" for _ in function.input)]
        names = {
            name: result
            for name in function.output
            if name not in function.input and (result := self._result(function, node, name))
        }
        names |= dict(zip(function.input, fed, strict=False))
        for each in function.node:
            if plain_tensor(each) is not None and each.output[0] not in function.output:
                names[each.output[0]] = name = _constant_name(function, each.output[0])
                self.constants.add(name)
        return lambda name: names.get(name, prefix + name) if name else ""

    def _result(self, function: FunctionProto, node: NodeProto, name: str) -> str:
        place = list(function.output).index(name)
        return node.output[place] if place < len(node.output) else ""


def _adapt(
    node: NodeProto,
    new: Callable[[str], str],
    given: Mapping[str, AttributeProto],
    prefix: str,
) -> None:
    """Give a node of a function's body the names and attributes of one call, in place."""
    node.name = prefix + node.name if node.name else ""
    node.input[:], node.output[:] = map(new, node.input), map(new, node.output)
    kept = []
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            if attribute.ref_attr_name not in given:
                continue
            name = attribute.name
            attribute.CopyFrom(given[attribute.ref_attr_name])
            attribute.name = name
        copy = AttributeProto()
        copy.CopyFrom(attribute)
        kept.append(copy)
    del node.attribute[:]
    node.attribute.extend(kept)
    for graph in subgraphs_of_node(node):
        _adapt_graph(graph, new, given, prefix)


def _adapt_graph(
    graph: GraphProto,
    new: Callable[[str], str],
    given: Mapping[str, AttributeProto],
    prefix: str,
) -> None:
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = new(value.name)
    for tensor in graph.sparse_initializer:
        tensor.values.name = new(tensor.values.name)
    del graph.value_info[:]
    for node in graph.node:
        _adapt(node, new, given, prefix)
