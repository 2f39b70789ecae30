"""From an ONNX node to its workloads: one pure rule per operator, in one table.

For an element-wise, copying or viewing operator, and for one that does the work of another, its
row in the table of operators is enough. For others write a function of an `Operands` under
`@workload_rule("Name")` in one of the modules of `RULE_MODULES`.
"""

from __future__ import annotations

from eapc.model import excess_of
from eapc.operators import Operator, operator, operator_of
from eapc.workload import (
    attention_operators,
    mac_operators,
    quantized_operators,
    recurrent_operators,
    signal_operators,
    state_operators,
)
from eapc.workload.rules import WORKLOAD_RULES, Operands, Rule, UnmodelledError, Work
from eapc.workload.stream_operators import STREAMED

__all__ = ["WORKLOAD_RULES", "Operands", "UnmodelledError", "Work", "work_of"]

RULE_MODULES = (
    attention_operators,
    mac_operators,
    quantized_operators,
    recurrent_operators,
    signal_operators,
    state_operators,
)
"""Imported for the rules that they enter in the table."""


def work_of(operands: Operands) -> Work:
    """The work of a node; raises UnmodelledError with the reason where no rule can tell."""
    node = operands.node
    rule = rule_of(operator_of(node))
    if node.domain and rule is None:
        raise UnmodelledError(f"no rule for {node.op_type} of domain '{node.domain}'")
    if node.inputs and all(operands.is_constant(i) for i, name in enumerate(node.inputs) if name):
        return Work()
    if rule is None:
        raise UnmodelledError(f"no rule for {node.op_type}")
    _require_sizes(operands)
    return rule(operands)


def _require_sizes(operands: Operands) -> None:
    """UnmodelledError where a kernel is larger than its map, of this node or of one in front."""
    row, shapes = operator_of(operands.node), operands.input_shapes
    if row.kind in ("convolution", "pooling") and shapes and shapes[0] is not None:
        place = (row.factors or (0, 1))[1]
        weights = shapes[place] if place < len(shapes) else None
        excess = excess_of(operands.node, shapes[0], (weights or ())[2:])
        if excess:
            raise UnmodelledError(str(excess))
    for shape in filter(None, (*shapes, *operands.output_shapes)):
        if min(shape, default=0) < 0:
            raise UnmodelledError(
                "a size would be negative: a kernel in front is too large; see --input-shape"
            )


def rule_of(row: Operator) -> Rule | None:
    """An operator's own rule, or that of what it is counted by, or of the operator it is like."""
    rule = WORKLOAD_RULES.get(row.full_name) or STREAMED.get(row.work)
    if rule is not None or not row.like:
        return rule
    like, places = rule_of(operator(row.like)), row.factors or (0,)
    return None if like is None else lambda operands: like(operands.picked(*places))
