"""From an ONNX node to its workloads: one pure rule per operator, in one table.

To add an operator, write a function of an `Operands` under `@workload_rule("Name")`; for an
element-wise, copying or viewing operator one name in one of the tables below is enough.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product

from eapc.graph import Node
from eapc.workload import (
    ConvWorkload,
    StreamWorkload,
    Workload,
    same_padding,
    unpadded_taps,
)

Shape = tuple[int, ...]


class UnmodelledError(Exception):
    """A node's work cannot be told; the message says why. Caught by the energy model."""


@dataclass(frozen=True)
class Operands:
    """What a rule may look at: a node, the shapes of its operands, which are constants."""

    node: Node
    input_shapes: tuple[Shape | None, ...]
    output_shapes: tuple[Shape | None, ...]
    constant_inputs: tuple[bool, ...]
    opset: int = 17

    def input(self, index: int) -> Shape:
        """Shape of an input; raises UnmodelledError where it is unknown."""
        shape = self.input_shapes[index] if index < len(self.input_shapes) else None
        if shape is None:
            raise UnmodelledError(f"shape of input {index} is unknown")
        return shape

    def output(self) -> Shape:
        """Shape of the first output; raises UnmodelledError where it is unknown."""
        shape = self.output_shapes[0] if self.output_shapes else None
        if shape is None:
            raise UnmodelledError("shape of the output is unknown")
        return shape

    def is_constant(self, index: int) -> bool:
        """True when an input never changes between inferences."""
        return index < len(self.constant_inputs) and self.constant_inputs[index]


@dataclass(frozen=True)
class Work:
    """A node's workloads and the tensors that play their weights, ifmap and ofmap."""

    workloads: tuple[Workload, ...]
    weights: str = ""
    ifmap: str = ""
    ofmap: str = ""


Rule = Callable[[Operands], Work]
WORKLOAD_RULES: dict[str, Rule] = {}


