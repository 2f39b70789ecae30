"""From an ONNX node to its workloads: one pure rule per operator, in one table.

To add an operator, write a function of an `Operands` under `@workload_rule("Name")` in
one of the modules of `RULE_MODULES`; for an element-wise, copying or viewing operator one
name in one of the tables of `stream_operators` is enough.
"""

from __future__ import annotations

from eapc.workload import (
    attention_operators,
    fused_operators,
    mac_operators,
    quantized_operators,
    recurrent_operators,
    stream_operators,
)
from eapc.workload.rules import WORKLOAD_RULES, Operands, UnmodelledError, Work, rule_name

__all__ = ["WORKLOAD_RULES", "Operands", "UnmodelledError", "Work", "work_of"]

RULE_MODULES = (
    attention_operators,
    fused_operators,
    mac_operators,
    quantized_operators,
    recurrent_operators,
    stream_operators,
)
"""Imported for the rules that they enter in the table."""


def work_of(operands: Operands) -> Work:
    """The work of a node; raises UnmodelledError with the reason where no rule can tell."""
    node = operands.node
    rule = WORKLOAD_RULES.get(rule_name(node.domain, node.op_type))
    if node.domain and rule is None:
        raise UnmodelledError(f"no rule for {node.op_type} of domain '{node.domain}'")
    if node.inputs and all(operands.is_constant(i) for i, name in enumerate(node.inputs) if name):
        return Work()
    if rule is None:
        raise UnmodelledError(f"no rule for {node.op_type}")
    return rule(operands)
