"""What a layer in a body reads and writes, brought out of If, Loop and Scan to the main graph.

A copy of the outermost node gives it back: as a further result of an If, whose other branches give
tensors without rows; as what a Loop or Scan collects over its runs, one run's rows behind the
other's. What the copy does for nothing else is left out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import AttributeProto, GraphProto, NodeProto, helper

from eapc.layers.taps import Nodes
from eapc.model import captured_by, subgraphs_of_node

_LOOP_INPUTS = 2
"""Trip count and condition, before the states; a body gives back the condition only."""


@dataclass(frozen=True)
class Gathered:
    """A tensor of rows along its first axis, in some graph.

    `trailing` are the sizes of its other axes, None where these are not known before it runs.
    """

    tensor: str
    kind: int
    trailing: tuple[int | None, ...]

    @property
    def is_known(self) -> bool:
        """Whether all axes but the first have known sizes."""
        return None not in self.trailing

    @property
    def none(self) -> tuple[int, ...]:
        """The shape of a tensor without rows."""
        return (0, *(size or 1 for size in self.trailing))


def lift(holder: NodeProto, place: int, found: Gathered, nodes: Nodes) -> Gathered:
    """Let a node give back what its body at a place has: rows in the graph that holds the node.

    `nodes` are what that graph is to have ahead of the node and behind it.
    """
    if holder.op_type == "If":
        return _lift_choice(holder, place, found, nodes)
    body = subgraphs_of_node(holder)[place]
    if holder.op_type == "Loop" and found.is_known:
        return _lift_state(holder, body, found, nodes)
    return _lift_runs(holder, body, found, nodes)


def _lift_choice(holder: NodeProto, place: int, found: Gathered, nodes: Nodes) -> Gathered:
    result = nodes.fresh()
    for index, branch in enumerate(subgraphs_of_node(holder)):
        name = found.tensor
        if index != place:
            name = nodes.fresh()
            empty = helper.make_tensor("", found.kind, found.none, b"", raw=True)
            branch.node.append(helper.make_node("Constant", [], [name], value=empty))
        branch.output.append(helper.make_tensor_value_info(name, found.kind, None))
    holder.output.append(result)
    return Gathered(result, found.kind, found.trailing)


def _lift_state(holder: NodeProto, body: GraphProto, found: Gathered, nodes: Nodes) -> Gathered:
    """As a state that grows, as the number of rows may differ from run to run."""
    result, before, after = nodes.fresh(), nodes.fresh(), nodes.fresh()
    states = len(body.input) - _LOOP_INPUTS
    empty = helper.make_tensor("", found.kind, found.none, b"", raw=True)
    begin = nodes.first("Constant", value=empty)
    while len(holder.input) < _LOOP_INPUTS:
        holder.input.append("")
    holder.input.append(begin)
    body.input.append(helper.make_tensor_value_info(before, found.kind, None))
    body.node.append(helper.make_node("Concat", [before, found.tensor], [after], axis=0))
    _insert(body.output, 1 + states, helper.make_tensor_value_info(after, found.kind, None))
    outputs = list(holder.output)
    outputs += [""] * (states - len(outputs))
    outputs.insert(states, result)
    holder.output[:] = [name or nodes.fresh() for name in outputs]
    return Gathered(result, found.kind, found.trailing)


def _insert(values: object, place: int, value: object) -> None:
    kept = list(values)  # type: ignore[call-overload]  # a repeated field
    del values[:]  # type: ignore[attr-defined]
    values.extend([*kept[:place], value, *kept[place:]])  # type: ignore[attr-defined]


def _lift_runs(holder: NodeProto, body: GraphProto, found: Gathered, nodes: Nodes) -> Gathered:
    """Collected over the runs, which all give as much."""
    body.output.append(helper.make_tensor_value_info(found.tensor, found.kind, None))
    for attribute in holder.attribute:
        if attribute.name in ("scan_output_axes", "scan_output_directions"):
            attribute.ints.append(0)
    missing = len(body.output) - (holder.op_type == "Loop") - 1 - len(holder.output)
    holder.output.extend(nodes.fresh() for _ in range(missing))
    collected = nodes.fresh()
    holder.output.append(collected)
    sizes = nodes.add("Shape", collected)
    rows = nodes.add("ReduceProd", nodes.slice(sizes, 0, 0, 2))
    trailing = nodes.slice(sizes, 0, 2, len(found.trailing) + 2)
    shape = nodes.add("Concat", rows, trailing, axis=0)
    return Gathered(nodes.add("Reshape", collected, shape), found.kind, found.trailing)


# --- what is done for nothing --------------------------------------------------------------------


def keep_only(graph: GraphProto, wanted: Sequence[str]) -> None:
    """Drop all nodes and results within nodes that some tensors of a graph do not depend on."""
    needed, kept = set(wanted), []
    for node in reversed(graph.node):
        if needed.isdisjoint(node.output):
            continue
        _drop_results(node, needed)
        kept.append(node)
        needed.update(name for name in (*node.input, *captured_by(node)) if name)
    ordered = [NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    del graph.node[:]
    graph.node.extend(ordered)


def _drop_results(node: NodeProto, needed: set[str]) -> None:
    """Let a node's bodies make only what is needed, and what its runs hand on."""
    for attribute in node.attribute:
        if attribute.type != AttributeProto.GRAPH:
            continue
        body = attribute.g
        if node.op_type == "If":
            kept = [name in needed for name in node.output]
            values = [value for value, is_kept in zip(body.output, kept, strict=True) if is_kept]
            values = [type(value).FromString(value.SerializeToString()) for value in values]
            del body.output[:]
            body.output.extend(values)
        keep_only(body, [value.name for value in body.output])
    if node.op_type == "If":
        node.output[:] = [name for name in node.output if name in needed]
