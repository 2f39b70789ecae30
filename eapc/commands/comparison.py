"""Two models side by side: size, modelled energy, measured latency, how well they serve."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from eapc.classes import ClassMap
from eapc.commands.class_choice import cut_alike, of_kept_classes
from eapc.commands.compiler import analysis_of
from eapc.commands.data_checks import check_scale
from eapc.commands.preparation import (
    DataSource,
    MetricSource,
    Settings,
    load_dataset,
    load_evaluation,
    metric_of,
    open_axes,
    prepare,
)
from eapc.commands.turns import ONE_THREAD, Turns, turns_of
from eapc.data import Dataset, dataset
from eapc.energy import EnergyReport, RatioInterval, ratio_interval
from eapc.errors import UsageError
from eapc.evaluation import Accuracy, AccuracyJudge, AgreementJudge, Metric
from eapc.hardware import Metered
from eapc.model import (
    Model,
    TensorSpec,
    batch_inputs,
    common_inputs,
    files_of,
    require_one_batch,
    tensors_of_model,
)
from eapc.profiling import Meter, Ratio, meter_in_turns, run_in_turns
from eapc.runtime import as_it_runs, holds_bfloat16
from eapc.synthesis import synthesise

logger = logging.getLogger(__name__)

RUN_AS_FLOAT32 = "bfloat16 runs as float32 here: outputs and latency are those of that"

_NO_PARAMETERS = frozenset((onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING))
"""Types of stored tensors that are shapes, indices, flags and texts."""


@dataclass(frozen=True)
class Side:
    """One of two models: what it stores, and its modelled energy per inference.

    `parameters` counts the elements of all stored tensors but those of int64, bool and text;
    `file_bytes` includes external data.
    """

    model: Model
    parameters: int
    file_bytes: int
    energy: EnergyReport


@dataclass(frozen=True)
class RuntimeLatency:
    """What onnxruntime took on this computer: medians over rounds that run both in turns.

    Milliseconds are per inference, that is of a run over its `batch`. `ratio` is that of after
    to before within a round.
    """

    before_ms: float
    after_ms: float
    ratio: Ratio
    batch: int
    threads: int
    repeats: int


@dataclass(frozen=True)
class RuntimeEnergy:
    """What onnxruntime took on this computer by its meter, above idling: medians over windows.

    Joules are per inference. `ratio` is that of after to before within a round, None where before
    may have taken nothing above `idle_w`. Each window of a model lasts `window_s` seconds or
    longer; its runs are of `batch` inferences.
    """

    meter: str
    before_j: Metered
    after_j: Metered
    ratio: Ratio | None
    idle_w: Metered
    batch: int
    threads: int
    rounds: int
    window_s: float


@dataclass(frozen=True)
class Likeness:
    """How far the outputs are alike, by `top-1 agreement` or `relative output error`."""

    metric: str
    value: float
    samples: int


@dataclass(frozen=True)
class Comparison:
    """Two models of the same inputs and outputs.

    `accuracy` is known with labelled inputs, `likeness` of the outputs is measured without;
    `made_up` says that the inputs were, `inputs` which values they have. Where one model was cut to
    some of the other's classes, answers are those on `classes`, of both.
    """

    before: Side
    after: Side
    latency: RuntimeLatency | None
    accuracy: Accuracy | None
    likeness: Likeness | None
    made_up: bool
    inputs: str = ""
    notes: tuple[str, ...] = ()
    metered: RuntimeEnergy | None = None
    classes: ClassMap | None = None

    @property
    def energy_ratio(self) -> float | None:
        """Modelled energy after over before; None where that before is nothing."""
        dense = self.before.energy.energy_mac_units
        return self.after.energy.energy_mac_units / dense if dense else None

    @property
    def energy_ratio_interval(self) -> RatioInterval | None:
        """Where that ratio lies, by what the machine was held against; None where unknown."""
        return ratio_interval(self.before.energy, self.after.energy)


def compare(
    before: str | Path | Model,
    after: str | Path | Model,
    settings: Settings | None = None,
    *,
    evaluation: DataSource | None = None,
    metric: MetricSource | None = None,
    latency: bool = True,
    repeats: int | None = None,
    meter: Meter | None = None,
) -> Comparison:
    """Put two models side by side; they may differ in all but their inputs and outputs.

    Latency, and with a `meter` the energy of running both here, are measured on the inputs that
    outputs are compared on: those of `evaluation`, else calibration inputs, else made-up ones.
    `metric` is what counts on those of `evaluation` in place of top-1 accuracy. Raises UsageError
    naming the difference where inputs or outputs are not the same, MeterError where the meter
    tells nothing.
    """
    if repeats is not None and repeats < 1:
        raise UsageError(f"repeats: expected 1 or more, got {repeats}")
    settings, measure = settings or Settings(), metric_of(metric, evaluation)
    models = [each if isinstance(each, Model) else Model.load(each) for each in (before, after)]
    for model in models:
        require_one_batch(model, settings.input_shapes, settings.batch)
    answering, kept = cut_alike(models)
    specs = common_inputs(*answering)
    settings = _alike(settings, models, specs, answering[0])
    data = _inputs(models[0], specs, settings, evaluation, measure)
    if evaluation is not None:
        data = of_kept_classes(answering[0], data, "--eval")
    labelled = evaluation is not None
    _check_scales(models[0], settings, data if labelled else None)
    analyses = [analysis_of(prepare(model, settings)) for model in models]
    sides = [_side(model, each.energy) for model, each in zip(models, analyses, strict=True)]
    threads, batch = settings.threads or ONE_THREAD, settings.batch or 1
    turns = turns_of(models, data, batch, threads) if latency or meter else None
    return Comparison(
        before=sides[0],
        after=sides[1],
        latency=_latency(turns, repeats) if turns and latency else None,
        accuracy=_accuracy(answering, data, settings.threads, measure) if labelled else None,
        likeness=None if labelled else _likeness(answering, data, settings.threads),
        made_up=data.synthesised,
        inputs=data.origin,
        notes=_notes(models, [note for each in analyses for note in each.notes], data),
        metered=_metered(turns, meter) if turns and meter else None,
        classes=kept,
    )


def _notes(models: list[Model], analysed: list[str], data: Dataset) -> tuple[str, ...]:
    """What is to be said about the models and their inputs, each once."""
    widened = any(holds_bfloat16(model.view.proto) for model in models)
    return tuple(dict.fromkeys((*analysed, *data.notes, *([RUN_AS_FLOAT32] if widened else []))))


# --- inputs ----------------------------------------------------------------------------------


def _alike(
    settings: Settings, models: list[Model], specs: tuple[TensorSpec, ...], answering: Model
) -> Settings:
    """Settings under which both models are looked at alike: axes that one fixes hold for both.

    Calibration inputs are those of the classes of `answering`, and without labels from there on.
    """
    calibration = settings.calibration
    if calibration is not None:
        axes = open_axes(models[0], settings.input_shapes)
        calibration = load_dataset(calibration, specs, settings.samples, axes)
        calibration = of_kept_classes(answering, calibration, "--calib")
        calibration = replace(calibration, labels=None)
        calibration = as_it_runs(models[0], calibration, settings.threads)
    batched = batch_inputs(specs)
    given = settings.input_shapes
    asked = [given[s.name][s.batch_axis] for s in specs if s.name in batched and s.name in given]
    sizes = [*asked, *(spec.batch for spec in specs if spec.name in batched)]
    fixed = next((size for size in sizes if isinstance(size, int)), None)
    batch = settings.batch or fixed
    shapes = {**_fixed_shapes(models, specs, batch or 1), **settings.input_shapes}
    return replace(settings, batch=batch, input_shapes=shapes, calibration=calibration)


def _fixed_shapes(
    models: list[Model], specs: tuple[TensorSpec, ...], batch: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of the inputs that one model fixes and the other does not."""
    batched = batch_inputs(specs)
    declared = [{spec.name: spec.shape for spec in model.inputs} for model in models]
    fixed = {}
    for spec in specs:
        own = spec.batch_axis if spec.name in batched else None
        shape = tuple(batch if axis == own else size for axis, size in enumerate(spec.shape))
        sizes = tuple(axis for axis in shape if isinstance(axis, int))
        differs = any(shapes[spec.name] != spec.shape for shapes in declared)
        if differs and len(sizes) == len(shape):
            fixed[spec.name] = sizes
    return fixed


