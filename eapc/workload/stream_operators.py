"""Workloads of the operators that stream their operands: element-wise, pooling, copies, views."""

from __future__ import annotations

import math
from collections.abc import Iterable

from eapc.workload.loop_nests import StreamWorkload
from eapc.workload.rules import Operands, Part, Work, workload_rule

_PER_OUTPUT_ELEMENT = {
    # operations per output element; transcendental functions count as one
    **dict.fromkeys(
        """Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr
        BitwiseXor Cast CastLike Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Greater
        GreaterOrEqual HardSigmoid IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mod
        Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus
        Softsign Sqrt Sub Sum Tan Tanh ThresholdedRelu Where Xor""".split(),
        1,
    ),
    **dict.fromkeys(("BatchNormalization", "QuantizeLinear"), 2),
    **dict.fromkeys(("Gelu", "HardSwish", "Mish", "Swish"), 3),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), 3),
    **dict.fromkeys(("InstanceNormalization", "LpNormalization", "MeanVarianceNormalization"), 5),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization"), 7),
    **dict.fromkeys(("RMSNormalization", "SimplifiedLayerNormalization"), 5),
}

_COPIES = frozenset(
    """Bernoulli BlackmanWindow Compress CumSum DepthToSpace EyeLike Expand Gather GatherElements
    GatherND HammingWindow HannWindow Multinomial NonZero OneHot Pad RandomNormal
    RandomNormalLike RandomUniform RandomUniformLike Range ReverseSequence Scatter
    ScatterElements ScatterND SpaceToDepth Tile Transpose Trilu Unique Resize Upsample""".split()
)

_VIEWS = frozenset(
    """Concat Constant ConstantOfShape Dropout Flatten Identity Reshape Shape Size Slice Split
    Squeeze Unsqueeze""".split()
)
"""Neither move nor compute: a producer writes, and a consumer reads, at the right address."""

_REDUCTIONS = frozenset(
    """ArgMax ArgMin GlobalAveragePool GlobalLpPool GlobalMaxPool ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    TopK""".split()
)


def stream(operands: Operands, operations: int, read: Iterable[int] | None = None) -> Work:
    """Every operand is read once, the first output written once."""
    node = operands.node
    indices = [i for i, name in enumerate(node.inputs) if name] if read is None else list(read)
    moving = [i for i in indices if not operands.is_constant(i)]
    words = {i: math.prod(operands.input(i)) for i in indices}
    workload = StreamWorkload(
        operations=operations,
        ifmap_words=sum(words[i] for i in moving),
        weight_words=sum(words[i] for i in indices if i not in moving),
        ofmap_words=math.prod(operands.output()),
    )
    ifmap = node.inputs[moving[0]] if moving else ""
    return Work((Part(workload, ifmap=ifmap, ofmap=node.outputs[0]),))


@workload_rule(*_PER_OUTPUT_ELEMENT)
def element_wise(operands: Operands) -> Work:
    """A fixed number of operations per output element."""
    each = _PER_OUTPUT_ELEMENT[operands.node.op_type]
    return stream(operands, each * math.prod(operands.output()))


@workload_rule(*_REDUCTIONS)
def reduction(operands: Operands) -> Work:
    """One operation per input element."""
    return stream(operands, math.prod(operands.input(0)), read=[0])


@workload_rule(*_VIEWS)
def view(_: Operands) -> Work:
    """No operations and no traffic."""
    return Work()


@workload_rule(*_COPIES)
def copy(operands: Operands) -> Work:
    """Each output word is read once from somewhere and written once; nothing is computed."""
    node = operands.node
    words = math.prod(operands.output())
    constant = operands.is_constant(0)
    workload = StreamWorkload(
        ifmap_words=0 if constant else words,
        weight_words=words if constant else 0,
        ofmap_words=words,
    )
    ifmap = "" if constant or not node.inputs else node.inputs[0]
    return Work((Part(workload, ifmap=ifmap, ofmap=node.outputs[0]),))


@workload_rule("MaxPool", "AveragePool", "LpPool")
def pool(operands: Operands) -> Work:
    """One operation per kernel element and output element."""
    kernel = math.prod(operands.node.attribute("kernel_shape", []))
    return stream(operands, kernel * math.prod(operands.output()))


@workload_rule("LRN")
def local_response_normalization(operands: Operands) -> Work:
    """`size` squares summed, then one power and one division, per element."""
    size = operands.node.attribute("size", 1)
    return stream(operands, (size + 2) * math.prod(operands.output()))
