"""From an ONNX node to its workloads: one pure rule per operator, in one table.

For an element-wise, copying or viewing operator, and for one that does the work of another, its
row in the table of operators is enough. For others write a function of an `Operands` under
`@workload_rule("Name")` in one of the modules of `RULE_MODULES`.
"""

from __future__ import annotations

from eapc.operators import Operator, operator, operator_of
from eapc.workload import (
    attention_operators,
    mac_operators,
    quantized_operators,
    recurrent_operators,
)
from eapc.workload.rules import WORKLOAD_RULES, Operands, Rule, UnmodelledError, Work
from eapc.workload.stream_operators import STREAMED

__all__ = ["WORKLOAD_RULES", "Operands", "UnmodelledError", "Work", "work_of"]

RULE_MODULES = (
    attention_operators,
    mac_operators,
    quantized_operators,
    recurrent_operators,
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
    for shape in filter(None, (*operands.input_shapes, *operands.output_shapes)):
        if min(shape, default=0) < 0:
            own = operator_of(node).kind in ("convolution", "pooling")
            whose = "its kernel is larger than its map" if own else "a kernel in front is too large"
            raise UnmodelledError(f"a size would be negative: {whose}; see --input-shape")
    return rule(operands)


def rule_of(row: Operator) -> Rule | None:
    """An operator's own rule, or that of what it is counted by, or of the operator it is like."""
    rule = WORKLOAD_RULES.get(row.full_name) or STREAMED.get(row.work)
    if rule is not None or not row.like:
        return rule
    like, places = rule_of(operator(row.like)), row.factors or (0,)
    return None if like is None else lambda operands: like(operands.picked(*places))
