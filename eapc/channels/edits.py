"""Changes to a graph's constants and attributes, of which some readers may want others."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import onnx
from onnx import numpy_helper

from eapc.model import Array, Node, constants_of, encode, free_names, subgraphs_of_node, walk


class Edits:
    """Collects new values of constants by reader, and writes them into a proto it may change."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._proto = proto
        self._nodes = {node.key: (node, target) for node, target in walk(proto.graph)}
        self._new: dict[str, dict[str, Array]] = {}
        self.written: list[tuple[str, str, str]] = []

    def replace(self, constant: str, array: Array, reader: str = "") -> None:
        """Give a constant a new value, for one reader alone where that is named."""
        self._new.setdefault(constant, {})[reader] = array

    def attribute(self, node: str, name: str, index: int, number: int) -> None:
        """Write a number into an attribute of a node."""
        found = next(a for a in self._nodes[node][1].attribute if a.name == name)
        if found.type == onnx.AttributeProto.INTS:
            found.ints[index] = number
        else:
            found.i = number

    def finish(self) -> None:
        """Write the new values; readers that want different ones get constants of their own.

        `written` lists them then: (name, constant that it was, reader).
        """
        tensors = constants_of(self._proto.graph)
        for constant, by_reader in self._new.items():
            readers = self._readers(constant)
            wanted = {key: by_reader.get(key, by_reader.get("")) for key in readers}
            kept = tensors.get(constant)
            if kept is not None and "" in by_reader:
                kept.CopyFrom(resized(by_reader[""], kept))
                self.written.append((constant, constant, ""))
                continue
            reader, first = next(iter(wanted.items()))
            if kept is not None and first is not None and _all_equal(first, wanted):
                kept.CopyFrom(resized(first, kept))
                self.written.append((constant, constant, reader))
                continue
            for key, array in wanted.items():
                if array is not None:
                    self._own_copy(constant, array, key, kept)

    def _readers(self, constant: str) -> list[str]:
        """Keys of the nodes that read a constant; empty ones stand for readers out of reach."""
        found = [key for key, (node, _) in self._nodes.items() if constant in _operands(node)]
        return [*found, *([""] if constant in self._kept else [])]

    @cached_property
    def _kept(self) -> set[str]:
        """What subgraphs or the model's user see: it keeps its name and value."""
        graph = self._proto.graph
        inner = (inner for node in graph.node for inner in subgraphs_of_node(node))
        captured = {name for subgraph in inner for name in free_names(subgraph)}
        return captured | {value.name for value in graph.output}

    def _own_copy(
        self, constant: str, array: Array, reader: str, original: onnx.TensorProto | None
    ) -> None:
        name = unused_name(self._proto.graph, f"{constant}@{reader}")
        tensor = numpy_helper.from_array(array) if original is None else resized(array, original)
        tensor.name = name
        add_constant(self._proto, tensor)
        self.written.append((name, constant, reader))
        target = self._nodes[reader][1]
        for place, operand in enumerate(target.input):
            if operand == constant:
                target.input[place] = name


def add_constant(proto: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    """Add an initializer; before IR 4 it must be declared as an input too."""
    proto.graph.initializer.append(tensor)
    if proto.ir_version < 4:
        kind, dims = tensor.data_type, list(tensor.dims)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, kind, dims))


def unused_name(graph: onnx.GraphProto, name: str) -> str:
    """The name, with underscores behind it where a tensor of the graph has it already."""
    taken = {tensor.name for tensor in graph.initializer}
    taken |= {value.name for value in graph.input}
    taken |= {output for node in graph.node for output in node.output}
    while name in taken:
        name += "_"
    return name


def _operands(node: Node) -> tuple[str, ...]:
    return () if node.scope else node.inputs


def _all_equal(first: Array, wanted: dict[str, Array | None]) -> bool:
    return all(array is not None and np.array_equal(first, array) for array in wanted.values())


def resized(array: Array, original: onnx.TensorProto) -> onnx.TensorProto:
    """A copy of `original`, its name and element type, holding an array of another shape."""
    tensor = encode(array, original)
    del tensor.dims[:]
    tensor.dims.extend(array.shape)
    return tensor
