"""reconstruct-outputs: refit every pruned layer so that the original's outputs come back."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import dropwhile
from typing import ClassVar

import numpy as np

from eapc.calibration import LayerFit, LayerwiseReconstruction, Reference, on_layers_grid
from eapc.checkpoints import Checkpoint, arrays_digest, digest
from eapc.errors import UsageError
from eapc.layers import TiedLayers, layers_of, pattern_of
from eapc.model import Array, Model
from eapc.pipeline import Compilation, LayerRecord, Pass
from eapc.progress import Step
from eapc.registry import METHODS
from eapc.solvers import PATTERNS, LayerProblem, parse_pattern, refit, solve

logger = logging.getLogger(__name__)

DEFAULT_METHOD = "admm"


@dataclass(frozen=True)
class ReconstructOutputs(Pass):
    """Refit each pruned layer, in data-flow order, to the dense network's outputs."""

    name: ClassVar[str] = "reconstruct-outputs"
    refits: ClassVar[bool] = True

    keep_mask: bool = field(
        default=False, metadata={"help": "refit the weights that are left, choose none anew"}
    )
    method: str = field(
        default=DEFAULT_METHOD, metadata={"help": "how weights are chosen", "choices": METHODS}
    )
    thorough: bool = field(default=False, metadata={"help": "take more time for large layers too"})
    pattern: str = field(
        default="unstructured",
        metadata={"help": f"which weights survive together: {', '.join(PATTERNS)}"},
    )

    def __post_init__(self) -> None:
        METHODS.require(self.method)
        if self.thorough and METHODS[self.method].thorough is None:
            raise UsageError(f"method {self.method} knows no thorough; leave it out, or take admm")
        if self.keep_mask and self.method != DEFAULT_METHOD:
            raise UsageError("keep_mask chooses no weights: leave method out")
        parse_pattern(self.pattern)

    @property
    def needs_calibration(self) -> bool:
        """Layers are fitted on calibration inputs."""
        return True

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with each layer solved at the number of weights it has left."""
        if compilation.calibration is None:
            raise UsageError("needs calibration data")
        reference = Reference(compilation.reference, compilation.model)
        layers = _layers_to_fit(reference, compilation.record.layers)
        records = {  # what comes before the first changed layer stays exact
            name: replace(record, relative_output_error=0.0)
            for name, record in compilation.record.layers.items()
        }
        if not layers:
            return compilation.with_record(layers=records)
        model, data = compilation.model, compilation.calibration
        engine = compilation.conditions.engine
        sweep = LayerwiseReconstruction(model, compilation.reference, layers, data, engine)
        finished = _unpruned(compilation, layers).finished(str(self))
        error = None
        for step, (tied, key) in enumerate(zip(layers, _keys(model, layers), strict=True)):
            part = finished.load(key)
            if part is None:
                name = tied.first.name
                compilation.progress(Step(self.name, step, len(layers), name, error))
                part = self._finish(sweep, step, tied)
                finished.save(key, part)
            else:
                sweep.resume(part.arrays)
            records[tied.weight] = record = LayerRecord(**part.facts)
            error = record.relative_output_error
        compilation.progress(Step(self.name, len(layers), len(layers), error=error))
        return compilation.with_model(sweep.model).with_record(layers=records)

    def _finish(self, sweep: LayerwiseReconstruction, step: int, tied: TiedLayers) -> Checkpoint:
        """Solve one layer, put it into the sweep's model and say what came of it."""
        record, constants = self._fit(sweep, step, tied)
        logger.info(
            "%s: %d of %d weights, relative output error %.4f",
            *(record.name, record.nonzero_weights, record.weights),
            record.relative_output_error,
        )
        return Checkpoint(constants, asdict(record))

    def _fit(
        self, sweep: LayerwiseReconstruction, step: int, tied: TiedLayers
    ) -> tuple[LayerRecord, dict[str, Array]]:
        """Solve one layer on what reaches it now; its record and its constants' new values."""
        method = METHODS[self.method]
        fit = LayerFit.at(sweep, step, tied, method.fits)
        if fit is None:
            return _as_they_are(sweep.model, tied)
        tied, pruned = fit.tied, fit.pruned
        matrix = self._solved(fit.problem, tied, pruned)
        if method.refits_behind_activations:
            fit, matrix = fit.behind_activation(matrix)
        scales: dict[str, Array] = {}
        if method.fits:
            matrix, scales = on_layers_grid(fit.problem, matrix, tied, sweep.original)
        constants = sweep.replace(tied, matrix, fit.aims if method.fits else None, scales)
        read = (pruned != 0).any(axis=(0, 1)) if self.keep_mask else np.ones(matrix.shape[2])
        record = LayerRecord.of(
            *(tied, matrix.size, tied.nonzero(sweep.model)),
            relative_output_error=fit.relative_error(matrix),
            rows=sum(moment.count for moment in fit.moments),
            inputs=int(np.count_nonzero(read)),
        )
        return record, constants

    def _solved(self, problem: LayerProblem, tied: TiedLayers, pruned: Array) -> Array:
        """W of z with as many weights as `pruned` has left; a dense layer is only fitted."""
        count = int(np.count_nonzero(pruned))
        is_dense = count == pruned.size
        if is_dense and not METHODS[self.method].fits:
            return pruned
        if self.keep_mask:
            return refit(problem, pruned != 0)
        if is_dense:
            return refit(problem, pruned != 0)
        thorough = self.thorough or pruned.size * pruned.shape[2] <= _THOROUGH_PRODUCT
        pattern = pattern_of(tied, self.pattern)
        return solve(problem, count, method=self.method, pattern=pattern, thorough=thorough)


