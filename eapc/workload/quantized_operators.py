"""Workloads of the operators on quantized tensors, ONNX's and onnxruntime's.

They do what their floating-point namesakes do, on integers; scales and zero points are a few
numbers and count as nothing. The widths of their operands come from `eapc.quantization`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from eapc.workload.loop_nests import StreamWorkload
from eapc.workload.mac_operators import conv, gemm, matmul
from eapc.workload.rules import Operands, Part, Work, workload_rule
from eapc.workload.stream_operators import pool, stream

ORT = "com.microsoft"

_MULTIPLYING: dict[tuple[str, str], tuple[Callable[[Operands], Work], int, int]] = {
    # domain and operator: what it does, and the places of its two factors
    ("", "QLinearConv"): (conv, 0, 3),
    ("", "ConvInteger"): (conv, 0, 1),
    ("", "QLinearMatMul"): (matmul, 0, 3),
    ("", "MatMulInteger"): (matmul, 0, 1),
    (ORT, "QLinearConv"): (conv, 0, 3),
    (ORT, "QGemm"): (gemm, 0, 3),
    (ORT, "MatMulIntegerToFloat"): (matmul, 0, 1),
    (ORT, "DynamicQuantizeMatMul"): (matmul, 0, 1),
}

_REQUANTIZE = 4
"""Operations to take an integer to a real number and back, scale and zero point each way."""

_PER_ELEMENT = {
    "QLinearAdd": ((0, 3), _REQUANTIZE + 3),
    "QLinearMul": ((0, 3), _REQUANTIZE + 3),
    "QLinearLeakyRelu": ((0,), _REQUANTIZE + 1),
    "QLinearSigmoid": ((0,), _REQUANTIZE + 1),
    "QLinearSoftmax": ((0,), _REQUANTIZE + 3),
}


def _register(domain: str, op_type: str) -> None:
    rule, left, right = _MULTIPLYING[domain, op_type]

    def quantized(operands: Operands) -> Work:
        return rule(operands.picked(left, right))

    workload_rule(op_type, domain=domain)(quantized)


for _domain, _op_type in _MULTIPLYING:
    _register(_domain, _op_type)


@workload_rule("DequantizeLinear")
def dequantize(operands: Operands) -> Work:
    """Two operations per element, and no traffic: whoever reads the result reads the integers."""
    load = StreamWorkload(operations=2 * math.prod(operands.output()))
    return Work((Part(load, ifmap=operands.node.inputs[0], ofmap=operands.node.outputs[0]),))


@workload_rule("DynamicQuantizeLinear")
def dynamic_quantize(operands: Operands) -> Work:
    """Least and greatest element, then scale and zero point."""
    return stream(operands, 4 * math.prod(operands.output()))


@workload_rule(*_PER_ELEMENT, domain=ORT)
def per_element(operands: Operands) -> Work:
    """From integers to real numbers, the operation, and back."""
    places, each = _PER_ELEMENT[operands.node.op_type]
    return stream(operands.picked(*places), each * math.prod(operands.output()))


@workload_rule("QLinearGlobalAveragePool", "QLinearReduceMean", domain=ORT)
def reduction(operands: Operands) -> Work:
    """One addition per input element; the mean alone is quantized anew."""
    operations = math.prod(operands.input(0)) + _REQUANTIZE * math.prod(operands.output())
    return stream(operands.picked(0), operations)


@workload_rule("QLinearAveragePool", domain=ORT)
def average_pool(operands: Operands) -> Work:
    """One addition per kernel element and output element."""
    return pool(operands.picked(0))


@workload_rule("QLinearConcat", domain=ORT)
def concat(operands: Operands) -> Work:
    """Every operand is brought to the result's scale; the triples of operands start at 2."""
    places = range(2, len(operands.node.inputs), 3)
    return stream(operands.picked(*places), _REQUANTIZE * math.prod(operands.output()))


@workload_rule("MatMulNBits", domain=ORT)
def matmul_n_bits(operands: Operands) -> Work:
    """x (*lead, K) @ packed weights (K, N) of `bits` bits: macs = prod(lead) K N."""
    x, node = operands.input(0), operands.node
    shape = (node.attribute("K", x[-1]), node.attribute("N", 0))
    return matmul(operands.picked(0, 1).with_shape(1, shape))
