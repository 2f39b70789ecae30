"""Error curves of widths: what rounding one layer's weights, or tensors of one grid, does alone.

Weights are rounded on the grid that the file would give them, each rounding made up for by the
weights that are left; activations inside the graph, on the least-squares grid of their values. A
few inputs are sent through what lies behind, with nothing else changed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from eapc.calibration import (
    ActivationWalk,
    Batches,
    DownstreamRun,
    DownstreamSubgraph,
    MemoryBudget,
    Probes,
    downstream_of,
    layer_effects,
    moved_biases,
    row_scale,
    scaled_matrix,
    unscaled_matrix,
)
from eapc.data import Dataset
from eapc.evaluation import Yardstick
from eapc.layers import TiedLayers
from eapc.model import Array, GraphEditor, GraphView, Model
from eapc.operators import operator_of
from eapc.quantization.grids import activation_grid, along, weight_grid
from eapc.quantization.plan import QuantizationPlan
from eapc.quantization.value_counts import ValueCounts
from eapc.runtime import Engine, feed_size
from eapc.solvers import LayerProblem, Moments, WeightGrid, combine, on_grid, quick_prune

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WidthCurve:
    """What the outputs lose at each width of a layer's weights, or of tensors on one grid.

    `tensors` are all that have the width, by the names that nodes read or make them under.
    `widths` fall; `errors` never do, and are in the units of `LayerCurve.errors`.
    """

    name: str
    tensors: tuple[str, ...]
    widths: tuple[int, ...]
    errors: tuple[float, ...]


def _curve(
    name: str, tensors: Sequence[str], widths: Sequence[int], effects: Sequence[float]
) -> WidthCurve:
    errors = tuple(np.maximum.accumulate(effects).tolist())
    logger.info("widths %s of %s: %s", widths, name, np.round(errors, 6))
    return WidthCurve(name, tuple(tensors), tuple(widths), errors)


# --- weights -------------------------------------------------------------------------------------


def weight_curves(
    model: Model,
    layers: Sequence[TiedLayers],
    probes: Probes,
    engine: Engine,
    widths: Sequence[int],
    density: float = 1.0,
    first: int = 0,
) -> Iterator[WidthCurve]:
    """The curve of every layer's weights in turn from `first` on; `widths` fall.

    Layers are pruned to a density first, as `error_curves` does; errors are what the network with
    that layer pruned loses by the rounding. A layer that no input comes to loses nothing.
    """
    rounded = partial(_rounded, widths=widths, density=density)
    found = layer_effects(model, layers, probes, engine, rounded, first, beyond_first=True)
    for each, tied in zip(found, layers[first:], strict=True):
        effects = each.effects[1:] or (0.0,) * len(widths)
        yield _curve(tied.weight, names_of_weights(tied), widths, effects)


def names_of_weights(tied: TiedLayers) -> tuple[str, ...]:
    """The constant that holds a layer's weights, and the names that nodes have for them."""
    return tuple(dict.fromkeys((tied.weight, *names_in_nodes(tied))))


def names_in_nodes(tied: TiedLayers) -> tuple[str, ...]:
    """The names that nodes have for a layer's weights: another one behind a Transpose."""
    return tuple(user.source.tensor for user in tied.users)


def _rounded(
    model: Model,
    tied: TiedLayers,
    moments: Sequence[Moments],
    widths: Sequence[int],
    density: float,
) -> Iterator[Model]:
    """The model with one layer pruned, then with that rounded to each width."""
    matrix = scaled_matrix(tied, model)
    problem = LayerProblem.from_moments(matrix, combine(moments))
    if density < 1:
        (matrix,) = quick_prune(problem, [round(density * matrix.size)])
    for bits in (None, *widths):
        own = matrix if bits is None else rounded_weights(tied, problem, matrix, bits)
        weight = tied.stored(model, unscaled_matrix(tied, own))
        yield model.with_weights({tied.weight: weight, **moved_biases(tied, model, own, moments)})


def rounded_weights(
    tied: TiedLayers, problem: LayerProblem, matrix: NDArray[np.float32], bits: int
) -> NDArray[np.float32]:
    """W of z (groups, m, k) on the grid of its own weights, what is near 0 become 0."""
    grid = _solver_grid(tied, matrix, bits)
    step = np.where(grid.step == 0, 1, grid.step)
    left = np.where(np.rint(matrix / step) == 0, 0, matrix).astype(np.float32)
    return on_grid(problem, left, grid)


def _solver_grid(tied: TiedLayers, matrix: Array, bits: int) -> WeightGrid:
    """The grid of a W of z in the solver's units, with a scale per output channel."""
    form, node = tied.first.form, tied.first.node
    weights = form.to_weight(unscaled_matrix(tied, matrix))
    layout = operator_of(node).weights
    assert layout is not None  # a layer has weights
    axis, _ = layout.axes(node.attributes, weights.ndim)
    grid = weight_grid(weights, axis, np.zeros(weights.shape[axis]), bits)
    scale = np.broadcast_to(along(grid.scale.astype(np.float64), axis, weights.ndim), weights.shape)
    step = form.arranged(scale)
    step = abs(step * row_scale(tied, step))
    low, high = (np.full(step.shape, float(end)) for end in grid.ends)
    return WeightGrid(step, low, high)


