"""reconstruct-outputs: refit every pruned layer so that the original's outputs come back."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from eapc.activations import ActivationWalk, Batches, ancestors
from eapc.data import Dataset
from eapc.errors import DataError, UsageError
from eapc.graph import GraphView, Node
from eapc.layers import TiedLayers, find_layers
from eapc.model import Model
from eapc.pipeline import Compilation, LayerRecord, Pass
from eapc.reconstruction import (
    LayerActivations,
    gather_moments,
    moved_biases,
    row_limit,
    scaled_matrix,
    unscaled_matrix,
)
from eapc.runtime import feed_size
from eapc.solvers import LayerProblem, Moments, combine, refit, single_thread, solve
from eapc.tensors import Array

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReconstructOutputs(Pass):
    """Refit each pruned layer, in data-flow order, to the original network's outputs."""

    name: ClassVar[str] = "reconstruct-outputs"

    keep_mask: bool = field(
        default=False, metadata={"help": "refit the weights that are left, choose none anew"}
    )

    @property
    def needs_calibration(self) -> bool:
        """Layers are fitted on calibration inputs."""
        return True

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with each layer solved at the number of weights it has left."""
        if compilation.calibration is None:
            raise UsageError("needs calibration data")
        layers = _layers_to_fit(compilation.model)
        records = {  # what comes before the first changed layer stays exact
            name: replace(record, relative_output_error=0.0)
            for name, record in compilation.record.layers.items()
        }
        if not layers:
            return compilation.with_record(layers=records)
        sweep = _Sweep(compilation, layers, compilation.calibration)
        for step, tied in enumerate(layers):
            with _threads_for(tied, compilation.model):
                record = self._fit(sweep, step, tied)
            records[tied.weight] = record
            logger.info(
                "%s: %d of %d weights, relative output error %.4f",
                *(record.name, record.nonzero_weights, record.weights),
                record.relative_output_error,
            )
        return compilation.with_model(sweep.model).with_record(layers=records)

    def _fit(self, sweep: _Sweep, step: int, tied: TiedLayers) -> LayerRecord:
        """Solve one layer on what reaches it now, and put the result into the sweep's model."""
        moments = sweep.moments(step)
        together = combine(moments)
        original = scaled_matrix(tied, sweep.original)
        pruned = scaled_matrix(tied, sweep.model)
        try:
            problem = LayerProblem.from_moments(original, together)
        except DataError as error:
            raise DataError(f"layer '{tied.first.node.key}': {error}") from error
        count = int(np.count_nonzero(pruned))
        if self.keep_mask or count == pruned.size:
            matrix = refit(problem, pruned != 0)
        else:
            thorough = pruned.size * pruned.shape[2] <= _THOROUGH_PRODUCT
            matrix = solve(problem, count, thorough=thorough)
        sweep.replace(tied, matrix, moments)
        stored = sweep.model.weights[tied.weight]
        output_error = together.relative_error(matrix)
        nonzero = int(np.count_nonzero(stored))
        return LayerRecord(tied.first.node.key, stored.size, nonzero, output_error)


_SMALL_INPUTS = 1024

_THOROUGH_PRODUCT = 1 << 26
"""Multiply-adds per solver iteration up to which many iterations take tenths of a second."""


def _threads_for(tied: TiedLayers, model: Model) -> AbstractContextManager[None]:
    """One BLAS thread for a small layer: a second one would spend its time waiting."""
    inputs = tied.matrix(model).shape[2]
    return single_thread() if inputs <= _SMALL_INPUTS else nullcontext()


def _layers_to_fit(model: Model) -> tuple[TiedLayers, ...]:
    """The prunable layers from the first one on whose weights are not the file's."""
    original = model.original
    layers = find_layers(original).layers
    changed = (i for i, tied in enumerate(layers) if _is_changed(tied, model, original))
    return layers[next(changed, len(layers)) :]


def _is_changed(tied: TiedLayers, model: Model, original: Model) -> bool:
    if tied.weight not in model.weights:
        return False
    before = original.constant(tied.weight)
    return before is None or not np.array_equal(model.weights[tied.weight], before)


class _Sweep:
    """Two networks advancing together: the original, and the one pruned so far."""

    def __init__(
        self, compilation: Compilation, layers: Sequence[TiedLayers], data: Dataset
    ) -> None:
        self.original = compilation.model.original
        self.model = compilation.model
        self._layers = layers
        self._rng = np.random.default_rng(compilation.conditions.seed)
        self._plan = _Plan(self.original.view, layers)
        threads = compilation.conditions.threads
        batch = feed_size(self.original, data)
        self._walks = [
            ActivationWalk(self.original, data, wanted, batch, threads)
            for wanted in (self._plan.original, self._plan.pruned)
        ]

    def moments(self, step: int) -> list[Moments]:
        """Moments of each user of the step's weights."""
        tied = self._layers[step]
        original = self._walks[0].step(step, self.original)
        pruned = self._walks[1].step(step, self.model)
        limit = row_limit(tied.matrix(self.original).shape[2])
        return [
            gather_moments(
                user, _activations(user.x, user.y, user.other, original, pruned), limit, self._rng
            )
            for user in tied.users
        ]

    def replace(self, tied: TiedLayers, matrix: Array, moments: Sequence[Moments]) -> None:
        """Give a layer its new W of z, and move the biases that belong to it."""
        biases = moved_biases(tied, self.original, matrix, moments)
        weight = tied.stored(self.original, unscaled_matrix(tied, matrix))
        self.model = self.model.with_weights({tied.weight: weight, **biases})


def _activations(
    x: str,
    y: str,
    other: str,
    original: Mapping[str, Batches],
    pruned: Mapping[str, Batches],
) -> LayerActivations:
    """Inputs from the pruned network where it has come that far, else from the original."""
    branch = (original[other], pruned[other]) if other in pruned and other in original else None
    return LayerActivations(pruned.get(x, original.get(x, [])), original[y], branch)


class _Plan:
    """Which tensors each network must have at each layer's turn."""

    def __init__(self, view: GraphView, layers: Sequence[TiedLayers]) -> None:
        self.original: list[list[str]] = []
        self.pruned: list[list[str]] = []
        unsolved = {user.node for tied in layers for user in tied.users}
        for tied in layers:
            ready = {name for name in _operands(tied) if _is_ready(view, name, unsolved)}
            outputs = [user.y for user in tied.users]
            early = [user.x for user in tied.users if user.x not in ready]
            others = [user.other for user in tied.users if user.other in ready]
            self.original.append(outputs + early + others)
            self.pruned.append(sorted(ready))
            unsolved -= {user.node for user in tied.users}


def _operands(tied: TiedLayers) -> list[str]:
    names = [name for user in tied.users for name in (user.x, user.other)]
    return [name for name in names if name]


def _is_ready(view: GraphView, tensor: str, unsolved: set[Node]) -> bool:
    """True when the tensor needs no layer that is still to be solved."""
    return not ancestors(view, [tensor]) & unsolved
