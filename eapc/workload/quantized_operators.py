"""Workloads of the operators on quantized tensors, ONNX's and onnxruntime's.

They do what their floating-point namesakes do, on integers; scales and zero points are a few
numbers and count as nothing; products have the rules of these namesakes, which the table of
operators names. The widths of their operands come from `eapc.model.weights`.
"""

from __future__ import annotations

import math

from eapc.workload.loop_nests import StreamWorkload
from eapc.workload.mac_operators import matmul
from eapc.workload.rules import Operands, Part, Work, workload_rule
from eapc.workload.stream_operators import stream

ORT = "com.microsoft"

_REQUANTIZE = 4
"""Operations to take an integer to a real number and back, scale and zero point each way."""

_PER_ELEMENT = {
    "QLinearAdd": ((0, 3), _REQUANTIZE + 3),
    "QLinearMul": ((0, 3), _REQUANTIZE + 3),
    "QLinearLeakyRelu": ((0,), _REQUANTIZE + 1),
    "QLinearSigmoid": ((0,), _REQUANTIZE + 1),
    "QLinearSoftmax": ((0,), _REQUANTIZE + 3),
}


@workload_rule("DequantizeLinear")
def dequantize(operands: Operands) -> Work:
    """Two operations per element, and no traffic: whoever reads the result reads the integers."""
    load = StreamWorkload(operations=2 * math.prod(operands.output()), requantises=True)
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
