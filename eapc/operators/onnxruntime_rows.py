"""Rows of onnxruntime's own operators."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from eapc.operators.onnx_rows import PAIR
from eapc.operators.operator import Operator, QuantizedOperands, Substitute, element_wise

ORT = "com.microsoft"

_row = partial(Operator, domain=ORT)
_SAME = Substitute("Identity")
_CONV_SHAPE = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_POOL_SHAPE = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")
_GEMM_SHAPE = ("transA", "transB")
_STACKS = ("transBatchA", "transBatchB")
"""Attributes that move the axes before a product's matrices."""

_FUSED = (
    *(
        element_wise(name, ORT, operations=each, keeps_zero=True, substitute=_SAME)
        for name, each in (("Gelu", 3), ("QuickGelu", 3), ("FastGelu", 4), ("BiasGelu", 4))
    ),
    _row("BiasSoftmax", kind="normalisation", work="output", operations=4, substitute=_SAME),
    _row("BiasDropout", work="output", operations=2, substitute=_SAME),
    *(
        _row(
            name, kind="normalisation", work="output", operations=each,
            substitute=Substitute("Identity", sum_place=3),
        )
        for name, each in (
            ("SkipLayerNormalization", 8), ("SkipSimplifiedLayerNormalization", 6)
        )
    ),
    _row(
        "FusedConv", kind="convolution", factors=(0, 1), like="Conv",
        substitute=Substitute("Conv", (0, 1), attributes=_CONV_SHAPE),
    ),
    _row(
        "FusedGemm", kind="product", factors=(0, 1), like="Gemm",
        substitute=Substitute("Gemm", (0, 1), attributes=_GEMM_SHAPE),
    ),
    _row(
        "FusedMatMul", kind="product", factors=(0, 1),
        substitute=Substitute("Einsum", (0, 1), unless=_STACKS),
    ),
    _row("Attention", kind="attention", substitute=replace(_SAME, unless=("qkv_hidden_sizes",))),
    _row("MultiHeadAttention", kind="attention", substitute=_SAME),
    _row("LinearAttention", kind="attention"),
    _row("CausalConvWithState"),
    _row("GatherBlockQuantized", kind="copy", work="copy", quantized=QuantizedOperands(packed=0)),
    _row("SwiGLU", work="output", operations=4, keeps_zero=True),
    _row("SimplifiedLayerNormalization", substitute=_SAME),
    _row("GroupNormalization", substitute=_SAME),
)  # fmt: skip

_QUANTIZED = (
    _row(
        "QuantizeLinear", kind="quantization", work="output", operations=2, fuses=True, varies=True,
        quantized=QuantizedOperands(output=2),
        substitute=Substitute("QuantizeLinear", (0, 1, 2), attributes=("axis",)),
    ),
    _row(
        "DequantizeLinear", kind="quantization", fuses=True, varies=True, shows_weights=True,
        like="DequantizeLinear", quantized=QuantizedOperands(((0, 2),)),
        substitute=Substitute("DequantizeLinear", (0, 1, 2), attributes=("axis",)),
    ),
    _row(
        "QLinearConv", kind="convolution", factors=(0, 3), like="Conv", countable=False,
        quantized=QuantizedOperands(PAIR, output=7, channel_axis=0),
        substitute=Substitute("Conv", (0, 3), attributes=_CONV_SHAPE),
    ),
    _row(
        "QGemm", kind="product", factors=(0, 3), like="Gemm",
        quantized=QuantizedOperands(PAIR, output=8),
        substitute=Substitute("Gemm", (0, 3), attributes=_GEMM_SHAPE),
    ),
    _row(
        "MatMulIntegerToFloat", kind="product", factors=(0, 1), like="MatMul",
        quantized=QuantizedOperands(((0, 4), (1, 5))), substitute=Substitute("MatMul", (0, 1)),
    ),
    _row(
        "DynamicQuantizeMatMul", kind="product", factors=(0, 1), like="MatMul",
        quantized=QuantizedOperands(((1, 3),)), substitute=Substitute("MatMul", (0, 1)),
    ),
    _row(
        "DynamicQuantizeLSTM", kind="recurrent",
        quantized=QuantizedOperands(((1, 9), (2, 11)), channel_axis=0),
        substitute=Substitute(
            "LSTM", (0, 1, 2), attributes=("direction", "hidden_size"), results=3
        ),
    ),
    _row(
        "MatMulNBits", kind="product",
        quantized=QuantizedOperands(packed=1), substitute=Substitute("MatMul", (0, 1)),
    ),
    *(
        _row(
            name, kind="quantized", varies=True, quantized=QuantizedOperands(PAIR, output=7),
            substitute=Substitute("Add", (0, 3)),
        )
        for name in ("QLinearAdd", "QLinearMul")
    ),
    *(
        _row(
            name, kind="quantized", like="AveragePool" if name == "QLinearAveragePool" else "",
            varies=name != "QLinearReduceMean",
            quantized=QuantizedOperands(((0, 2),), output=4), substitute=substitute,
        )
        for name, substitute in (
            ("QLinearLeakyRelu", _SAME),
            ("QLinearSigmoid", _SAME),
            ("QLinearSoftmax", _SAME),
            ("QLinearAveragePool", Substitute("AveragePool", attributes=_POOL_SHAPE)),
            ("QLinearGlobalAveragePool", Substitute("GlobalAveragePool")),
            ("QLinearReduceMean", Substitute("ReduceMean", attributes=("axes", "keepdims"))),
        )
    ),
    _row(
        "QLinearConcat", kind="quantized", varies=True,
        substitute=Substitute("Concat", (2,), step=3, attributes=("axis",)),
    ),
)  # fmt: skip

ROWS = (*_FUSED, *_QUANTIZED)
