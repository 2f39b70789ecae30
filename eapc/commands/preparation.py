"""What every command starts from: a model, a machine, inputs, all of them checked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from eapc.classes import class_map
from eapc.commands.class_choice import cut_to_classes, of_kept_classes, with_numbers
from eapc.commands.data_checks import (
    check_scale,
    other_classes,
    require_classes,
    require_variety,
    warn_of_repeats,
)
from eapc.data import (
    DataFiles,
    Dataset,
    InMemory,
    OpenAxes,
    Remembered,
    load_data,
)
from eapc.energy import BitsSource, read_bits, read_densities, require_known
from eapc.errors import ArgumentError, UsageError
from eapc.evaluation import (
    TOP1_ACCURACY,
    AccuracyJudge,
    Metric,
    MetricFunction,
    OwnMetric,
    load_metric,
)
from eapc.goals import NEEDS_MEASUREMENTS, Goal, Pruned, Target, Trials
from eapc.hardware import HardwareModel, MeasuredMachine, load_hardware, load_machine
from eapc.layers import layers_of, require_layers
from eapc.model import (
    InputShapes,
    Model,
    TensorSpec,
    input_shapes,
    require_batchable,
    require_fitting,
    require_one_batch,
)
from eapc.pipeline import Compilation, Conditions, Pipeline, Recipe, estimate_energy
from eapc.progress import Progress, begin, silent, timed
from eapc.runtime import Engine, as_it_runs, holds_bfloat16
from eapc.synthesis import synthesise

logger = logging.getLogger(__name__)

DEFAULT_HARDWARE = "eyeriss"

AS_FLOAT32 = "bfloat16 runs as float32 here: outputs are judged on that, the file stays bfloat16"

DataSource = str | Path | DataFiles | Dataset | Remembered | InMemory
"""Paths, or what is in memory: arrays, dicts, iterables, readers; see docs/python.md."""

MetricSource = str | MetricFunction
"""`FILE.py:NAME`, or a function of outputs and arrays; see docs/metrics.md."""


@dataclass(frozen=True)
class Settings:
    """What every command has in common.

    A measured machine gives latencies; energies are then those of `DEFAULT_HARDWARE`.
    `batch` and `input_shapes` hold for analysis only; `density` is one number for every
    activation or the path of a YAML file, `bits` is like `weights=8,activations=8`; `samples`
    limits the calibration inputs; `memory` bounds the activations kept in memory, in bytes.
    """

    hardware: str | Path | HardwareModel | MeasuredMachine = DEFAULT_HARDWARE
    batch: int | None = None
    input_shapes: InputShapes = field(default_factory=dict)
    calibration: DataSource | None = None
    samples: int | None = None
    density: float | str | Path | None = None
    bits: BitsSource | None = None
    threads: int = 0
    seed: int = 0
    memory: int | None = None

    @property
    def engine(self) -> Engine:
        """What everything runs with."""
        return Engine(self.threads, self.seed, self.memory)


def prepare(model: str | Path | Model, settings: Settings) -> Compilation:
    """Load everything a pipeline starts from."""
    loaded = model if isinstance(model, Model) else Model.load(model)
    require_one_batch(loaded, settings.input_shapes, settings.batch)
    require_batchable(loaded, settings.input_shapes, settings.batch)
    hardware = settings.hardware
    machine = load_machine(hardware) if isinstance(hardware, str | Path) else hardware
    measured = machine if isinstance(machine, MeasuredMachine) else None
    bits = read_bits(settings.bits)
    require_known(bits, machine)
    calibration = None
    if settings.calibration is not None:
        axes = open_axes(loaded, settings.input_shapes)
        given = load_dataset(settings.calibration, loaded.inputs, settings.samples, axes)
        given = of_kept_classes(loaded, given, "--calib")
        calibration = as_it_runs(loaded, given, settings.threads)
    conditions = Conditions(
        batch=settings.batch,
        input_shapes=settings.input_shapes,
        densities=read_densities(settings.density),
        bits=bits,
        engine=settings.engine,
    )
    energies = load_hardware(DEFAULT_HARDWARE) if isinstance(machine, MeasuredMachine) else machine
    return Compilation(loaded, energies, calibration, conditions, measured=measured)


def load_dataset(
    source: DataSource,
    specs: Sequence[TensorSpec],
    samples: int | None = None,
    axes: OpenAxes | None = None,
) -> Dataset:
    """A dataset from files, from memory, or as it is; no more than `samples` of it."""
    if isinstance(source, str | Path | DataFiles):
        return load_data(source, specs, samples, axes)
    if isinstance(source, Dataset):
        return source.first(samples)
    if not isinstance(source, Remembered):
        source = Remembered(source)
    return source.named(specs, samples).dataset(specs, samples)


def load_evaluation(
    source: DataSource,
    model: Model,
    specs: Sequence[TensorSpec],
    given: InputShapes,
    metric: Metric,
) -> Dataset:
    """A dataset for a metric; a warning where subfolders are not the classes of the model.

    Raises DataError where it lacks what the metric takes, such as labels.
    """
    data = load_dataset(source, specs, axes=open_axes(model, given))
    metric.require(data)
    if class_map(model) is None and (said := other_classes(model, data)):
        logger.warning(said)
    return data


def _path_of(source: DataSource) -> str:
    """Where data is on disk; empty where it is not."""
    path = source.path if isinstance(source, DataFiles) else source
    return str(path) if isinstance(path, str | Path) else ""


def open_axes(model: Model, given: InputShapes) -> OpenAxes:
    """How large images are for a model that leaves that open.

    Raises UsageError for given shapes that do not fit the model.
    """
    require_fitting(model, given)
    return OpenAxes(given, lambda: input_shapes(model, given, None))


@dataclass(frozen=True)
class Begun:
    """A model that is to be pruned, loaded and looked over; inputs to fit may be missing.

    Where it was cut to some of its classes, `uncut` is the network before.
    """

    compilation: Compilation
    recipe: Recipe
    labelled: Dataset | None
    metric: Metric = TOP1_ACCURACY
    uncut: Model | None = None

    def with_inputs(self, samples: int | None, progress: Progress = silent) -> Begun:
        """The same with inputs to fit, made up where none were given, which is told."""
        if self.compilation.calibration is None:
            begin(progress, "making up inputs")
        return replace(self, compilation=with_inputs(self.compilation, samples))

    def pipeline(self, goal: Goal) -> Pipeline:
        """The pipeline that pursues a goal on these inputs, as it would be typed."""
        return goal.pipeline(self.recipe, self.held_out(goal))

    def held_out(self, goal: Goal) -> float | None:
        """The fraction of the inputs to fit that a goal keeps out of it."""
        return goal.kept_out(self.compilation.calibration, self.labelled is not None)

    def trials(self, compilation: Compilation) -> Trials:
        """Trials of the model; the original is run on the evaluation inputs first."""
        judge = None
        if self.labelled is not None:
            threads = compilation.conditions.engine.threads
            judge = AccuracyJudge.of(compilation.model, self.labelled, threads, self.metric)
        return Trials(compilation, self.recipe, judge)

    def beside_uncut(self, pruned: Pruned) -> Pruned:
        """A result with the energy of the network before it was cut, on the same inputs."""
        if self.uncut is None:
            return pruned
        whole = pruned.compilation.with_model(self.uncut)
        return replace(pruned, uncut=estimate_energy(whole))


def checked(
    model: str | Path | Model,
    settings: Settings,
    goals: Sequence[Goal],
    recipe: Recipe,
    evaluation: DataSource | None,
    outputs: Sequence[str | Path],
    force: bool,
    metric: MetricSource | None = None,
) -> Begun:
    """What a user has given, loaded and checked before any work; see `Begun.with_inputs`."""
    measure = metric_of(metric, evaluation)
    for part in (part for goal in goals for part in goal.parts):
        require_labels(part, evaluation)
        if metric is None:
            part.require_share()
    compilation, uncut = prepare(model, settings), None
    if recipe.widths is not None:
        require_known(recipe.widths, compilation.machine, compilation.model.constants.stored)
    if holds_bfloat16(compilation.model.view.proto):
        compilation = compilation.with_record(notes=(AS_FLOAT32,))
    if recipe.classes:
        is_told = evaluation is not None and measure is TOP1_ACCURACY
        uncut, recipe = compilation.model, with_numbers(recipe, compilation, is_told=is_told)
        compilation = cut_to_classes(with_inputs(compilation, settings.samples), recipe)
    require_layers(layers_of(compilation.model))
    recipe = with_objective(recipe, compilation, goals)
    for goal in goals:
        _require_budget(goal, recipe)
        goal.pipeline(recipe).check(compilation.model)
    require_variety(compilation.calibration, goals)
    check_scale(compilation.model, compilation.calibration, "--calib", settings.threads)
    labelled = None
    if evaluation is not None:
        labelled = _labelled(evaluation, compilation.model, uncut, settings, measure)
    for output in outputs:
        compilation.model.require_writable(output, force)
    return Begun(compilation, recipe, labelled, measure, uncut)


def _labelled(
    evaluation: DataSource, model: Model, uncut: Model | None, settings: Settings, measure: Metric
) -> Dataset:
    """The inputs of `--eval`, of the classes that the model was cut to; labels are the uncut's."""
    whole = uncut or model
    labelled = load_evaluation(evaluation, whole, whole.inputs, settings.input_shapes, measure)
    if measure is TOP1_ACCURACY and class_map(whole) is None:
        require_classes(whole, labelled, _path_of(evaluation))
    labelled = of_kept_classes(model, labelled, "--eval")
    labelled = as_it_runs(model, labelled, settings.threads)
    warn_of_repeats(labelled, "inputs of --eval")
    check_scale(model, labelled, "--eval", settings.threads)
    return labelled


