"""Removable branches: where they end once all their channels are gone, and what stays of them.

Without inputs a layer writes its bias everywhere. What follows turns that into another constant,
up to an Add that has the trunk for its other operand. Once the channels are gone, that constant
is folded and added to the trunk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from eapc.channels.groups import Branch, ChannelGroup, Slice
from eapc.channels.nodes import Graph
from eapc.errors import ModelError
from eapc.model import Array, GraphEditor, Model, Node, evaluate_node
from eapc.operators import operator_of


def with_branches(
    graph: Graph, groups: Iterable[ChannelGroup]
) -> tuple[tuple[ChannelGroup, ...], dict[str, Branch]]:
    """The groups, marked where all channels can go, and how their branches end by name.

    Where both operands of an Add could be such branches, the first group's branch is the one.
    """
    finder = _BranchFinder(graph)
    taken: dict[str, int] = {}
    branches: dict[str, Branch] = {}
    marked = []
    for group in groups:
        branch = finder.branch(group)
        if branch and all(taken.get(add, place) == place for add, place in branch.adds):
            taken |= dict(branch.adds)
            branches[group.name] = branch
        marked.append(replace(group, may_vanish=group.name in branches))
    return tuple(marked), branches


@dataclass(frozen=True)
class _BranchFinder:
    """Follows what layers without inputs write, constants per channel, through a model."""

    graph: Graph

    def branch(self, group: ChannelGroup) -> Branch | None:
        """The branch inside of which the group lies; None where there is none that could go."""
        inside = {cut.tensor for cut in group.slices} - self.graph.model.constants.plain.keys()
        consumers = self._consumers(group, inside)
        if not consumers or not all(map(self._is_whole, group.slices)):
            return None
        adds: list[tuple[str, int]] = []
        constant = {node.outputs[0] for node in consumers}
        for node in self.graph.model.view.main_nodes:
            is_behind = not constant.isdisjoint(self.graph.model.view.dependencies(node))
            if not is_behind or node in consumers or node.outputs[0] in inside:
                continue
            if self._is_trunk(node, constant):
                adds.append((node.key, int(node.inputs[1] in constant)))
            elif self._stays_constant(node, constant):
                constant.add(node.outputs[0])
            else:
                return None
        if not adds or not constant.isdisjoint(self.graph.model.outputs):
            return None
        return Branch(tuple(node.key for node in consumers), tuple(adds))

    def _is_whole(self, cut: Slice) -> bool:
        """True where nothing of an axis would be left."""
        shape = self.graph.shape(cut.tensor)
        return shape is not None and cut.indices.size >= shape[cut.axis]

    def _consumers(self, group: ChannelGroup, inside: set[str]) -> list[Node]:
        """The layers behind the channels; none where anything else reads them."""
        readers = {node for tensor in inside for node in self.graph.model.view.consumers(tensor)}
        found = [
            node
            for node in self.graph.model.view.main_nodes
            if node in readers and node.outputs[0] not in inside
        ]
        are_layers = all(node.key in group.consumers and self._writes_bias(node) for node in found)
        return found if are_layers else []

    def _writes_bias(self, node: Node) -> bool:
        """True where a layer without inputs writes one constant per channel."""
        bias = node.input(2)
        shape = self.graph.plain_shape(bias) if bias else ()
        is_vector = shape is not None and not any(size > 1 for size in shape[:-1])
        is_plain = node.input(1) in self.graph.model.constants.plain
        return operator_of(node).weights is not None and is_plain and is_vector

    def _is_trunk(self, node: Node, constant: set[str]) -> bool:
        """True for an Add of the branch to something as large as the sum that is no constant."""
        others = [name for name in node.inputs if name not in constant]
        if node.op_type != "Add" or node.domain or len(others) != 1:
            return False
        shape = (
            None if others[0] in self.graph.model.constants.plain else self.graph.shape(others[0])
        )
        return shape is not None and shape == self.graph.shape(node.outputs[0])

    def _stays_constant(self, node: Node, constant: set[str]) -> bool:
        """True where a constant per channel goes in and one comes out, the same everywhere."""
        others = set(self.graph.model.view.dependencies(node)) - constant
        given = others <= self.graph.model.constants.plain.keys()
        if not onnx.defs.has(node.op_type, node.domain) or not given or len(node.outputs) > 1:
            return False  # what onnx does not know it cannot evaluate
        return operator_of(node).keeps_constants or self._is_pointwise(node)

    def _is_pointwise(self, node: Node) -> bool:
        """True for a layer whose every output reads one position alone, none of it padding."""
        row, shape = operator_of(node), self.graph.plain_shape(node.input(1)) or ()
        if row.weights is None or row.kind == "transposed convolution":
            return False
        if row.kind == "convolution":
            return set(shape[2:]) <= {1} and not any(node.attribute("pads", ()))
        return not node.attributes.get(row.weights.x_swapped_by, 0)


def remove_branches(model: Model, editor: GraphEditor, branches: Sequence[Branch]) -> set[str]:
    """Remove branches whose channels are gone from a model that is being edited.

    Returns the constants that are added instead.
    """
    consumers = {key for branch in branches for key in branch.consumers}
    added = set()
    for key, place in dict.fromkeys(add for branch in branches for add in branch.adds):
        add = editor.node(key)
        tensor = add.input[place]
        end = _folded(model, tensor, consumers)
        if end.any():
            name = editor.add_constant(f"{tensor}@constant", end)
            editor.rewire(add, place, name)
            added.add(name)
        else:
            editor.bypass(add, add.input[1 - place])
    editor.drop_unused()
    return added


def _folded(model: Model, tensor: str, consumers: Collection[str]) -> Array:
    """What a tensor is once these layers have no inputs."""
    node = model.view.producer(tensor)
    if tensor in model.constants or node is None:
        return model.constants[tensor]
    if node.key in consumers:
        return _bias(model, node)
    feeds = {name: _folded(model, name, consumers) for name in node.inputs if name}
    opsets = model.view.proto.opset_import
    value = evaluate_node(model.view.node_proto(node), feeds, opsets)
    if value is None:
        raise ModelError(f"the branch around {node.op_type} '{node.key}' cannot be folded")
    return value


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
