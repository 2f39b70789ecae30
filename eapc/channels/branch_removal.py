"""Taking out branches without channels: the trunk goes on, plus the constant they ended in."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from eapc.channels.groups import Branch
from eapc.model import Array, GraphEditor, Model, Node, evaluate_node
from eapc.operators import operator_of


def remove_branches(model: Model, editor: GraphEditor, branches: Iterable[Branch]) -> set[str]:
    """Remove branches whose channels are gone from a model that is being edited.

    Returns the constants that are added instead.
    """
    branches = list(branches)
    consumers = {key for branch in branches for key in branch.consumers}
    path = {key for branch in branches for key in branch.path}
    known: dict[str, Array] = {}
    for node in model.view.main_nodes:
        if node.key in consumers:
            known[node.outputs[0]] = _bias(model, node)
        elif node.key in path:
            known[node.outputs[0]] = _evaluated(model, node, known)
    added = set()
    for key, place in dict.fromkeys(add for branch in branches for add in branch.adds):
        add = editor.node(key)
        tensor = add.input[place]
        if known[tensor].any():
            name = editor.add_constant(f"{tensor}@constant", known[tensor])
            editor.rewire(add, place, name)
            added.add(name)
        else:
            editor.bypass(add, add.input[1 - place])
    editor.drop_unused()
    return added


def _bias(model: Model, node: Node) -> Array:
    """What a layer without inputs writes, one number per channel."""
    layout = operator_of(node).weights
    assert layout is not None  # the branch ends in layers
    weight = node.input(layout.operand)
    shape = model.constants.shape(weight) or ()
    row = np.zeros(layout.output_count(node.attributes, shape), model.constants.dtype(weight))
    bias = layout.bias_of(node.inputs)
    if bias:
        factor = layout.bias_factor(node.attributes)
        row = ((row + model.constants[bias].reshape(-1)) * factor).astype(row.dtype)
    return row.reshape(1, -1, *(1,) * (-1 - layout.channel_axis(len(shape))))


def _evaluated(model: Model, node: Node, known: dict[str, Array]) -> Array:
    feeds = {
        name: known[name] if name in known else model.constants[name]
        for name in node.inputs
        if name
    }
    opsets = model.view.proto.opset_import
    value = evaluate_node(model.view.node_proto(node), feeds, opsets)
    assert value is not None  # onnx knows the operator
    return value
