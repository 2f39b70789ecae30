"""Calls of a model's own functions, priced by the nodes of their bodies.

For analysis alone the bodies are put in the place of the calls; what they come to is added up
again under the call, whose key stays that of the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import onnx

from eapc.energy.given import GivenBits
from eapc.energy.worklist import NodeWork, work_list
from eapc.model import (
    GraphView,
    Model,
    Node,
    Shapes,
    body_constants,
    find_weights,
    infer_shapes,
)
from eapc.workload import Work

_Key = tuple[str, str]


def work_list_with_bodies(
    model: Model, shapes: Shapes, given: GivenBits | None = None
) -> tuple[NodeWork, ...]:
    """Like `work_list`, with calls of the model's own functions worked out."""
    works = work_list(model, shapes, given)
    found = _inlined(model)
    if found is None:
        return works
    flat, sizes = found
    fed = {spec.name: shape for spec in model.inputs if (shape := shapes.main(spec.name))}
    bodies = [_rooted(flat, item) for item in work_list(flat, infer_shapes(flat, fed), given)]
    return tuple(_merged(model, works, list(_blocks(bodies, sizes))))


def _rooted(flat: Model, item: NodeWork) -> NodeWork:
    """Weights under the name of the constant that they are, which the file may have a name for.

    What is quantized keeps its own: its zeros are told by the node that reads it.
    """

    def root(name: str) -> str:
        source = find_weights(flat, name) if name else None
        chain = source.chain if source else ()
        is_plain = all(node.op_type != "DequantizeLinear" for node in chain)
        return source.root if source and is_plain else name

    parts = (replace(part, weights=root(part.weights)) for part in item.work.parts)
    return replace(item, work=Work(tuple(parts)))


def _blocks(works: Sequence[NodeWork], sizes: Sequence[int]) -> Iterator[Sequence[NodeWork]]:
    """The works that stand for each of the file's main nodes, those of subgraphs included."""
    starts = [place for place, item in enumerate(works) if not item.node.scope]
    first = 0
    for size in sizes:
        after = first + size
        end = starts[after] if after < len(starts) else len(works)
        yield works[starts[first] : end] if size else ()
        first = after


def _merged(
    model: Model, works: Iterable[NodeWork], blocks: Sequence[Sequence[NodeWork]]
) -> Iterator[NodeWork]:
    main = model.view.main_nodes
    functions = {(function.domain, function.name) for function in model.view.proto.functions}
    standing = dict(zip(main, blocks, strict=True))
    key_of = {item.node.key: node.key for node, block in standing.items() for item in block}
    known = {name for node in main for name in (*node.inputs, *node.outputs)}
    for item in works:
        block = standing.get(item.node)
        if block is None:
            yield item
        elif _key(item.node) not in functions:
            found = block[0]
            host = key_of.get(found.fused_into, "")
            yield replace(found, node=item.node, fused_into=host)
        else:
            held = body_constants(model.view.proto, item.node)
            body = [each for each in block if not each.node.scope]
            names = {
                each.node.outputs[0]: name for each, name in zip(body, held, strict=True) if name
            }
            yield _call(item.node, block, known, key_of, names)


def _call(
    node: Node,
    block: Sequence[NodeWork],
    known: Collection[str],
    key_of: Mapping[str, str],
    constants: Mapping[str, str],
) -> NodeWork:
    """A call as the sum of its body; tensors within it have no name in the file but `constants`."""
    reason = next((f"{item.node.op_type}: {item.reason}" for item in block if item.reason), "")
    if reason:
        return NodeWork(node, Work(), reason=f"in its body, {reason}")
    parts = tuple(
        replace(
            part,
            weights=part.weights if part.weights in known else constants.get(part.weights, ""),
            ifmap=part.ifmap if part.ifmap in known else "",
            ofmap=item.ofmap_of(part) if item.ofmap_of(part) in known else "",
        )
        for item in block
        for part in item.work.parts
    )
    hosts = {key_of.get(item.fused_into, "") for item in block}
    (host,) = hosts if len(hosts) == 1 else ("",)
    return NodeWork(
        node,
        Work(parts),
        ofmap=Work(parts).ofmap,
        fused_into="" if host == node.key else host,
        note=f"the sum of the {len(block)} nodes of its body",
    )


def _inlined(model: Model) -> tuple[Model, tuple[int, ...]] | None:
    """The model without calls, and how many of its main nodes stand for each of the file's.

    None for a model without functions, and where the two cannot be matched.
    """
    proto = model.view.proto
    if not proto.functions:
        return None
    from onnx import inliner

    flat = inliner.inline_local_functions(_without_weights(proto))
    bodies = _body_sizes(proto.functions)
    sizes = tuple(bodies.get(_key(node), 1) for node in model.view.main_nodes)
    if sum(sizes) != len(flat.graph.node):
        return None
    flat.graph.initializer.extend(proto.graph.initializer)
    flat.graph.sparse_initializer.extend(proto.graph.sparse_initializer)
    return replace(model, view=GraphView(flat)), sizes


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    bare = onnx.ModelProto(ir_version=proto.ir_version)
    imports = [proto, *proto.functions]
    opsets = {entry.domain: entry for part in reversed(imports) for entry in part.opset_import}
    bare.opset_import.extend(opsets.values())
    bare.functions.extend(proto.functions)
    bare.graph.name = proto.graph.name
    for field in ("node", "input", "output", "value_info"):
        getattr(bare.graph, field).extend(getattr(proto.graph, field))
    return bare


def _key(item: Node | onnx.NodeProto) -> _Key:
    return item.domain, item.op_type


def _body_sizes(functions: Iterable[onnx.FunctionProto]) -> dict[_Key, int]:
    """Nodes of each function's body once the calls within are inlined too."""
    bodies = {(function.domain, function.name): function.node for function in functions}
    sizes: dict[_Key, int] = {}

    def size(key: _Key) -> int:
        if key not in sizes:
            sizes[key] = sum(
                size(_key(node)) if _key(node) in bodies else 1 for node in bodies[key]
            )
        return sizes[key]

    return {key: size(key) for key in bodies}
