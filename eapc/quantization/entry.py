"""The whole way from a float model to a QDQ model."""

from __future__ import annotations

from dataclasses import dataclass

from eapc.data import Dataset
from eapc.errors import ModelError, UsageError
from eapc.model import Model, infer_shapes
from eapc.operators import operator_of
from eapc.quantization.fusing import IntegerFusion, fusion_of
from eapc.quantization.plan import QuantizationPlan, plan_of
from eapc.quantization.ranges import with_grids
from eapc.quantization.writing import raised, written
from eapc.runtime import Engine

_BITS = 8


@dataclass(frozen=True)
class Quantized:
    """A QDQ model, the plan that it was written by, and what onnxruntime makes of it."""

    model: Model
    plan: QuantizationPlan
    fusion: IntegerFusion


def quantize(
    model: Model, data: Dataset, bits: int = _BITS, engine: Engine | None = None
) -> Quantized:
    """The model with weights and activations on grids, as QuantizeLinear and DequantizeLinear.

    Weights are int8, symmetric per output channel; activations uint8 per tensor. Raises
    UsageError for other widths, ModelError where nothing can be quantized.
    """
    require_width(bits)
    engine = engine or Engine()
    model, plan = planned(model, data)
    plan = with_grids(plan, model, data, engine, bits)
    result = written(model, plan)
    return Quantized(result, plan, fusion_of(result, plan, engine.threads))


def planned(model: Model, data: Dataset) -> tuple[Model, QuantizationPlan]:
    """The model at an opset that grids can be written in, and its plan, without grids.

    Raises ModelError where nothing can be quantized.
    """
    if any(operator_of(node).kind in ("quantization", "quantized") for node in model.nodes):
        raise ModelError(f"{model.name}: is quantized already; give the float network")
    model = raised(model)
    plan = plan_of(model, infer_shapes(model, data.shapes(1)))
    if not any(each.weights for each in plan.nodes):
        why = f": {plan.left[0].node}: {plan.left[0].reason}" if plan.left else ""
        raise ModelError(f"{model.name}: no layer can be quantized{why}")
    return model, plan


def require_width(bits: int) -> None:
    """Raise UsageError for a width that cannot be written."""
    if bits != _BITS:
        raise UsageError(f"bits: expected 8, got {bits}; no other width can be written")