def workload_rule(*op_types: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators of the default domain; a second rule for one raises."""

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            if op_type in WORKLOAD_RULES:
                raise ValueError(f"operator {op_type} has a workload rule already")
            WORKLOAD_RULES[op_type] = rule
        return rule

    return register


def work_of(operands: Operands) -> Work:
    """The work of a node; raises UnmodelledError with the reason where no rule can tell."""
    node = operands.node
    if node.domain:
        raise UnmodelledError(f"no rule for {node.op_type} of domain '{node.domain}'")
    if node.inputs and all(operands.is_constant(i) for i, name in enumerate(node.inputs) if name):
        return Work(())
    rule = WORKLOAD_RULES.get(node.op_type)
    if rule is None:
        raise UnmodelledError(f"no rule for {node.op_type}")
    return rule(operands)


# --- multiply-accumulate operators -----------------------------------------------------------


@dataclass(frozen=True)
class _Axis:
    """One spatial axis of a convolution."""

    size: int
    output: int
    kernel: int
    stride: int
    dilation: int
    pad_begin: int

    @property
    def unpadded(self) -> float:
        return unpadded_taps(
            self.size, self.output, self.kernel, self.stride, self.dilation, self.pad_begin
        )


_UNIT_AXIS = _Axis(1, 1, 1, 1, 1, 0)


def _axes(node: Node, sizes: Shape, outputs: Shape, kernel: Shape) -> list[_Axis]:
    rank = len(kernel)
    strides = node.attribute("strides", [1] * rank)
    dilations = node.attribute("dilations", [1] * rank)
    pads = node.attribute("pads", [0] * (2 * rank))
    auto_pad = node.attribute("auto_pad", "NOTSET")
    axes = []
    for i in range(rank):
        begin = pads[i]
        if auto_pad.startswith("SAME"):
            pair = same_padding(sizes[i], outputs[i], kernel[i], strides[i], dilations[i])
            begin = pair[0] if auto_pad == "SAME_UPPER" else pair[1]
        axes.append(_Axis(sizes[i], outputs[i], kernel[i], strides[i], dilations[i], begin))
    return axes


@workload_rule("Conv")
def conv(operands: Operands) -> Work:
    """x (N, C, *spatial), w (M, C/g, *kernel): macs = N M C/g prod(kernel) prod(output).

    One spatial axis becomes the columns of a single row; the depth axis of a 3-D convolution
    counts as more inferences (its outputs) and more channels (its kernel).
    """
    x, w, y = operands.input(0), operands.input(1), operands.output()
    axes = _axes(operands.node, x[2:], y[2:], w[2:])
    if len(axes) > 3:
        raise UnmodelledError(f"{len(axes)} spatial axes")
    depth, rows, columns = [_UNIT_AXIS] * (3 - len(axes)) + axes
    groups = operands.node.attribute("group", 1)
    workload = ConvWorkload(
        batch=x[0] * depth.output,
        groups=groups,
        filters_per_group=w[0] // groups,
        channels_per_group=w[1] * depth.kernel,
        ofmap_rows=rows.output,
        ofmap_columns=columns.output,
        filter_rows=rows.kernel,
        filter_columns=columns.kernel,
        stride_rows=rows.stride,
        stride_columns=columns.stride,
        dilation_rows=rows.dilation,
        dilation_columns=columns.dilation,
        unpadded_fraction=depth.unpadded * rows.unpadded * columns.unpadded,
    )
    return _mac_work(operands, (workload,))


def _mac_work(operands: Operands, workloads: tuple[Workload, ...], weights: int = 1) -> Work:
    inputs = operands.node.inputs
    return Work(workloads, inputs[weights], inputs[1 - weights], operands.node.outputs[0])


@workload_rule("ConvTranspose")
def conv_transpose(operands: Operands) -> Work:
    """x (N, C, *spatial), w (C, M/g, *kernel), split into its stride-1 convolutions.

    The outputs with equal position modulo the stride see the same taps: each such phase is a
    plain convolution over the ifmap, so no zero is ever multiplied (sub-pixel form, Shi et
    al., CVPR 2016); phases of equal size are filters of one convolution.
    macs = N C M/g * (sum over phases of taps * positions), multiplied over the axes.
    """
    x, w, y = operands.input(0), operands.input(1), operands.output()
    kernel, outputs = w[2:], y[2:]
    if len(kernel) not in (1, 2):
        raise UnmodelledError(f"{len(kernel)} spatial axes")
    strides = operands.node.attribute("strides", [1] * len(kernel))
    dilations = operands.node.attribute("dilations", [1] * len(kernel))
    if any(d != 1 and s != 1 for d, s in zip(dilations, strides, strict=True)):
        raise UnmodelledError("dilation together with stride")
    phases = [list(_phases(*axis)) for axis in zip(kernel, strides, outputs, strict=True)]
    groups = operands.node.attribute("group", 1)
    if len(phases) == 1:
        phases.insert(0, [(1, 1)])
    workloads = tuple(
        ConvWorkload(
            batch=x[0],
            groups=groups,
            filters_per_group=w[1] * alike,
            channels_per_group=w[0] // groups,
            ofmap_rows=rows,
            ofmap_columns=columns,
            filter_rows=row_taps,
            filter_columns=column_taps,
        )
        for ((row_taps, rows), (column_taps, columns)), alike in Counter(product(*phases)).items()
    )
    return _mac_work(operands, workloads)


def _phases(kernel: int, stride: int, output: int) -> Iterable[tuple[int, int]]:
    """(taps, positions) of each residue class of one axis; classes without either drop out."""
    for phase in range(min(stride, output)):
        taps = math.ceil((kernel - phase) / stride)
        if taps > 0:
            yield taps, math.ceil((output - phase) / stride)


@workload_rule("Gemm")
def gemm(operands: Operands) -> Work:
    """x (n, k) @ w (k, m): macs = n k m; the constant operand is the weights, else the second."""
    a, b = operands.input(0), operands.input(1)
    rows, inner = reversed(a) if operands.node.attribute("transA", 0) else a
    columns = b[0] if operands.node.attribute("transB", 0) else b[1]
    if operands.is_constant(0) and not operands.is_constant(1):
        return _mac_work(operands, (_fully_connected(columns, inner, rows),), weights=0)
    return _mac_work(operands, (_fully_connected(rows, inner, columns),))


def _fully_connected(batch: int, inputs: int, outputs: int) -> ConvWorkload:
    return ConvWorkload(batch, 1, outputs, inputs, 1, 1)


@workload_rule("MatMul")
def matmul(operands: Operands) -> Work:
    """A (*lead, m, k) @ B (*lead, k, n): macs = prod(lead) m k n.

    With a constant B of rank two the m rows are a column of 1x1 outputs; with two
    activations, or weights per leading index, each leading index is a group of its own.
    """
    a, b = operands.input(0), operands.input(1)
    a = (1, *a) if len(a) == 1 else a
    b = (*b, 1) if len(b) == 1 else b
    if len(a) == 2 and operands.is_constant(0) and not operands.is_constant(1):
        # W @ x: every column of x is an input vector
        workload = ConvWorkload(math.prod(b[:-2]), 1, a[-2], a[-1], b[-1], 1)
        return _mac_work(operands, (workload,), weights=0)
    if len(b) == 2:
        if len(a) == 2:
            return _mac_work(operands, (_fully_connected(a[0], a[1], b[1]),))
        workload = ConvWorkload(math.prod(a[:-2]), 1, b[1], a[-1], a[-2], 1)
        return _mac_work(operands, (workload,))
    lead = math.prod(_broadcast(a[:-2], b[:-2]))
    return _mac_work(operands, (ConvWorkload(1, lead, b[-1], a[-1], a[-2], 1),))


def _broadcast(left: Shape, right: Shape) -> Shape:
    longest = max(len(left), len(right))
    padded = [(1,) * (longest - len(shape)) + shape for shape in (left, right)]
    return tuple(max(pair) for pair in zip(*padded, strict=True))


# --- operators that stream their operands ----------------------------------------------------

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
    **dict.fromkeys(("BatchNormalization", "DequantizeLinear", "QuantizeLinear"), 2),
    **dict.fromkeys(("Gelu", "HardSwish", "Mish", "Swish"), 3),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), 3),
    **dict.fromkeys(("InstanceNormalization", "LpNormalization", "MeanVarianceNormalization"), 5),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization"), 7),
    **dict.fromkeys(("RMSNormalization",), 5),
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


def _stream(operands: Operands, operations: int, read: Iterable[int] | None = None) -> Work:
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
    return Work((workload,), ifmap=ifmap, ofmap=node.outputs[0])


@workload_rule(*_PER_OUTPUT_ELEMENT)
def element_wise(operands: Operands) -> Work:
    """A fixed number of operations per output element."""
    each = _PER_OUTPUT_ELEMENT[operands.node.op_type]
    return _stream(operands, each * math.prod(operands.output()))


@workload_rule(*_REDUCTIONS)
def reduction(operands: Operands) -> Work:
    """One operation per input element."""
    return _stream(operands, math.prod(operands.input(0)), read=[0])


@workload_rule(*_VIEWS)
def view(_: Operands) -> Work:
    """No operations and no traffic."""
    return Work(())


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
    return Work((workload,), ifmap=ifmap, ofmap=node.outputs[0])


@workload_rule("MaxPool", "AveragePool", "LpPool")
def pool(operands: Operands) -> Work:
    """One operation per kernel element and output element."""
    kernel = math.prod(operands.node.attribute("kernel_shape", []))
    return _stream(operands, kernel * math.prod(operands.output()))


@workload_rule("LRN")
def local_response_normalization(operands: Operands) -> Work:
    """`size` squares summed, then one power and one division, per element."""
    size = operands.node.attribute("size", 1)
    return _stream(operands, (size + 2) * math.prod(operands.output()))


@workload_rule("Einsum")
def einsum(operands: Operands) -> Work:
    """Two operands: macs = the product of all index sizes; other forms are not modelled."""
    equation = operands.node.attribute("equation", "").replace(" ", "")
    if equation.count(",") != 1 or "->" not in equation or "." in equation:
        raise UnmodelledError(f"Einsum of the form '{equation}'")
    terms, result = equation.split("->")
    left, right = terms.split(",")
    sizes: dict[str, int] = {}
    for labels, index in ((left, 0), (right, 1)):
        sizes.update(zip(labels, operands.input(index), strict=True))
    shared = set(left) & set(right) & set(result)

    def extent(labels: set[str]) -> int:
        return math.prod(sizes[label] for label in labels)

    workload = ConvWorkload(
        batch=1,
        groups=extent(shared),
        filters_per_group=extent(set(right) - set(left)),
        channels_per_group=extent((set(left) & set(right)) - shared),
        ofmap_rows=extent(set(left) - set(right)),
        ofmap_columns=1,
    )
    return _mac_work(operands, (workload,))