def metric_of(source: MetricSource | None, evaluation: DataSource | None) -> Metric:
    """Top-1 accuracy, or a metric of the user's own; UsageError where it has no inputs."""
    if source is None:
        return TOP1_ACCURACY
    if evaluation is None:
        raise UsageError("--metric: needs --eval: the inputs and what the metric takes of them")
    if isinstance(source, str):
        return load_metric(source)
    if not callable(source):
        raise ArgumentError(f"metric: expected a function, got {type(source).__name__}")
    return OwnMetric.of(source)


def with_objective(recipe: Recipe, compilation: Compilation, goals: Sequence[Goal] = ()) -> Recipe:
    """The recipe with the objective that the machine tells of, or else a goal's own.

    Raises UsageError where the machine does not tell of it.
    """
    machine = compilation.measured
    if machine is None and recipe.objective == "latency":
        raise UsageError(f"--objective latency: {NEEDS_MEASUREMENTS}")
    if machine is not None and (recipe.objective not in ("", "latency") or not recipe.structured):
        raise UsageError(
            f"{machine.name} holds measured latencies and no energies; give a machine that has "
            "them, or --structured and a goal of latency"
        )
    if machine is not None and recipe.mixed_bits:
        raise UsageError(
            f"--bits mixed: {machine.name} holds measured latencies of 8 bits alone; give --bits 8"
        )
    preferred = [each.prefers for each in targets_of(goals) if each.prefers]
    if machine is None and recipe.mixed_bits:
        preferred = []  # widths share out energies
    chosen = recipe.objective or next(iter(preferred), "energy")
    return replace(recipe, objective="latency" if machine else chosen)


