"""Layers that run on integers: where they hold weights, and what a file says around them.

A quantized layer stands in a file as DequantizeLinear, operator and QuantizeLinear, or as one
QLinear operator. onnxruntime makes the same kernels of both.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import DTypeLike

from eapc.model import Node
from eapc.operators import WeightLayout, operator, operator_of

CODE_TYPES = ("int8", "uint8")
TIMED_TYPES = ("float32", *CODE_TYPES, "int32")
"""What a layer may read: int32 holds the sums of integer products."""

_JOINS = "Concat"


def weight_layout(node: Node) -> WeightLayout | None:
    """Where a node holds its weights; that of quantized operators follows the plain ones'."""
    row = operator_of(node)
    if row.weights is not None or row.quantized is None or row.factors is None:
        return row.weights
    like = operator(row.like).weights
    return replace(like, operand=row.factors[1], bias=None) if like else None


def is_rounding(node: Node) -> bool:
    """Whether a node only turns real numbers into codes, or back."""
    return operator_of(node).kind == "quantization"


def joins(node: Node) -> bool:
    """Whether a node is a concatenation, on codes too."""
    row = operator_of(node)
    return row.joins or (row.substitute is not None and row.substitute.name == _JOINS)


def is_code(dtype: DTypeLike) -> bool:
    """Whether tensors of a type hold codes of real numbers."""
    return np.dtype(dtype).name in CODE_TYPES
