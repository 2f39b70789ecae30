"""Rows of ONNX's operators that multiply and accumulate, most of them with weights."""

from __future__ import annotations

from eapc.operators.onnx_rows import POSITIONS
from eapc.operators.operator import Operator, QuantizedOperands, WeightLayout

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

ROWS = (
    *_CONVOLUTIONS,
    *_PRODUCTS,
    *(Operator(name, kind="recurrent") for name in ("LSTM", "GRU", "RNN")),
    Operator("Attention", kind="attention"),
)
