"""What is handed from one pass to the next: a model, its conditions, and what was found out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx

from eapc.allocation import Curves
from eapc.checkpoints import Checkpoints, Finished, data_digest, digest, model_digest
from eapc.data import Dataset
from eapc.energy import DensityTable, EnergyReport, GivenBits
from eapc.hardware import HardwareModel, MeasuredMachine
from eapc.layers import Skipped, TiedLayers
from eapc.model import InputShapes, Model
from eapc.progress import Progress, silent
from eapc.repair import Repaired
from eapc.runtime import Engine, verifier
from eapc.structured import ChannelPlan
from eapc.tuning import Tuned
from eapc.widths import WidthPlan


@dataclass(frozen=True)
class Conditions:
    """Under what a model is looked at: shapes, densities and widths for analysis, the engine.

    `batch` None keeps the model's own batch, or one where it is dynamic. `densities` None
    measures them on calibration data; without data every activation counts as dense.
    """

    batch: int | None = None
    input_shapes: InputShapes = field(default_factory=dict)
    densities: DensityTable | None = None
    bits: GivenBits = field(default=GivenBits())
    engine: Engine = field(default=Engine())


@dataclass(frozen=True)
class LayerRecord:
    """What pruning did to one weight tensor, under the name of its first layer.

    `node` is that layer's key, `tensor` the weights' name there, where the node has others too.

    `relative_output_error` is E||y - y'||^2 / E||y||^2 about the means on the rows that were
    fitted, y the original outputs; what an activation right behind cuts off is no error. Of a layer
    whose outputs are judged apart it is that of the worst part. None before the layer is
    reconstructed. `rows` is how many rows of calibration data it was fitted on, of `inputs` numbers
    each that weights may be given to; fewer rows than inputs leave weights undetermined.
    """

    name: str
    weights: int
    nonzero_weights: int
    relative_output_error: float | None = None
    rows: int | None = None
    inputs: int | None = None
    node: str = ""
    tensor: str = ""

    @classmethod
    def of(cls, tied: TiedLayers, weights: int, nonzero: int, **fitted: Any) -> LayerRecord:
        """The record of a weight tensor, with what is known of its fit."""
        first = tied.first
        tensor = first.node.input(first.tapped) if first.tapped else ""
        return cls(first.name, weights, nonzero, node=first.node.key, tensor=tensor, **fitted)

    @property
    def rows_per_input(self) -> float:
        """Below one the rows do not determine the weights; infinite where nothing was fitted."""
        return self.rows / self.inputs if self.rows is not None and self.inputs else math.inf

    @property
    def sparsity(self) -> float:
        """Fraction of weights that are zero."""
        return 1 - self.nonzero_weights / self.weights


@dataclass(frozen=True)
class ChannelRecord:
    """What became of the channels of one group, by its name."""

    name: str
    before: int
    after: int


@dataclass(frozen=True)
class LatencyRecord:
    """What a machine's measurements say of a network, in ms per inference.

    With `bits` both are those of networks quantized to them.
    """

    machine: str
    before_ms: float
    ratio: float
    bits: int | None = None

    @property
    def after_ms(self) -> float:
        """Milliseconds of the pruned network."""
        return self.before_ms * self.ratio


@dataclass(frozen=True)
class Record:
    """What passes found out: per-layer results, what they left alone, curves, time spent.

    `channels` has those of each channel group that are to stay, by the group's name, `groups`
    how many each had and has; `latency` is what that saves on a measured machine, if it counts.
    `widths` are those that weights and activations are to have, by `width_plan`, if they were
    chosen. `budget` is the energy that was to be kept, a fraction of that of the curves; `repaired`
    and `tuned` what repair and fine-tuning came to. `notes` are sentences on what a pass has
    done or left undone, and why.
    """

    layers: Mapping[str, LayerRecord] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    curves: Curves | None = None
    channels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    channel_plan: ChannelPlan | None = None
    widths: GivenBits | None = None
    width_plan: WidthPlan | None = None
    groups: tuple[ChannelRecord, ...] = ()
    latency: LatencyRecord | None = None
    budget: float | None = None
    repaired: Repaired | None = None
    tuned: Tuned | None = None
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


_OWN = Model.from_proto(onnx.ModelProto())
"""Stands for the original of a compilation's own model."""


@dataclass(frozen=True)
class Compilation:
    """The one object that passes hand on; `energy` is None unless it is that of `model`.

    `reference` is the dense network that every result is fitted to and judged against: that
    of the first stage's `model` unless another is given.
    Long passes tell `progress` how far they are and keep finished layers in `checkpoints`.
    `measured` is the machine whose latencies count, if any does.
    """

    model: Model
    hardware: HardwareModel
    calibration: Dataset | None = None
    conditions: Conditions = field(default_factory=Conditions)
    energy: EnergyReport | None = None
    record: Record = field(default_factory=Record)
    progress: Progress = silent
    checkpoints: Checkpoints | None = None
    measured: MeasuredMachine | None = None
    reference: Model = _OWN

    def __post_init__(self) -> None:
        if self.reference is _OWN:
            object.__setattr__(self, "reference", self.model.original)

    @property
    def priced(self) -> EnergyReport:
        """The model's energy, where a pipeline has ended in annotate-energy."""
        assert self.energy is not None  # see `energy` for where that is not known
        return self.energy

    @property
    def machine(self) -> HardwareModel | MeasuredMachine:
        """The machine that was asked for; energies of a measured one are another's."""
        return self.measured or self.hardware

    def finished(self, step: str, results: bool = True) -> Finished:
        """The layers that `step` has finished on this model and data, in this run or before.

        `results` is False for what is only measured.
        """
        if self.checkpoints is None or self.calibration is None:
            return Finished()
        models = (self.model, self.reference)
        return Finished(
            self.checkpoints,
            digest(step, *map(model_digest, models), data_digest(self.calibration)),
            results,
        )

    def save(self, path: str | Path, force: bool = False) -> None:
        """Write the model once it has been verified; raises what `Model.save` does."""
        model, threads = self.model, self.conditions.engine.threads
        check = verifier(model, frozenset(model.weights), self.calibration, threads)
        model.save(path, check, force)

    def with_model(self, model: Model) -> Compilation:
        """The same with another model; its energy is unknown until it is estimated."""
        return replace(self, model=model, energy=None)

    def with_record(self, **changes: Any) -> Compilation:
        """The same with parts of the record replaced."""
        return replace(self, record=replace(self.record, **changes))
