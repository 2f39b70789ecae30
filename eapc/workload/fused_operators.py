"""Workloads of the operators that onnxruntime's optimiser puts in the place of several."""

from __future__ import annotations

import math

from eapc.workload.mac_operators import conv, gemm, matmul
from eapc.workload.rules import Operands, Work, workload_rule
from eapc.workload.stream_operators import stream

ORT = "com.microsoft"

_PER_OUTPUT_ELEMENT = {
    "Gelu": 3,
    "FastGelu": 4,
    "BiasGelu": 4,
    "QuickGelu": 3,
    "BiasSoftmax": 4,
    "BiasDropout": 2,
    "SkipLayerNormalization": 8,
    "SkipSimplifiedLayerNormalization": 6,
}


@workload_rule(*_PER_OUTPUT_ELEMENT, domain=ORT)
def element_wise(operands: Operands) -> Work:
    """A fixed number of operations per output element; every operand is read once."""
    each = _PER_OUTPUT_ELEMENT[operands.node.op_type]
    return stream(operands, each * math.prod(operands.output()))


@workload_rule("FusedConv", domain=ORT)
def fused_conv(operands: Operands) -> Work:
    """A Conv whose activation function is applied before its result is written."""
    return conv(operands)


@workload_rule("FusedGemm", domain=ORT)
def fused_gemm(operands: Operands) -> Work:
    """A Gemm whose activation function is applied before its result is written."""
    return gemm(operands)


@workload_rule("FusedMatMul", domain=ORT)
def fused_matmul(operands: Operands) -> Work:
    """MatMul of scaled operands, of which the last two axes may be swapped first."""
    for place, name in enumerate(("transA", "transB")):
        shape = operands.input(place)
        if operands.node.attribute(name, 0) and len(shape) > 1:
            operands = operands.with_shape(place, (*shape[:-2], shape[-1], shape[-2]))
    return matmul(operands)
