"""The whole way from a float model to a QDQ model."""

from __future__ import annotations

from dataclasses import dataclass

from eapc.data import Dataset
from eapc.errors import ModelError, UsageError
from eapc.model import Model, infer_shapes
from eapc.operators import operator_of
from eapc.progress import Progress, silent
from eapc.quantization.fitting import FittedTo, with_fitted_weights
from eapc.quantization.fusing import IntegerFusion, fusion_of
from eapc.quantization.plan import QuantizationPlan, plan_of
from eapc.quantization.ranges import with_grids
from eapc.quantization.writing import raised, written
from eapc.runtime import Engine

_BITS = 8

_FEWEST_BITS = 2
"""Codes -1, 0 and 1."""


@dataclass(frozen=True)
class Quantized:
    """A QDQ model, the plan that it was written by, and what onnxruntime makes of it."""

    model: Model
    plan: QuantizationPlan
    fusion: IntegerFusion


def quantize(
    model: Model,
    data: Dataset,
    bits: int = _BITS,
    engine: Engine | None = None,
    *,
    weight_bits: int | None = None,
    reference: Model | None = None,
    pattern: str = "unstructured",
    progress: Progress = silent,
) -> Quantized:
    """The model with weights and activations on grids, as QuantizeLinear and DequantizeLinear.

    Weights are int8, symmetric per output channel, with codes of `weight_bits` (2 to 8, `bits` by
    default); activations uint8 per tensor. Layers are fitted to the outputs of `reference`, which
    the model was made of, or to its own. Zeros stay; those of 2 and 3 bits may
    change places within the `pattern`. Raises UsageError for other widths, ModelError where
    nothing can be quantized.
    """
    require_width(bits)
    weight_bits = bits if weight_bits is None else weight_bits
    require_weight_width(weight_bits)
    engine = engine or Engine()
    if any(operator_of(node).kind in ("quantization", "quantized") for node in model.nodes):
        raise ModelError(f"{model.name}: is quantized already; give the float network")
    target = FittedTo.of(model, reference)
    model = raised(model)
    plan = plan_of(model, infer_shapes(model, data.shapes(1)))
    if not any(each.weights for each in plan.nodes):
        why = f": {plan.left[0].node}: {plan.left[0].reason}" if plan.left else ""
        raise ModelError(f"{model.name}: no layer can be quantized{why}")
    plan = with_grids(plan, model, data, engine, bits)
    plan, model = with_fitted_weights(
        plan, model, target, data, engine, weight_bits, pattern, progress
    )
    result = written(model, plan)
    return Quantized(result, plan, fusion_of(result, plan, engine.threads))


def require_width(bits: int) -> None:
    """Raise UsageError for a width that cannot be written."""
    if bits != _BITS:
        raise UsageError(f"bits: expected 8, got {bits}; no other width can be written")


def require_weight_width(bits: int) -> None:
    """Raise UsageError for a width that codes of weights cannot have."""
    if not _FEWEST_BITS <= bits <= _BITS:
        raise UsageError(f"weight_bits: expected {_FEWEST_BITS} to {_BITS}, got {bits}")
