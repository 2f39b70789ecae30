"""Scales of codes that a layer has to itself, so that they may follow its new weights.

An int32 bias counts steps of input scale times weight scale: operators on integers take it so.
Where a DequantizeLinear reads it, its own scale follows, as runtimes put both in one operator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eapc.calibration.grids import weight_grid
from eapc.layers import Layer, TiedLayers
from eapc.model import Array, Model, Node, find_weights, reading_of, scopes_of
from eapc.operators import operator_of
from eapc.solvers import LayerProblem, WeightGrid, on_grid, rescaled

_IMPLIED = {"QLinearConv": 8, "QGemm": 6}
"""Where operators read a bias in units of input scale times weight scale."""

_LARGEST = 1 << 30
"""Codes of a bias stay below, half of what an int32 holds: they move with the weights."""


@dataclass(frozen=True)
class OwnScale:
    """Constants that hold a layer's weight scale, and those that hold the scale of its bias.

    Without `is_one` the scale has a number for each row of W.
    """

    weights: tuple[str, ...]
    bias: tuple[str, ...]
    is_one: bool
    largest: float

    @classmethod
    def of(cls, tied: TiedLayers, model: Model, grid: WeightGrid) -> OwnScale | None:
        """That of a layer; None where others read it too, or it is by blocks or inputs."""
        layer, source = tied.first, tied.first.source
        reading = reading_of(source)
        if len(tied.users) > 1 or layer.tapped or source.packing or reading is None:
            return None
        names = {*reading.scales, *([source.quantizer.input(1)] if source.quantizer else [])}
        readers = {layer.node, *source.chain}
        if len(reading.scales) != 1 or not all(
            _is_own(model, each, layer, readers) for each in names
        ):
            return None
        (size,) = {model.constants[name].size for name in names}
        groups, rows, _ = grid.step.shape
        is_by_row = size == groups * rows and not np.ptp(grid.step, axis=2).any()
        bias = _bias_scales(model, layer, size)
        if bias is None or not (size == 1 or is_by_row):
            return None
        return cls(tuple(sorted(names)), bias, size == 1, _largest_bias(model, layer))

    def constants(self, model: Model, factors: Array) -> dict[str, Array]:
        """The scales with a factor (groups, m, 1) for each row, or (1, 1, 1) for all."""
        found: dict[str, Array] = {}
        for name in (*self.weights, *self.bias):
            scale = model.constants[name]
            wide = scale.astype(np.float64).reshape(-1) * factors.reshape(-1)
            found[name] = wide.reshape(scale.shape).astype(scale.dtype)
        return found

    def holds(self, factors: Array) -> bool:
        """Whether codes of the bias stay within their type."""
        return bool(self.largest <= _LARGEST * factors.min(initial=1))


def on_layers_grid(
    problem: LayerProblem, weight: Array, tied: TiedLayers, model: Model
) -> tuple[Array, dict[str, Array]]:
    """The weight on the grid of the model's codes, and new scales of these where they may change.

    They change where the layer loses less by that. Without codes the weight is as it was.
    """
    grid = weight_grid(tied, model)
    if grid is None:
        return weight, {}
    stays, own = on_grid(problem, weight, grid), OwnScale.of(tied, model, grid)
    if own is None:
        return stays, {}
    moved = rescaled(problem, weight, grid, own.is_one)
    is_better = problem.objective(moved.weight) < problem.objective(stays)
    if not is_better or not own.holds(moved.steps):
        return stays, own.constants(model, np.ones((1, 1, 1)))
    return moved.weight, own.constants(model, moved.steps)


def _is_own(model: Model, name: str, layer: Layer, readers: set[Node]) -> bool:
    """Whether nothing but a layer reads a stored scale, once."""
    if name not in model.constants.plain or name in model.outputs:
        return False
    found = scopes_of(model.view).readers.get(name, ())
    once = all(node.inputs.count(name) == 1 for node in found)
    return once and all(_is_of(model, node, layer, readers) for node in found)


def _is_of(model: Model, node: Node, layer: Layer, readers: set[Node]) -> bool:
    """Whether a node is part of a layer, or multiplies the scale of its input by that of W."""
    if node in readers or layer.y in node.outputs:
        return True
    behind = model.view.consumers(node.outputs[0])
    is_factor = node.op_type == "Mul" and len(behind) == 1 and layer.y in behind[0].outputs
    return is_factor and node.outputs[0] not in model.outputs


def _bias_scales(model: Model, layer: Layer, size: int) -> tuple[str, ...] | None:
    """The scale by which the layer's own bias is read, if any; None if it cannot follow."""
    node, sink = layer.node, layer.bias
    implied = _IMPLIED.get(node.op_type)
    if implied is not None:
        name = node.input(implied)
        return () if not name or (sink is not None and sink.tensor == name) else None
    layout = operator_of(node).weights
    name = layout.bias_of(node.inputs) if layout else ""
    source = find_weights(model, name) if name else None
    reading = None if source is None else reading_of(source)
    if source is None or reading is None:
        return ()
    if sink is None or sink.tensor != source.root or len(reading.scales) != 1:
        return None
    (scale,) = reading.scales
    readers = {*source.chain}
    if not _is_own(model, scale, layer, readers) or source.quantizer is not None:
        return None
    return (scale,) if size in (1, model.constants[scale].size) else None


def _largest_bias(model: Model, layer: Layer) -> float:
    """The largest code of an int32 bias, without a sign; 0 where real numbers are added."""
    sink = layer.bias
    if sink is None or reading_of(sink.source) is None:
        return 0.0
    codes = model.constants[sink.tensor].astype(np.float64)
    return float(np.abs(codes).max(initial=0))
