"""Rows of ONNX's operators."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from eapc.operators.operator import (
    Operator,
    QuantizedOperands,
    Substitute,
    WeightLayout,
    element_wise,
)

MIXES = "mixes their channels"
REGROUPS = "regroups their channels"
PICKS = "picks some of their channels by number"
POSITIONS = "takes their channels for positions"


def _rows(names: str, **traits: Any) -> tuple[Operator, ...]:
    return tuple(Operator(name, **traits) for name in names.split())


def _element_wise(names: str, **traits: Any) -> tuple[Operator, ...]:
    return tuple(element_wise(name, **traits) for name in names.split())


_UNARY = (
    *_element_wise(
        "Abs Ceil Celu Elu Erf Floor Neg PRelu Round Selu Sign Softsign Sqrt ThresholdedRelu",
        keeps_zero=True,
    ),
    *_element_wise("Cast", keeps_zero=True, shows_weights=True),
    *_element_wise("Exp Log Reciprocal Softplus"),
    *_element_wise("Gelu HardSwish Mish Swish", operations=3, keeps_zero=True),
    *_element_wise("LeakyRelu Tanh", keeps_zero=True, absorbed_as="activation"),
    *_element_wise("HardSigmoid Sigmoid", absorbed_as="activation"),
    *_element_wise("Relu", keeps_zero=True, keeps_width=True, absorbed_as="activation"),
    *_element_wise("Clip", keeps_width=True, absorbed_as="activation"),
    *_element_wise("Asin Asinh Atan Atanh CastLike Sin Sinh Tan", fuses=False, keeps_zero=True),
    *_element_wise("Acos Acosh BitwiseNot Cos Cosh IsInf IsNaN Not Shrink", fuses=False),
    *_element_wise("Dropout", work="view", fuses=False, keeps_zero=True),
    element_wise(
        "Identity", work="view", fuses=False,
        keeps_zero=True, keeps_width=True, shows_weights=True, invertible=True,
    ),
)  # fmt: skip

_BROADCASTING = (
    *_element_wise("Max Min Mul Sub", kind="broadcasting", keeps_zero=True),
    *_element_wise("Add Sum", kind="broadcasting", keeps_zero=True, absorbed_as="sum"),
    *_element_wise("Div Pow", kind="broadcasting"),
    *_element_wise("SwiGLU", kind="broadcasting", operations=4, keeps_zero=True),
    *_element_wise(
        "And BitShift BitwiseAnd BitwiseOr BitwiseXor Mean Or Where Xor",
        kind="broadcasting",
        fuses=False,
        keeps_zero=True,
    ),
    *_element_wise(
        "Equal Greater GreaterOrEqual Less LessOrEqual Mod", kind="broadcasting", fuses=False
    ),
)

_POOLING = (
    *_rows(
        "AveragePool LpPool", kind="pooling", work="kernel",
        effect=POSITIONS, varies=True, keeps_zero=True,
    ),
    Operator(
        "MaxPool", kind="pooling", work="kernel",
        effect=POSITIONS, varies=True, keeps_zero=True, keeps_width=True,
    ),
    *_rows(
        "GlobalAveragePool GlobalLpPool GlobalMaxPool", kind="pooling", work="input",
        effect=POSITIONS, varies=True, keeps_zero=True,
    ),
    Operator("GridSample", kind="pooling", effect=POSITIONS),
)  # fmt: skip

_REDUCTIONS = (
    *_rows(
        "ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum ReduceSumSquare",
        kind="reduction", work="input", effect=MIXES, varies=True, keeps_zero=True,
    ),
    *_rows(
        "ReduceLogSum ReduceLogSumExp ReduceProd",
        kind="reduction", work="input", effect=MIXES, varies=True,
    ),
    *_rows("ArgMax ArgMin", kind="reduction", work="input", effect=MIXES),
    Operator("TopK", kind="selection", work="input"),
)  # fmt: skip

_NORMALISATIONS = (
    Operator(
        "BatchNormalization", kind="normalisation", work="output", operations=2,
        fuses=True, varies=True, keeps_constants=True,
    ),
    *_rows(
        "LogSoftmax Softmax", kind="normalisation", work="output", operations=3,
        effect=MIXES, varies=True,
    ),
    Operator("Hardmax", kind="normalisation", work="output", operations=3, effect=MIXES),
    Operator(
        "InstanceNormalization", kind="normalisation", work="output", operations=5,
        effect=MIXES, varies=True,
    ),
    *_rows(
        "LpNormalization MeanVarianceNormalization RMSNormalization",
        kind="normalisation", work="output", operations=5, effect=MIXES,
    ),
    Operator(  # onnxruntime's, which it enters in the default domain
        "SimplifiedLayerNormalization", kind="normalisation", work="output", operations=5,
        effect=MIXES, substitute=Substitute("Identity"),
    ),
    Operator("LayerNormalization", kind="normalisation", work="output", operations=7, effect=MIXES),
    Operator(  # a function, through which onnx infers no shapes
        "GroupNormalization", kind="normalisation", work="output", operations=7,
        substitute=Substitute("Identity"),
    ),
    Operator("LRN", kind="normalisation", effect=MIXES, varies=True),
)  # fmt: skip

_COPIES = (
    *_rows(
        """Bernoulli BlackmanWindow Compress EyeLike GatherElements GatherND HammingWindow
        HannWindow Multinomial NonZero OneHot RandomNormal RandomNormalLike RandomUniform
        RandomUniformLike Range ReverseSequence Scatter ScatterElements ScatterND Trilu Unique""",
        kind="copy", work="copy",
    ),
    Operator("CumSum", kind="copy", work="copy", effect=MIXES),
    Operator("Expand", kind="copy", work="copy", keeps_width=True),
    *_rows(
        "DepthToSpace SpaceToDepth", kind="copy", work="copy",
        effect=REGROUPS, keeps_zero=True, keeps_width=True,
    ),
    Operator("Gather", kind="copy", work="copy", effect=PICKS, keeps_zero=True, keeps_width=True),
    Operator("Pad", kind="copy", work="copy", effect=POSITIONS, keeps_zero=True, keeps_width=True),
    *_rows(
        "Resize Upsample", kind="copy", work="copy",
        effect=POSITIONS, varies=True, steered=True, keeps_zero=True,
    ),
    Operator("Tile", kind="copy", work="copy", keeps_zero=True, keeps_width=True),
    Operator(
        "Transpose", kind="copy", work="copy",
        keeps_zero=True, keeps_width=True, shows_weights=True, invertible=True,
    ),
)  # fmt: skip

_VIEWS = (
    Operator("Concat", kind="view", work="view", varies=True, joins=True, keeps_zero=True),
    *_rows(
        "Slice Split", kind="view", work="view", effect=PICKS, keeps_zero=True, keeps_width=True
    ),
    *_rows(
        "Squeeze Unsqueeze", kind="view", work="view", effect=REGROUPS,
        keeps_zero=True, keeps_width=True, shows_weights=True, invertible=True,
    ),
    Operator(
        "Flatten", kind="view", work="view", effect=REGROUPS, varies=True,
        keeps_zero=True, keeps_width=True, shows_weights=True, invertible=True,
    ),
    Operator(
        "Reshape", kind="view", work="view", effect=REGROUPS,
        keeps_zero=True, keeps_width=True, shows_weights=True, invertible=True,
    ),
    *_rows("Constant ConstantOfShape Shape Size", kind="source", work="view"),
)  # fmt: skip

_QUANTIZATION = (
    Operator(
        "QuantizeLinear", kind="quantization", work="output", operations=2, fuses=True,
        varies=True, quantized=QuantizedOperands(output=2),
    ),
    Operator(
        "DequantizeLinear", kind="quantization", fuses=True, varies=True, shows_weights=True,
        quantized=QuantizedOperands(inputs=((0, 2),)),
    ),
    Operator(
        "DynamicQuantizeLinear", kind="quantization", varies=True,
        quantized=QuantizedOperands(zero_output=2),
    ),
)  # fmt: skip

PAIR = ((0, 2), (3, 5))
"""Two operands, each followed by its scale and its zero point."""

_CONVOLUTIONS = (
    Operator(
        "Conv", kind="convolution", factors=(0, 1), effect=POSITIONS,
        weights=WeightLayout(outputs=0, inputs=1, channels=1, bias=2, grouped=True),
    ),
    Operator(
        "ConvTranspose", kind="transposed convolution", factors=(0, 1), effect=POSITIONS,
        weights=WeightLayout(outputs=1, inputs=0, channels=1, bias=2, grouped=True),
    ),
    Operator(
        "QLinearConv", kind="convolution", factors=(0, 3), like="Conv",
        quantized=QuantizedOperands(PAIR, output=7, channel_axis=0),
    ),
    Operator(
        "ConvInteger", kind="convolution", factors=(0, 1), like="Conv",
        quantized=QuantizedOperands(((0, 2), (1, 3)), channel_axis=0, plain=True),
    ),
)  # fmt: skip

_PRODUCTS = (
    Operator(
        "Gemm", kind="product", factors=(0, 1),
        weights=WeightLayout(
            outputs=-1, inputs=-2, channels=1, bias=2, swapped_by="transB", x_swapped_by="transA",
            scale="alpha", bias_scale="beta",
        ),
    ),
    Operator(
        "MatMul", kind="product", factors=(0, 1),
        weights=WeightLayout(outputs=-1, inputs=-2, channels=-1),
    ),
    Operator("Einsum", kind="product"),
    Operator(
        "QLinearMatMul", kind="product", factors=(0, 3), like="MatMul",
        quantized=QuantizedOperands(PAIR, output=7),
    ),
    Operator(
        "MatMulInteger", kind="product", factors=(0, 1), like="MatMul",
        quantized=QuantizedOperands(((0, 2), (1, 3)), plain=True),
    ),
)  # fmt: skip

_GRIDS: dict[str, Literal["own grid", "same grid"]] = {
    **dict.fromkeys("Add AveragePool Conv Gemm GlobalAveragePool MatMul Mul".split(), "own grid"),
    **dict.fromkeys("LeakyRelu Sigmoid".split(), "own grid"),
    **dict.fromkeys("Concat Flatten MaxPool Pad Reshape Resize Slice".split(), "same grid"),
    **dict.fromkeys("Squeeze Transpose Unsqueeze Split".split(), "same grid"),
    **dict.fromkeys("DepthToSpace Expand Gather Tile".split(), "same grid"),
}
"""Operators that onnxruntime runs on integers between quantized tensors."""

_ALL = (
    *_UNARY,
    *_BROADCASTING,
    *_POOLING,
    *_REDUCTIONS,
    *_NORMALISATIONS,
    *_COPIES,
    *_VIEWS,
    *_QUANTIZATION,
    *_CONVOLUTIONS,
    *_PRODUCTS,
    *_rows("LSTM GRU RNN", kind="recurrent"),
    *_rows("Attention LinearAttention", kind="attention"),
    Operator("CausalConvWithState"),
    *_rows("DFT STFT", effect=MIXES),
)

ROWS = tuple(replace(row, on_integers=_GRIDS.get(row.name, "")) for row in _ALL)