# --- activations ---------------------------------------------------------------------------------


def activation_curves(
    model: Model,
    plan: QuantizationPlan,
    data: Dataset,
    engine: Engine,
    widths: Sequence[int],
    first: int = 0,
) -> Iterator[WidthCurve]:
    """The curve of every group of tensors that share a grid, in turn from `first` on.

    `widths` fall. Groups are those of the plan, which is the model's.
    """
    groups = list(plan.groups.items())
    if first == len(groups):
        return
    yardstick = Yardstick.of(model, data, engine.threads)
    wanted = [_Rounding.of(model, sources).wanted for _, sources in groups]
    batch, budget = feed_size(model, data), MemoryBudget(engine.memory)
    walk = ActivationWalk(model, data, wanted, batch, engine.threads, budget)
    for place, (name, sources) in enumerate(groups):
        values = walk.step(place, model)
        if place < first:
            continue
        rounding = _Rounding.of(model, sources)  # each holds all weights: one at a time
        effects = rounding.effects(values, widths, yardstick, engine.threads)
        tied = [tensor for tensor in plan.tensors if plan.tied[tensor] == name]
        yield _curve(name, tied, widths, effects)


@dataclass(frozen=True)
class _Rounding:
    """A model whose readers of some tensors read them rounded, by constants of its own."""

    model: Model
    sources: tuple[str, ...]
    constants: tuple[str, str, str]
    downstream: DownstreamSubgraph

    @classmethod
    def of(cls, model: Model, sources: Sequence[str]) -> _Rounding:
        rounding, constants = with_rounding(model, sources)
        return cls(rounding, tuple(sources), constants, downstream_of(rounding, constants))

    @property
    def wanted(self) -> list[str]:
        """What to know of the network as it is: where rounding begins, and all that is rounded."""
        computed = [name for name in self.sources if name not in self.model.constants]
        return [*self.downstream.inputs, *computed]

    def effects(
        self,
        values: Mapping[str, Batches],
        widths: Sequence[int],
        yardstick: Yardstick,
        threads: int,
    ) -> list[float]:
        """What the outputs lose at each width; nothing where none depends on the tensors."""
        if not self.downstream.outputs:
            return [0.0] * len(widths)
        counts = ValueCounts.joined([ValueCounts.of(self._values(n, values)) for n in self.sources])
        grids = [activation_grid(counts, bits) for bits in widths]
        given = [
            dict(
                zip(self.constants, (g.scale, *(end - g.zero_point for end in g.ends)), strict=True)
            )
            for g in grids
        ]
        typed = [{n: np.asarray(v, np.float32) for n, v in each.items()} for each in given]
        run = DownstreamRun(self.model, self.downstream, values, typed[0], threads)
        return [
            yardstick.divergence({**yardstick.reference, **self._renamed(run.outputs(constants))})
            for constants in typed
        ]

    def _renamed(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by the names that they have without rounding."""
        own = {rounded_name(name): name for name in self.sources}
        return {own.get(name, name): value for name, value in outputs.items()}

    def _values(self, name: str, values: Mapping[str, Batches]) -> Sequence[Array]:
        constant = self.model.constants.value(name)
        return values[name] if constant is None else [constant]


def with_rounding(model: Model, tensors: Sequence[str]) -> tuple[Model, tuple[str, str, str]]:
    """The model that reads some tensors as scale * Clip(Round(x / scale), low, high).

    With the names of these three constants. Outputs that are rounded have names of their own, see
    `rounded_name`. Takes opset 11 or above.
    """
    proto = model.to_proto(embed=True)
    editor = GraphEditor(proto)
    numbers = {"scale": 1.0, "low": -1.0, "high": 1.0}
    scale, low, high = (
        editor.add_constant(f"{tensors[0]}@{name}", np.array(number, np.float32))
        for name, number in numbers.items()
    )
    rounding = {tensor: _rounding(tensor, scale, low, high) for tensor in tensors}
    nodes = list(proto.graph.node)
    made = {name for node in nodes for name in node.output}
    del proto.graph.node[:]
    for tensor, rounded in rounding.items():
        proto.graph.node.extend(() if tensor in made else rounded)  # inputs and constants
    for node in nodes:
        node.input[:] = [rounded_name(name) if name in rounding else name for name in node.input]
        proto.graph.node.append(node)
        for name in node.output:
            proto.graph.node.extend(rounding.get(name, ()))
    for output in proto.graph.output:
        if output.name in rounding:
            output.name = rounded_name(output.name)
    return Model(GraphView(proto), model.path), (scale, low, high)


def rounded_name(tensor: str) -> str:
    """The name of what is left of a tensor."""
    return f"{tensor}@rounded"


def _rounding(tensor: str, scale: str, low: str, high: str) -> list[NodeProto]:
    steps, whole, held = (f"{tensor}@{name}" for name in ("steps", "whole", "held"))
    return [
        helper.make_node("Div", [tensor, scale], [steps]),
        helper.make_node("Round", [steps], [whole]),
        helper.make_node("Clip", [whole, low, high], [held]),
        helper.make_node("Mul", [held, scale], [rounded_name(tensor)]),
    ]
