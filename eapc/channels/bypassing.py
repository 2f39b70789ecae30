"""Taking out branches without channels: the trunk goes on, plus the constant they ended in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from eapc.channels.edits import add_constant
from eapc.channels.groups import Branch
from eapc.model import Array, constants_of, free_names, subgraphs_of_node, walk
from eapc.operators import operator_of


def bypass(proto: ModelProto, branches: Iterable[Branch], folder: str) -> frozenset[str]:
    """Remove branches from a model, in place, whose channels have been taken out of it.

    `folder` is where its external data lies. Returns the constants that are added instead.
    """
    branches = list(branches)
    nodes = {node.key: target for node, target in walk(proto.graph)}
    used = _used(proto.graph)
    ends = _constant_ends(proto, branches, nodes, folder)
    for key, place in dict.fromkeys(add for one in branches for add in one.adds):
        _detach(proto, nodes[key], place, ends[nodes[key].input[place]])
    _drop_unused(proto.graph, used)
    return frozenset(map(_end_name, ends))


def _end_name(tensor: str) -> str:
    return f"{tensor}@constant"


def _constant_ends(
    proto: ModelProto, branches: list[Branch], nodes: dict[str, NodeProto], folder: str
) -> dict[str, Array]:
    """What the branches end in, by tensor, evaluated by onnx's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    consumers = {key for one in branches for key in one.consumers}
    inner = {key for one in branches for key in one.path} - consumers
    targets = sorted({nodes[add].input[at] for one in branches for add, at in one.adds})
    constants = constants_of(proto.graph)
    given = {nodes[key].output[0]: _bias(nodes[key], constants, folder) for key in consumers}
    path = [node for key, node in nodes.items() if key in inner]
    read = {name for node in path for name in node.input} - given.keys()
    given |= {n: numpy_helper.to_array(constants[n], folder) for n in read & constants.keys()}
    tensors = [numpy_helper.from_array(array, name) for name, array in given.items()]
    results = [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in targets]
    graph = helper.make_graph(path, "ends", [], results, tensors)
    model = helper.make_model(graph, opset_imports=list(proto.opset_import))
    values = ReferenceEvaluator(model).run(None, {})
    return dict(zip(targets, map(np.asarray, values), strict=True))


def _bias(node: NodeProto, constants: Mapping[str, TensorProto], folder: str) -> Array:
    """What a layer without inputs writes, one number per channel."""
    layout = operator_of(node).weights
    assert layout is not None  # the branch ends in layers
    weight = constants[node.input[layout.operand]]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    bias = constants.get(layout.bias_of(node.input))
    kind = helper.tensor_dtype_to_np_dtype(weight.data_type)
    row = np.zeros(layout.output_count(attributes, tuple(weight.dims)), kind)
    if bias is not None:
        row = row + numpy_helper.to_array(bias, folder).reshape(-1)
        row = (row * layout.bias_factor(attributes)).astype(kind)
    return row.reshape(1, -1, *(1,) * (-1 - layout.channel_axis(len(weight.dims))))


def _detach(proto: ModelProto, add: NodeProto, place: int, end: Array) -> None:
    """Add a constant in place of the branch; where it is zero, the Add goes as well."""
    graph = proto.graph
    if np.any(end):
        name = _end_name(add.input[place])
        add_constant(proto, numpy_helper.from_array(end, name))
        add.input[place] = name
        return
    trunk, result = add.input[1 - place], add.output[0]
    del add.input[:]
    add.input.append(trunk)
    add.op_type = "Identity"
    if result in {value.name for value in graph.output} | _captured(graph):
        return
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == result:
                node.input[index] = trunk


def _captured(graph: onnx.GraphProto) -> set[str]:
    return {
        n for node in graph.node for inner in subgraphs_of_node(node) for n in free_names(inner)
    }


def _used(graph: onnx.GraphProto) -> set[str]:
    """Every tensor that the graph's outputs come from."""
    used = {value.name for value in graph.output}
    for node in reversed(graph.node):
        if used & set(node.output):
            used.update(node.input)
            for inner in subgraphs_of_node(node):
                used |= free_names(inner)
    return used


def _drop_unused(graph: onnx.GraphProto, used: set[str]) -> None:
    """Drop nodes, constants and declarations that were used before and are no more."""
    unused = used - _used(graph)
    constants = {tensor.name for tensor in graph.initializer} & unused
    _drop(graph.node, [unused.issuperset(filter(None, node.output)) for node in graph.node])
    _drop(graph.initializer, [tensor.name in constants for tensor in graph.initializer])
    _drop(graph.input, [value.name in constants for value in graph.input])
    _drop(graph.value_info, [value.name in unused for value in graph.value_info])


def _drop(elements: MutableSequence[Any], unwanted: Sequence[bool]) -> None:
    """Delete in place: to copy a list of weights would double them."""
    for place in reversed(range(len(unwanted))):
        if unwanted[place]:
            del elements[place]
