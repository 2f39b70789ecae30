"""New values of constants written into a graph, in whatever form the file had the old ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from onnx import GraphProto, NodeProto, numpy_helper

from eapc.model.folding import become_constant
from eapc.model.graph import free_names, initializers_of, plain_tensor
from eapc.model.tensors import Array, encode, subgraphs_of_node


def write_constants(graph: GraphProto, values: Mapping[str, Array]) -> None:
    """Give constants of a main graph new values, in place.

    Dense tensors stay where they are. Sparse initializers become dense ones of the same name,
    and nodes that hold or compute a constant in another form become Constant nodes; what
    nothing reads any more then is dropped.
    """
    for tensor in graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(encode(values[tensor.name], tensor))
    sparse = [tensor.values.name for tensor in graph.sparse_initializer]
    dense = (numpy_helper.from_array(values[name], name) for name in sparse if name in values)
    graph.initializer.extend(dense)
    _drop(graph.sparse_initializer, [name in values for name in sparse])
    replaced = [node for node in graph.node if not values.keys().isdisjoint(node.output)]
    read = {name for node in replaced for name in node.input}
    for node in replaced:
        write_result(node, values[node.output[0]])
    drop_unread(graph, read)


def write_result(node: NodeProto, value: Array) -> None:
    """Let a node write a constant."""
    tensor = plain_tensor(node)
    if tensor is None:
        become_constant(node, numpy_helper.from_array(value))
    else:
        tensor.CopyFrom(encode(value, tensor))


def drop_unread(graph: GraphProto, names: Iterable[str], with_declared: bool = False) -> None:
    """Drop those of some tensors that nothing reads, and whatever was there for them alone.

    What must be fed stays, and so do initializers that are declared as inputs, as all had to be
    before IR version 4, unless they are to go `with_declared`.
    """
    waiting = [name for name in names if name]
    if not waiting:
        return
    readers = Counter(name for node in graph.node for name in _read_by(node))
    own = initializers_of(graph) if with_declared else {}
    fed = (value for value in graph.input if value.name not in own)
    readers.update(value.name for value in (*graph.output, *fed))
    makers = {name: node for node in graph.node for name in node.output if name}
    dropped: set[str] = set()
    while waiting:
        name = waiting.pop()
        made = [each for each in makers[name].output if each] if name in makers else [name]
        if name in dropped or any(readers[each] for each in made):
            continue
        dropped.update(made)
        freed = _read_by(makers[name]) if name in makers else []
        readers.subtract(freed)
        waiting.extend(freed)
    _remove(graph, dropped)


def _read_by(node: NodeProto) -> list[str]:
    captured = (name for inner in subgraphs_of_node(node) for name in free_names(inner))
    return [name for name in (*node.input, *captured) if name]


def _remove(graph: GraphProto, names: set[str]) -> None:
    _drop(graph.node, [not names.isdisjoint(node.output) for node in graph.node])
    _drop(graph.initializer, [tensor.name in names for tensor in graph.initializer])
    _drop(graph.sparse_initializer, [t.values.name in names for t in graph.sparse_initializer])
    _drop(graph.input, [value.name in names for value in graph.input])
    _drop(graph.value_info, [value.name in names for value in graph.value_info])


def _drop(field: Any, gone: Sequence[bool]) -> None:
    for place in reversed([place for place, is_gone in enumerate(gone) if is_gone]):
        del field[place]
