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

_ANOTHER = 2
"""The same to take one more operand to a real number."""

_PER_ELEMENT = {
    "QLinearAdd": ((0, 3), _REQUANTIZE + _ANOTHER, 1),
    "QLinearMul": ((0, 3), _REQUANTIZE + _ANOTHER, 1),
    "QLinearLeakyRelu": ((0,), _REQUANTIZE, 1),
    "QLinearSigmoid": ((0,), _REQUANTIZE, 1),
    "QLinearSoftmax": ((0,), _REQUANTIZE, 3),
}
"""Places of operands, and operations per element: of requantisation, and of the operator's own."""


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
    places, between, own = _PER_ELEMENT[operands.node.op_type]
    elements = math.prod(operands.output())
    operations, requantising = (between + own) * elements, between * elements
    return stream(operands.picked(*places), operations, requantising=requantising)


@workload_rule("QLinearGlobalAveragePool", "QLinearReduceMean", domain=ORT)
def reduction(operands: Operands) -> Work:
    """One addition per input element; the mean alone is quantized anew."""
    requantising = _REQUANTIZE * math.prod(operands.output())
    operations = math.prod(operands.input(0)) + requantising
    return stream(operands.picked(0), operations, requantising=requantising)


@workload_rule("QLinearConcat", domain=ORT)
def concat(operands: Operands) -> Work:
    """Operands are brought to the result's scale; nothing is to be done where all have it.

    Scale and zero point of the result come first, then an operand and its own, one after another.
    """
    places = range(2, len(operands.node.inputs), 3)
    if all(_has_scale_of_result(operands, place) for place in places):
        return Work()
    operations = _REQUANTIZE * math.prod(operands.output())
    return stream(operands.picked(*places), operations, requantising=operations)


def _has_scale_of_result(operands: Operands, place: int) -> bool:
    """Whether an operand of a QLinearConcat has the scale and zero point of the result."""
    for own, result in ((place + 1, 0), (place + 2, 1)):
        names = operands.node.input(own), operands.node.input(result)
        values = [operands.number_of(name) for name in names if name]
        if names[0] != names[1] and (len(values) < 2 or None in values or values[0] != values[1]):
            return False
    return True


@workload_rule("MatMulNBits", domain=ORT)
def matmul_n_bits(operands: Operands) -> Work:
    """x (*lead, K) @ packed weights (K, N) of `bits` bits: macs = prod(lead) K N."""
    x, node = operands.input(0), operands.node
    shape = (node.attribute("K", x[-1]), node.attribute("N", 0))
    return matmul(operands.picked(0, 1).with_shape(1, shape))
