"""The whole way from a float model to a QDQ model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eapc.data import Dataset
from eapc.energy import GivenBits
from eapc.errors import ModelError, UsageError
from eapc.model import Model, infer_shapes
from eapc.operators import operator_of
from eapc.progress import Progress, silent
from eapc.quantization.fitting import FittingTarget, with_fitted_weights
from eapc.quantization.folding import Folded, folded
from eapc.quantization.fusing import IntegerFusion, fusion_of
from eapc.quantization.plan import WIDEST, QuantizationPlan, plan_of
from eapc.quantization.ranges import with_grids
from eapc.quantization.writing import raised, written
from eapc.runtime import Engine

NARROWEST = 2
"""Bits of the fewest codes that are written: -1, 0 and 1, or 0 to 3."""


@dataclass(frozen=True)
class Quantized:
    """A QDQ model, the plan that it was written by, and what onnxruntime makes of it.

    `unused` names tensors that a width was given for and that stay floats.
    """

    model: Model
    plan: QuantizationPlan
    fusion: IntegerFusion
    unused: tuple[str, ...] = ()


def quantize(
    model: Model,
    data: Dataset,
    bits: GivenBits | None = None,
    engine: Engine | None = None,
    *,
    reference: Model | None = None,
    pattern: str = "unstructured",
    progress: Progress = silent,
) -> Quantized:
    """The model with weights and activations on grids, as QuantizeLinear and DequantizeLinear.

    Weights are symmetric per output channel, activations unsigned per tensor; codes of 2 to 8 bits
    stand in int8 and uint8. What `bits` says nothing of has 8; its names are those of `model`.
    Layers are fitted to the outputs of `reference`, which the model was made of, or to its own.
    Zeros stay; those of 2 and 3 bits may change places within the `pattern`. Raises UsageError for
    other widths and unknown names, ModelError where nothing can be quantized.
    """
    bits, engine = bits or GivenBits(), engine or Engine()
    require_widths(bits)
    _require_names(model, bits)
    prepared, plan = planned(model, data, bits)
    target = FittingTarget.of(model, reference, prepared)
    plan, model = with_grids(plan, prepared.model, data, engine), prepared.model
    plan, model = with_fitted_weights(plan, model, target, data, engine, pattern, progress)
    result = written(model, plan)
    unused = tuple(_without_grid(plan, bits, prepared.names))
    return Quantized(result, plan, fusion_of(result, plan, engine.threads), unused)


def planned(
    model: Model, data: Dataset, bits: GivenBits | None = None
) -> tuple[Folded, QuantizationPlan]:
    """The model as it is quantized, and its plan, without grids.

    Its opset is one that grids can be written in. Raises ModelError where nothing can be quantized.
    """
    if any(operator_of(node).kind in ("quantization", "quantized") for node in model.nodes):
        raise ModelError(f"{model.name}: is quantized already; give the float network")
    prepared = folded(raised(model))
    shapes = infer_shapes(prepared.model, data.shapes(1))
    plan = plan_of(prepared.model, shapes, prepared.renamed(bits or GivenBits()))
    if not any(each.weights for each in plan.nodes):
        why = f": {plan.left[0].node}: {plan.left[0].reason}" if plan.left else _NONE_FOUND
        raise ModelError(f"{model.name}: no layer can be quantized{why}")
    return prepared, plan


_NONE_FOUND = ", as none with constant weights stands in the main graph"


def require_widths(bits: GivenBits) -> None:
    """Raise UsageError for a width that cannot be written."""
    given = [("weights", bits.weights), ("activations", bits.activations), *bits.by_tensor]
    for name, width in given:
        if width is not None and not NARROWEST <= width <= WIDEST:
            raise UsageError(
                f"--bits: {name}: expected {NARROWEST} to {WIDEST} bits, got {width}; no other "
                "width can be written"
            )


def _require_names(model: Model, bits: GivenBits) -> None:
    known = {name for node in model.view.main_nodes for name in (*node.inputs, *node.outputs)}
    for name in bits.of_tensor:
        if name not in known:
            raise UsageError(f"--bits: '{name}' is no tensor of the model")


def _without_grid(
    plan: QuantizationPlan, bits: GivenBits, renamed: Mapping[str, str]
) -> Iterator[str]:
    """The tensors that a width is given for and that have no grid."""
    layers = {each.weights for each in plan.nodes}
    folded_away = {each.node.outputs[0] for each in plan.nodes if each.folded}
    used = layers | folded_away | set(plan.tensors)
    return (name for name in bits.of_tensor if used.isdisjoint((name, renamed.get(name, name))))
