"""Edits of a graph: new values of constants, other operands, nodes put in or taken out.

New values are written in whatever form the file had the old ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

from eapc.model.constants import become_constant
from eapc.model.graph import (
    captured_by,
    free_names,
    initializers_of,
    plain_tensor,
    plain_tensors,
    walk,
)
from eapc.model.tensors import Array, encode, subgraphs_of_node

_FIRST_IR_OF_OWN_INITIALIZERS = 4
"""Before this IR version every initializer has to be declared as an input as well."""


class GraphEditor:
    """Changes the main graph of a model in place.

    Nodes have the keys (see `Node`) that they had when the editor was made. All takes effect at
    once, but for `replace_constant`, which waits for `finish`.
    """

    def __init__(self, proto: ModelProto) -> None:
        self._graph, self._ir_version = proto.graph, proto.ir_version
        self._nodes = {node.key: (node, target) for node, target in walk(proto.graph)}
        self._new: dict[str, dict[str, Array]] = {}
        self._given_up: list[str] = []
        self.written: list[tuple[str, str, str]] = []
        """What `finish` wrote: (name, constant that it was, its one reader or an empty key)."""

    def node(self, key: str) -> NodeProto:
        """The node with a key, to read; KeyError where there was none."""
        return self._nodes[key][1]

    def __contains__(self, key: str) -> bool:
        """True while the node with a key is in the main graph."""
        return key in self._nodes and any(each is self.node(key) for each in self._graph.node)

    def unused_name(self, name: str) -> str:
        """The name, with underscores behind it where a tensor of the graph has it already."""
        taken = {*initializers_of(self._graph), *(value.name for value in self._graph.input)}
        taken |= {output for node in self._graph.node for output in node.output}
        while name in taken:
            name += "_"
        return name

    # --- constants -------------------------------------------------------------------------------

    def add_constant(self, name: str, value: Array | TensorProto) -> str:
        """Add an initializer; returns its name, with underscores where others have it already."""
        tensor = value if isinstance(value, TensorProto) else numpy_helper.from_array(value)
        added = self._graph.initializer.add()
        added.CopyFrom(tensor)
        added.name = ""
        added.name = name = self.unused_name(name)
        if self._ir_version < _FIRST_IR_OF_OWN_INITIALIZERS:
            shape = list(added.dims)
            declared = helper.make_tensor_value_info(name, added.data_type, shape)
            self._graph.input.append(declared)
        return name

    def replace_constant(self, constant: str, array: Array, reader: str = "") -> None:
        """Give a constant a new value of any shape, for the reader with that key alone if given."""
        self._new.setdefault(constant, {})[reader] = array

    def set_number(self, node: str, attribute: str, index: int, number: int) -> None:
        """Write an integer into an attribute of a node, at `index` where that is a list."""
        found = next(each for each in self.node(node).attribute if each.name == attribute)
        if found.type == AttributeProto.INTS:
            found.ints[index] = number
        else:
            found.i = number

    def finish(self) -> None:
        """Write the new values; readers that want different ones get constants of their own."""
        stored, fixed = plain_tensors(self._graph), self._seen_outside()
        for constant, by_reader in self._new.items():
            wanted: dict[str, Array | None] = {**by_reader}
            if "" not in by_reader:
                wanted = {key: by_reader.get(key) for key in self._readers(constant, fixed)}
            reader, first = next(iter(wanted.items()))
            original = stored.get(constant)
            if original is not None and first is not None and _all_equal(first, wanted):
                original.CopyFrom(_resized(first, original))
                self.written.append((constant, constant, reader))
                continue
            for key, array in wanted.items():
                if array is not None:
                    self._give_own(constant, array, key, original)
        self._new = {}

    def _readers(self, constant: str, fixed: set[str]) -> list[str]:
        """Keys of the nodes that read a constant; an empty one for readers out of reach."""
        nodes = ((key, node) for key, (node, _) in self._nodes.items() if not node.scope)
        found = [key for key, node in nodes if constant in node.inputs]
        return [*found, ""] if constant in fixed else found

    def _seen_outside(self) -> set[str]:
        """What subgraphs or the model's user see: it keeps its name."""
        captured = {name for node in self._graph.node for name in captured_by(node)}
        return captured | {value.name for value in self._graph.output}

    def _give_own(
        self, constant: str, array: Array, reader: str, original: TensorProto | None
    ) -> None:
        tensor = numpy_helper.from_array(array) if original is None else _resized(array, original)
        name = self.add_constant(f"{constant}@{reader}", tensor)
        self.written.append((name, constant, reader))
        inputs = self.node(reader).input
        inputs[:] = [name if operand == constant else operand for operand in inputs]

    # --- nodes -----------------------------------------------------------------------------------

    def insert(self, node: NodeProto, before: NodeProto) -> None:
        """Put a node in front of one of the graph's."""
        place = next(i for i, other in enumerate(self._graph.node) if other is before)
        self._graph.node.insert(place, node)

    def rewire(self, node: NodeProto, operand: int, tensor: str) -> None:
        """Let a node read another tensor."""
        self._given_up.append(node.input[operand])
        node.input[operand] = tensor

    def bypass(self, node: NodeProto, tensor: str) -> None:
        """Let whoever reads the one result of a node read a tensor instead.

        Where subgraphs or the model's user see the result, the node stays as an Identity.
        """
        self._given_up += [*node.input, *node.output]
        del node.input[:], node.attribute[:]
        node.input.append(tensor)
        node.op_type = "Identity"
        (result,) = node.output
        for reader in self._graph.node if result not in self._seen_outside() else ():
            reader.input[:] = [tensor if name == result else name for name in reader.input]

    def splice(
        self, graph: GraphProto, prefix: str, inputs: Mapping[str, str], before: NodeProto
    ) -> tuple[str, ...]:
        """Put another graph, of the same opsets, in front of a node; returns its outputs' names.

        `inputs` maps its inputs to tensors of this graph; all its other names get the prefix,
        with underscores behind it where this graph has such names already. Raises KeyError for
        an input that has no tensor and no value of its own.
        """
        own = initializers_of(graph)
        for value in graph.input:
            if value.name not in own and value.name not in inputs:
                raise KeyError(value.name)
        names = {*initializers_of(self._graph), *(v.name for v in self._graph.input)}
        names |= {name for node in self._graph.node for name in (node.name, *node.output)}
        while any(name.startswith(prefix) for name in names):
            prefix += "_"
        copy = GraphProto()
        copy.CopyFrom(graph)
        rename_all(copy, lambda name: inputs.get(name, prefix + name if name else name), prefix)
        for tensor in copy.initializer:
            if tensor.name.startswith(prefix):  # else a tensor of this graph stands for it
                self.add_constant(tensor.name, tensor)
        self._graph.sparse_initializer.extend(copy.sparse_initializer)
        self._graph.value_info.extend(copy.value_info)
        for node in copy.node:
            self.insert(node, before)
        return tuple(value.name for value in copy.output)

    def drop_unused(self) -> None:
        """Drop what nodes read before they were rewired or bypassed and nothing reads any more."""
        drop_unread(self._graph, self._given_up, with_declared=True)
        self._given_up = []