def _inputs(
    model: Model,
    specs: tuple[TensorSpec, ...],
    settings: Settings,
    evaluation: DataSource | None,
    metric: Metric,
) -> Dataset:
    """What both models are run on; inputs for evaluation have what the metric takes."""
    if evaluation is not None:
        labelled = load_evaluation(evaluation, model, specs, settings.input_shapes, metric)
        return as_it_runs(model, labelled, settings.threads)
    if isinstance(settings.calibration, Dataset):
        return settings.calibration
    rng = np.random.default_rng(settings.seed)
    made = synthesise(model, settings.input_shapes, settings.samples, rng, settings.threads)
    fed = dataset({**made.arrays, **made.shared}, specs, "made-up inputs", are_samples=True)
    values = made.origin and f": {made.origin}"
    logger.warning(
        f"no data: outputs are compared on {len(fed)} made-up inputs{values}; real ones say more"
    )
    return replace(
        fed,
        fixed_batch=fed.fixed_batch or made.fixed_batch,
        synthesised=True,
        origin=made.origin,
        kinds=made.kinds,
        kind_names=made.kind_names,
        notes=made.notes,
    )


def _check_scales(model: Model, settings: Settings, labelled: Dataset | None) -> None:
    """Warn of data at another scale than the first model expects."""
    given = settings.calibration
    calibration = given if isinstance(given, Dataset) else None
    for option, data in (("--calib", calibration), ("--eval", labelled)):
        check_scale(model, data, option, settings.threads, refuses=False)


