"""What a model says of itself, held against what there is: opsets, functions, types, texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

import onnx
from onnx import FunctionProto, OperatorSetIdProto

from eapc.model.tensors import KNOWN_TYPES, subgraphs_of_node

FunctionKey = tuple[str, str, str]
"""Domain, name and overload of a local function, as nodes that call it give them."""


def key_of(function: FunctionProto) -> FunctionKey:
    """What a function goes by."""
    return function.domain, function.name, function.overload


def called_by(node: onnx.NodeProto) -> FunctionKey:
    """What a node calls, if that is a local function."""
    return node.domain, node.op_type, node.overload


def declaration_faults(proto: onnx.ModelProto) -> Iterator[str]:
    """What is wrong before any node is looked at, a line each."""
    yield from _texts(proto)
    yield from opset_faults(proto.opset_import)
    for function in proto.functions:
        where = f"in function '{function.name}': "
        yield from (where + fault for fault in opset_faults(function.opset_import))
    yield from _functions(proto.functions)


def _texts(proto: onnx.ModelProto) -> Iterator[str]:
    """Protobuf hands over as bytes what is not valid UTF-8."""
    opsets = [*proto.opset_import, *(o for f in proto.functions for o in f.opset_import)]
    named: Mapping[str, Iterable[object]] = {
        "the graph's name": [proto.graph.name],
        "the domain of an opset": [o.domain for o in opsets],
        "a function's name": [t for f in proto.functions for t in key_of(f)],
        "an entry of the metadata": [t for e in proto.metadata_props for t in (e.key, e.value)],
    }
    for what, texts in named.items():
        for text in texts:
            if type(text) is not str:
                yield f"{what}, {text!r}, is not valid UTF-8"


def opset_faults(opsets: Sequence[OperatorSetIdProto]) -> Iterator[str]:
    """Versions begin at 1, and a domain has one."""
    versions: dict[str, int] = {}
    for opset in opsets:
        domain = opset.domain or "ai.onnx"
        if opset.version < 1:
            yield f"opset {opset.version} of domain '{domain}': opsets begin at 1"
        if versions.setdefault(domain, opset.version) != opset.version:
            two = f"{versions[domain]} and {opset.version}"
            yield f"opsets {two} of domain '{domain}' are both imported"


# --- functions ----------------------------------------------------------------------------------


def _functions(functions: Sequence[FunctionProto]) -> Iterator[str]:
    """Each goes by a key of its own, and none calls itself, by others neither."""
    if not functions:
        return
    counts = Counter(map(key_of, functions))
    for (_, name, _), count in counts.items():
        if count > 1:
            yield f"two functions are called '{name}'"
    calls = {key_of(f): {*_calls(f.node)} & counts.keys() for f in functions}
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        names = sorted({name for _, name, _ in error.args[1]})
        more = f" and {len(names) - 3} others" if len(names) > 3 else ""
        said = ", ".join(f"'{name}'" for name in names[:3])
        yield f"functions call each other without end: {said}{more}"


def _calls(nodes: Iterable[onnx.NodeProto]) -> Iterator[FunctionKey]:
    for node in nodes:
        yield called_by(node)
        for graph in subgraphs_of_node(node):
            yield from _calls(graph.node)


# --- values ---------------------------------------------------------------------------------------


def value_faults(values: Iterable[onnx.ValueInfoProto], what: str, typed: bool) -> Iterator[str]:
    """What is wrong with what values are declared to be; `what` they are.

    `typed` values have an element type, others may leave it out.
    """
    for value in values:
        if type(value.name) is not str:
            yield f"the name of an {what}, {value.name!r}, is not valid UTF-8"
        elif value.type.HasField("tensor_type"):
            for fault in _type_faults(value.type.tensor_type, typed):
                yield f"{what} '{value.name}' {fault}"


def _type_faults(tensor: onnx.TypeProto.Tensor, typed: bool) -> list[str]:
    kind = tensor.elem_type
    found = []
    if kind not in KNOWN_TYPES and (kind or typed):
        found.append(f"has element type {kind}, which onnx does not know")
    for axis in tensor.shape.dim:  # without a shape there are none
        if type(axis.dim_param) is not str:
            found.append(f"has an axis {axis.dim_param!r}, which is not valid UTF-8")
    return found