def rename_all(graph: GraphProto, new: Callable[[str], str], prefix: str) -> None:
    """Give all tensors of a graph and its subgraphs new names, and all nodes the prefix."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = new(value.name)
    for tensor in graph.sparse_initializer:
        tensor.values.name = new(tensor.values.name)
    for node in graph.node:
        node.name = prefix + node.name if node.name else ""
        node.input[:], node.output[:] = map(new, node.input), map(new, node.output)
        for inner in subgraphs_of_node(node):
            rename_all(inner, new, prefix)


def _all_equal(first: Array, wanted: Mapping[str, Array | None]) -> bool:
    return all(
        array is first or (array is not None and np.array_equal(first, array))
        for array in wanted.values()
    )


def _resized(array: Array, original: TensorProto) -> TensorProto:
    """A copy of `original`, its name and element type, holding an array of another shape."""
    tensor = encode(array, original)
    tensor.dims[:] = array.shape
    return tensor


def declare_constants(graph: GraphProto) -> None:
    """Let declared shapes of initializers, in value_info and among the inputs, be those they have.

    Exporters list initializers there, and in IR 3 all of them had to be inputs.
    """
    lengths = {tensor.name: tensor.dims for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input):
        dims = value.type.tensor_type.shape.dim
        for dim, length in zip(dims, lengths.get(value.name, ()), strict=False):
            dim.dim_value = length


# --- new values ------------------------------------------------------------------------------


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


def write_inner_constants(
    graphs: Mapping[str, GraphProto], values: Mapping[str, Mapping[str, Array]]
) -> None:
    """Give constants of subgraphs new values, in place: by scope, then by name there.

    `graphs` are the subgraphs and what is around them, by scope. What nothing reads any more is
    dropped there too.
    """
    for scope in sorted(values, key=len, reverse=True):
        before = free_names(graphs[scope])
        write_constants(graphs[scope], values[scope])
        freed = before - free_names(graphs[scope])
        for outer, graph in graphs.items() if freed else ():
            if outer != scope and scope.startswith(outer):
                drop_unread(graph, freed)


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
    return [name for name in (*node.input, *captured_by(node)) if name]


def _remove(graph: GraphProto, names: set[str]) -> None:
    _drop(graph.node, [not names.isdisjoint(node.output) for node in graph.node])
    _drop(graph.sparse_initializer, [t.values.name in names for t in graph.sparse_initializer])
    for field in (graph.initializer, graph.input, graph.value_info):
        _drop(field, [each.name in names for each in field])


def _drop(field: Any, gone: Sequence[bool]) -> None:
    for place in reversed([place for place, is_gone in enumerate(gone) if is_gone]):
        del field[place]
