"""Two models side by side: size, modelled energy, measured latency, how well they serve."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from eapc.commands.turns import ONE_THREAD, RuntimeEnergy, RuntimeLatency, turns_of
from eapc.data import Dataset, dataset
from eapc.energy import EnergyReport, RatioInterval, ratio_interval
from eapc.errors import UsageError
from eapc.evaluation import Accuracy, AccuracyJudge, AgreementJudge, Metric
from eapc.model import (
    Model,
    TensorSpec,
    batch_inputs,
    common_inputs,
    files_of,
    require_one_batch,
    tensors_of_model,
)
from eapc.profiling import NO_INTEGERS, IntegerUse, Meter, integer_use
from eapc.runtime import as_it_runs, holds_bfloat16
from eapc.showing import Shown
from eapc.synthesis import synthesise

logger = logging.getLogger(__name__)

_FEWEST = 2

RUN_AS_FLOAT32 = "bfloat16 runs as float32 here: outputs and latency are those of that"

_NO_PARAMETERS = frozenset((onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING))
"""Types of stored tensors that are shapes, indices, flags and texts."""


@dataclass(frozen=True)
class Side:
    """One of the models: what it stores, and its modelled energy per inference.

    `parameters` counts the elements of all stored tensors but those of int64, bool and text;
    `file_bytes` includes external data. `integers` says which nodes run on integers here.
    """

    model: Model
    parameters: int
    file_bytes: int
    energy: EnergyReport
    integers: IntegerUse = NO_INTEGERS


@dataclass(frozen=True)
class Likeness:
    """How far the outputs are alike, by `top-1 agreement` or `relative output error`."""

    metric: str
    value: float
    samples: int


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
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
    (compared,) = compare_all(
        (before, after),
        settings,
        evaluation=evaluation,
        metric=metric,
        latency=latency,
        repeats=repeats,
        meter=meter,
    )
    return compared


def compare_all(
    models: Sequence[str | Path | Model],
    settings: Settings | None = None,
    *,
    evaluation: DataSource | None = None,
    metric: MetricSource | None = None,
    latency: bool = True,
    repeats: int | None = None,
    meter: Meter | None = None,
) -> tuple[Comparison, ...]:
    """The first of several models beside each of the others, all run in the same rounds.

    As `compare`, which is this for two. Raises UsageError for fewer.
    """
    if repeats is not None and repeats < 1:
        raise UsageError(f"repeats: expected 1 or more, got {repeats}")
    if len(models) < _FEWEST:
        raise UsageError("compare: give two models or more")
    settings, measure = settings or Settings(), metric_of(metric, evaluation)
    opened = [each if isinstance(each, Model) else Model.load(each) for each in models]
    for model in opened:
        require_one_batch(model, settings.input_shapes, settings.batch)
    answering, kept = cut_alike(opened)
    specs = _common(answering)
    settings = _alike(settings, opened, specs, answering[0])
    data = _inputs(opened[0], specs, settings, evaluation, measure)
    if evaluation is not None:
        data = of_kept_classes(answering[0], data, "--eval")
    labelled = evaluation is not None
    _check_scales(opened[0], settings, data if labelled else None)
    analyses = [analysis_of(prepare(model, settings)) for model in opened]
    threads = settings.threads or ONE_THREAD
    turns = turns_of(opened, data, settings.batch or 1, threads) if latency or meter else None
    first, *others = (
        _side(model, each.energy, threads) for model, each in zip(opened, analyses, strict=True)
    )
    many = len(others)
    answers = [
        _answers([answering[0], each], data, settings.threads, measure if labelled else None)
        for each in answering[1:]
    ]
    latencies = turns.latencies(repeats) if turns and latency else [None] * many
    energies = turns.energies(meter) if turns and meter else [None] * many
    notes = _notes(opened, [note for each in analyses for note in each.notes], data)
    alone = Comparison(first, first, None, None, None, data.synthesised, data.origin, notes)
    return tuple(
        replace(alone, after=side, latency=time, metered=joules, classes=kept, **answer)
        for side, time, joules, answer in zip(others, latencies, energies, answers, strict=True)
    )


def _common(models: Sequence[Model]) -> tuple[TensorSpec, ...]:
    """The inputs of all models, with every axis that any of them fixes."""
    first, *others = models
    specs = common_inputs(first, others[0])
    for other in others[1:]:
        fixed = {spec.name: spec for spec in common_inputs(first, other)}
        specs = tuple(_more_fixed(spec, fixed.get(spec.name, spec)) for spec in specs)
    return specs


def _more_fixed(one: TensorSpec, other: TensorSpec) -> TensorSpec:
    axes = zip(one.shape, other.shape, strict=True)
    return replace(one, shape=tuple(a if isinstance(a, int) else b for a, b in axes))


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


def _side(model: Model, energy: EnergyReport, threads: int) -> Side:
    tensors = tensors_of_model(model.view.proto)
    parameters = sum(math.prod(t.dims) for t in tensors if t.data_type not in _NO_PARAMETERS)
    return Side(model, parameters, _file_bytes(model), energy, integer_use(model, threads))


def _file_bytes(model: Model) -> int:
    """Of the model's files; of what it would be written as where it is no file's."""
    if model.path is None or model.weights:
        return len(model.to_proto(embed=True).SerializeToString())
    return sum(path.stat().st_size for path in files_of(model.path, model.view.proto))


def _answers(
    models: list[Model], data: Dataset, threads: int, metric: Metric | None
) -> dict[str, Any]:
    """How well the second of two models does beside the first; likeness without a metric."""
    if metric is None:
        return {"likeness": _likeness(models, data, threads)}
    return {"accuracy": _accuracy(models, data, threads, metric)}


def _accuracy(models: list[Model], data: Dataset, threads: int, metric: Metric) -> Accuracy:
    before, after = models
    return AccuracyJudge.of(before, data, threads, metric).accuracy(after)


def _likeness(models: list[Model], data: Dataset, threads: int) -> Likeness:
    before, after = models
    found = AgreementJudge.of(before, data, threads).agreement(after, 0.0, math.inf)
    return Likeness(found.metric, found.value, found.samples)
