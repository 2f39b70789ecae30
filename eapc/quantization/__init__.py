"""Quantization: a float model as integers, in a file that runtimes fuse."""

from eapc.quantization.entry import Quantized, quantize, require_width
from eapc.quantization.fusing import IntegerFusion
from eapc.quantization.grids import TensorGrid, activation_grid, bias_codes, weight_grid
from eapc.quantization.plan import LeftFloat, QuantizationPlan, QuantizedNode, plan_of
from eapc.quantization.twin import IntegerTwin, integer_twin
from eapc.quantization.value_counts import ValueCounts

__all__ = [
    "IntegerFusion",
    "IntegerTwin",
    "LeftFloat",
    "QuantizationPlan",
    "Quantized",
    "QuantizedNode",
    "TensorGrid",
    "ValueCounts",
    "activation_grid",
    "bias_codes",
    "integer_twin",
    "plan_of",
    "quantize",
    "require_width",
    "weight_grid",
]
