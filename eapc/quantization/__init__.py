"""Quantization: a float model as integers, in a file that runtimes fuse."""

from eapc.quantization.entry import Quantized, quantize, require_widths
from eapc.quantization.folding import Folded, folded
from eapc.quantization.fusing import IntegerFusion
from eapc.quantization.grids import TensorGrid, activation_grid, bias_codes, weight_grid
from eapc.quantization.plan import LeftFloat, QuantizationPlan, QuantizedNode, plan_of
from eapc.quantization.value_counts import ValueCounts
from eapc.quantization.widths import widths_to_write

__all__ = [
    "Folded",
    "IntegerFusion",
    "LeftFloat",
    "QuantizationPlan",
    "Quantized",
    "QuantizedNode",
    "TensorGrid",
    "ValueCounts",
    "activation_grid",
    "bias_codes",
    "folded",
    "plan_of",
    "quantize",
    "require_widths",
    "weight_grid",
    "widths_to_write",
]
