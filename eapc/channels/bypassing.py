"""Taking out branches without channels: the trunk goes on, plus the constant they ended in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from eapc.channels.groups import Branch
from eapc.model import Array, GraphEditor, plain_tensors, walk
from eapc.operators import operator_of


def bypass(
    proto: ModelProto, editor: GraphEditor, branches: Iterable[Branch], folder: str
) -> frozenset[str]:
    """Remove branches from a model, in place, whose channels have been taken out of it.

    `folder` is where its external data lies. Returns the constants that are added instead.
    """
    branches = list(branches)
    nodes = {node.key: target for node, target in walk(proto.graph)}
    ends = _constant_ends(proto, branches, nodes, folder)
    added = set()
    for key, place in dict.fromkeys(add for one in branches for add in one.adds):
        add = editor.node(key)
        end = ends[add.input[place]]
        if np.any(end):
            name = editor.add_constant(_end_name(add.input[place]), end)
            editor.rewire(add, place, name)
            added.add(name)
        else:
            editor.bypass(add, add.input[1 - place])
    editor.drop_unused()
    return frozenset(added)


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
    constants = plain_tensors(proto.graph)
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