def _as_they_are(model: Model, tied: TiedLayers) -> tuple[LayerRecord, dict[str, Array]]:
    """The record and weights of a layer that no input comes to."""
    stored = model.constants[tied.weight]
    record = LayerRecord.of(tied, tied.size(model), tied.nonzero(model))
    return record, {tied.weight: stored}


_THOROUGH_PRODUCT = 1 << 26
"""Multiply-adds per solver iteration up to which many iterations take tenths of a second."""


def _unpruned(compilation: Compilation, layers: Sequence[TiedLayers]) -> Compilation:
    """The compilation with the original's weights in these layers."""
    model = compilation.model
    constants = model.original.constants
    return compilation.with_model(
        model.with_weights({tied.weight: constants[tied.weight] for tied in layers})
    )


def _keys(model: Model, layers: Sequence[TiedLayers]) -> Iterator[str]:
    """What each layer's fit depends on of the pruned weights: its own and those before it.

    So a run that differs only in later layers finds the earlier ones finished.
    """
    key = digest(*(tied.weight for tied in layers))
    for tied in layers:
        changed = {name: model.weights[name] for name in (tied.weight,) if name in model.weights}
        key = digest(key, arrays_digest(changed))
        yield key


def _layers_to_fit(
    reference: Reference, records: Mapping[str, LayerRecord]
) -> tuple[TiedLayers, ...]:
    """The layers from the first one on whose weights or inputs are not the dense network's.

    None where all weights are still the file's. Layers without a record were left alone on
    purpose, unless there is no record at all.
    """
    model, original = reference.student, reference.original
    found = layers_of(original).layers
    layers = tuple(tied for tied in found if not records or tied.weight in records)
    if not any(_is_changed(tied, model, model.original) for tied in layers):
        return ()
    cut = (_is_changed(tied, model, original) or reference.is_cut(tied) for tied in layers)
    return tuple(dropwhile(lambda _: not next(cut), layers))


def _is_changed(tied: TiedLayers, model: Model, original: Model) -> bool:
    if tied.weight not in model.weights and tied.weight not in original.weights:
        return False
    return not np.array_equal(model.constants[tied.weight], original.constants[tied.weight])
