"""Workload of the product that onnxruntime's optimiser puts in the place of several nodes.

Its other fused operators do the work of their namesakes: the table of operators says so.
"""

from __future__ import annotations

from eapc.workload.mac_operators import matmul
from eapc.workload.rules import Operands, Work, workload_rule


@workload_rule("FusedMatMul", domain="com.microsoft")
def fused_matmul(operands: Operands) -> Work:
    """MatMul of scaled operands, of which the last two axes may be swapped first."""
    for place, name in enumerate(("transA", "transB")):
        shape = operands.input(place)
        if operands.node.attribute(name, 0) and len(shape) > 1:
            operands = operands.with_shape(place, (*shape[:-2], shape[-1], shape[-2]))
    return matmul(operands)