# --- figures ---------------------------------------------------------------------------------


def _side(model: Model, energy: EnergyReport) -> Side:
    tensors = tensors_of_model(model.view.proto)
    parameters = sum(math.prod(t.dims) for t in tensors if t.data_type not in _NO_PARAMETERS)
    return Side(model, parameters, _file_bytes(model), energy)


def _file_bytes(model: Model) -> int:
    """Of the model's files; of what it would be written as where it is no file's."""
    if model.path is None or model.weights:
        return len(model.to_proto(embed=True).SerializeToString())
    return sum(path.stat().st_size for path in files_of(model.path, model.view.proto))


def _accuracy(models: list[Model], data: Dataset, threads: int, metric: Metric) -> Accuracy:
    before, after = models
    return AccuracyJudge.of(before, data, threads, metric).accuracy(after)


def _likeness(models: list[Model], data: Dataset, threads: int) -> Likeness:
    before, after = models
    found = AgreementJudge.of(before, data, threads).agreement(after, 0.0, math.inf)
    return Likeness(found.metric, found.value, found.samples)


def _latency(turns: Turns, repeats: int | None) -> RuntimeLatency:
    rounds = repeats or turns.rounds()
    laps = run_in_turns(turns.runs, rounds)
    before_ms, after_ms = (ms / turns.batch for ms in laps.median_ms)
    ratio = laps.ratio(1, 0)
    return RuntimeLatency(before_ms, after_ms, ratio, turns.batch, turns.threads, rounds)


def _metered(turns: Turns, meter: Meter) -> RuntimeEnergy:
    log = meter_in_turns(meter, turns.runs)
    before_j, after_j = (log.run_j(place).times(1 / turns.batch) for place in (0, 1))
    return RuntimeEnergy(
        meter=log.meter,
        before_j=before_j,
        after_j=after_j,
        ratio=log.ratio(1, 0),
        idle_w=log.idle_w,
        batch=turns.batch,
        threads=turns.threads,
        rounds=len(log.busy),
        window_s=log.window_s,
    )
