"""Inputs whose first axis counts no inferences but the steps of a sequence."""

from __future__ import annotations

from eapc.model.graph import GraphView, Node
from eapc.operators import operator_of

_KEEPING = ("unary", "broadcasting", "normalisation", "quantization")
"""Kinds of operators whose result has the first axis of what they read."""


def step_inputs(view: GraphView) -> frozenset[str]:
    """Inputs (steps, batch, values) whose fixed number of steps a recurrent layer goes through."""
    return view.analyses.once("step inputs", lambda: frozenset(_step_inputs(view)))


def _step_inputs(view: GraphView) -> set[str]:
    return {
        spec.name
        for spec in view.inputs
        if len(spec.shape) == 3 and isinstance(spec.shape[0], int) and _is_stepped(view, spec.name)
    }


def _is_stepped(view: GraphView, tensor: str) -> bool:
    """Whether a recurrent layer reads a tensor, or what keeps its first axis, step by step."""
    pending, seen = [tensor], {tensor}
    while pending:
        name = pending.pop()
        for node in view.consumers(name):
            if operator_of(node).kind == "recurrent" and node.input(0) == name:
                if not node.attribute("layout", 0):
                    return True
            elif _keeps_first_axis(view, node, name) and node.outputs[0] not in seen:
                seen.add(node.outputs[0])
                pending.append(node.outputs[0])
    return False


def _keeps_first_axis(view: GraphView, node: Node, tensor: str) -> bool:
    row = operator_of(node)
    if node.input(0) != tensor and row.kind != "broadcasting":
        return False
    if row.kind == "product":
        other = view.initializers.get(node.input(1))
        return other is not None and len(other.dims) == 2
    if node.op_type == "Transpose":
        return bool(node.attribute("perm", (1,))[0] == 0)
    return row.kind in _KEEPING
