"""Weights fitted to grids: layer by layer, on activations that are rounded already.

The network that is fitted has the activations' grids written in and weights as floats, which
become multiples of their grids' steps one layer after another, each to the outputs of the dense
network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from eapc.calibration import LayerFit, LayerwiseReconstruction, Reference, is_cut_from
from eapc.data import Dataset
from eapc.layers import TiedLayers, layers_of, pattern_of
from eapc.model import Array, Model, Origin
from eapc.progress import Progress, Step, silent
from eapc.quantization.folding import Folded, folded
from eapc.quantization.grids import TensorGrid, bias_codes, storable
from eapc.quantization.plan import QuantizationPlan, QuantizedNode
from eapc.quantization.ranges import with_constants
from eapc.quantization.writing import raised, written
from eapc.runtime import Engine
from eapc.solvers import coded, refit


@dataclass(frozen=True)
class FittingTarget:
    """The network whose outputs layers are fitted to, and how the fitted one was cut out of it."""

    dense: Model
    origin: Origin

    @classmethod
    def of(cls, model: Model, reference: Model | None, prepared: Folded) -> FittingTarget:
        """The reference if the model comes from it, or else the model itself.

        It is prepared as the model was.
        """
        origin = model.origin or Origin(model.original)
        if reference is None or not is_cut_from(origin.model.original, reference):
            origin, reference = Origin(model), model
        dense = folded(raised(reference)).model
        parts = {**origin.parts, **prepared.kept_parts(origin.parts)}
        return cls(dense, replace(origin, model=dense, parts=parts))


def with_fitted_weights(
    plan: QuantizationPlan,
    model: Model,
    target: FittingTarget,
    data: Dataset,
    engine: Engine,
    pattern: str = "unstructured",
    progress: Progress = silent,
) -> tuple[QuantizationPlan, Model]:
    """The model with weights and biases on grids, and the plan with the grids of these weights.

    `plan` has those of activations. Zeros of weights stay zeros; of narrow ones they may change
    places within the pattern (see `coded`). Layers that cannot be fitted,
    such as those that no input comes to, are as they were.
    """
    student = replace(written(model, plan, weights=False), origin=target.origin)
    planned = {each.node.outputs[0]: each for each in plan.nodes if each.weights}
    found = layers_of(Reference(target.dense, student).original).layers
    layers = tuple(tied for tied in found if _can_be_fitted(tied, planned))
    if not layers:
        return plan, model
    sweep = LayerwiseReconstruction(student, target.dense, layers, data, engine)
    grids: dict[str, TensorGrid] = {}
    for step, tied in enumerate(layers):
        progress(Step("quantize", step, len(layers), tied.first.name))
        grid = _fit(sweep, step, tied, planned[tied.first.y], pattern)
        if grid is not None:
            grids[tied.weight] = grid
            sweep.resume(dict(_rounded_biases(sweep.model, tied, grid, planned, plan)))
    progress(Step("quantize", len(layers), len(layers)))
    fitted = model.with_weights(sweep.model.weights)
    return replace(with_constants(plan, fitted), weight_grids=grids), fitted


def _can_be_fitted(tied: TiedLayers, planned: Mapping[str, QuantizedNode]) -> bool:
    """Whether all users read the stored weights as they are, a scale to each output."""
    nodes = [planned.get(user.y) for user in tied.users]
    axes, shape = {each.axis for each in nodes if each}, tied.first.form.weight_shape
    return (
        not tied.fixed
        and all(each is not None and each.weights == tied.weight for each in nodes)
        and len(axes) == 1
        and all(shape[axis] == tied.first.scale.size for axis in axes)
    )


def _fit(
    sweep: LayerwiseReconstruction,
    step: int,
    tied: TiedLayers,
    planned: QuantizedNode,
    pattern: str,
) -> TensorGrid | None:
    """Fit a layer in the sweep's model; the grid of its weights, None where no input comes."""
    fit = LayerFit.at(sweep, step, tied)
    if fit is None:
        return None
    matrix = refit(fit.problem, fit.pruned != 0)
    fit, matrix = fit.behind_activation(matrix)
    bits = planned.weight_bits
    found = coded(fit.problem, matrix, bits, pattern_of(tied, pattern))
    sweep.replace(fit.tied, found.weight, fit.aims)
    scale = _stored_steps(tied, found.steps)
    return TensorGrid(scale.astype(np.float32), 0, bits, signed=True, axis=planned.axis)


def _stored_steps(tied: TiedLayers, steps: Array) -> Array:
    """Steps of W of z (groups, m, 1) as those of the stored weights (channels,)."""
    scale = tied.first.scale.reshape(-1)
    safe = np.where(scale == 0, 1, np.abs(scale))
    return np.where(scale == 0, 0, steps.reshape(-1) / safe)


def _rounded_biases(
    model: Model,
    tied: TiedLayers,
    grid: TensorGrid,
    planned: Mapping[str, QuantizedNode],
    plan: QuantizationPlan,
) -> Iterator[tuple[str, Array]]:
    """The biases of a layer's users as their codes will have them."""
    for user in tied.users:
        node = planned[user.y]
        if node.bias in model.weights:
            stored, given = model.constants[node.bias], plan.grids[node.reads[0]].scale
            own = storable(grid, stored.ravel() / given)
            step = float(given) * own.scale.astype(np.float64)
            rounded = (bias_codes(stored.ravel(), given, own) * step).astype(np.float32)
            yield node.bias, rounded.reshape(stored.shape)