def targets_of(goals: Sequence[Goal]) -> list[Target]:
    """The costs that goals are to lower."""
    return [part for goal in goals for part in goal.parts if isinstance(part, Target)]


def _require_budget(goal: Goal, recipe: Recipe) -> None:
    if recipe.mixed_bits and not recipe.is_of_energy:
        raise UsageError(
            f"--bits mixed: widths share out energies, not {recipe.objective}; give --bits 8"
        )
    if recipe.mixed_bits and not goal.has_budget:
        raise UsageError(
            f"{goal.option}: --bits mixed shares out an energy budget; give --target-energy, "
            "--max-drop or --min-agreement, or widths such as --bits 8"
        )


def require_labels(goal: Goal, evaluation: DataSource | None) -> None:
    """Raise UsageError where a goal decides by accuracy and there is nothing to tell it."""
    if goal.needs_labels and evaluation is None:
        raise UsageError(f"{goal.option}: needs --eval with labels: it decides by accuracy")


def with_inputs(compilation: Compilation, samples: int | None) -> Compilation:
    """The compilation with calibration inputs: made-up ones, with a warning, where it has none."""
    if compilation.calibration is not None:
        return compilation
    model, conditions = compilation.model, compilation.conditions
    seconds = dict(compilation.record.seconds)
    with timed(seconds, "synthesise-inputs"):
        rng = np.random.default_rng(conditions.engine.seed)
        made = synthesise(model, conditions.input_shapes, samples, rng, conditions.engine.threads)
    values = made.origin and f": {made.origin}"
    logger.warning(
        f"no calibration data: {len(made)} inputs were made up{values}; real data prunes better"
    )
    for note in made.notes:
        logger.warning(note)
    return replace(compilation, calibration=made).with_record(seconds=seconds)
