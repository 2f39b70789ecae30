"""Quantization: a float model as integers, in a file that runtimes fuse."""

from eapc.quantization.entry import Quantized, planned, quantize, require_widths
from eapc.quantization.folding import Folded, folded
from eapc.quantization.fusing import IntegerFusion
from eapc.quantization.grids import TensorGrid, activation_grid, bias_codes, weight_grid
from eapc.quantization.plan import LeftFloat, QuantizationPlan, QuantizedNode, plan_of
from eapc.quantization.twin import IntegerTwin, integer_twin
from eapc.quantization.value_counts import ValueCounts
from eapc.quantization.width_curves import (
    WidthCurve,
    activation_curves,
    names_in_nodes,
    names_of_weights,
    weight_curves,
)
from eapc.quantization.widths import widths_to_write
from eapc.quantization.writing import LOWEST_OPSET, raised

__all__ = [
    "LOWEST_OPSET",
    "Folded",
    "IntegerFusion",
    "IntegerTwin",
    "LeftFloat",
    "QuantizationPlan",
    "Quantized",
    "QuantizedNode",
    "TensorGrid",
    "ValueCounts",
    "WidthCurve",
    "activation_curves",
    "activation_grid",
    "bias_codes",
    "folded",
    "integer_twin",
    "names_in_nodes",
    "names_of_weights",
    "plan_of",
    "planned",
    "quantize",
    "raised",
    "require_widths",
    "weight_curves",
    "weight_grid",
    "widths_to_write",
]
