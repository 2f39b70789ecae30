"""What every command starts from: a model, a machine, inputs, all of them checked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from eapc.data import CalibrationDataReader, Dataset, from_reader, load_data
from eapc.energy import read_bits, read_densities
from eapc.errors import DataError, UsageError
from eapc.evaluation import AccuracyJudge
from eapc.goals import ALIKE, NEEDS_MEASUREMENTS, Goal, Trials
from eapc.hardware import HardwareModel, MeasuredMachine, load_hardware, load_machine
from eapc.layers import layers_of, require_layers
from eapc.model import InputShapes, Model, TensorSpec
from eapc.pipeline import Compilation, Conditions, Recipe
from eapc.progress import timed
from eapc.runtime import Engine, as_it_runs
from eapc.synthesis import synthesise

logger = logging.getLogger(__name__)

DEFAULT_HARDWARE = "eyeriss"

DataSource = str | Path | Dataset | CalibrationDataReader


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
    bits: str | None = None
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
    hardware = settings.hardware
    machine = load_machine(hardware) if isinstance(hardware, str | Path) else hardware
    measured = machine if isinstance(machine, MeasuredMachine) else None
    calibration = None
    if settings.calibration is not None:
        given = load_dataset(settings.calibration, loaded.inputs).first(settings.samples)
        calibration = as_it_runs(loaded, given, settings.threads)
    conditions = Conditions(
        batch=settings.batch,
        input_shapes=settings.input_shapes,
        densities=read_densities(settings.density),
        bits=read_bits(settings.bits),
        engine=settings.engine,
    )
    energies = load_hardware(DEFAULT_HARDWARE) if isinstance(machine, MeasuredMachine) else machine
    return Compilation(loaded, energies, calibration, conditions, measured=measured)


def load_dataset(source: DataSource, specs: Sequence[TensorSpec]) -> Dataset:
    """A dataset from a path, a CalibrationDataReader, or as it is."""
    if isinstance(source, Dataset):
        return source
    if isinstance(source, str | Path):
        return load_data(source, specs)
    return from_reader(source, specs)


@dataclass(frozen=True)
class Begun:
    """A model that is to be pruned, loaded and looked over; inputs to fit may be missing."""

    compilation: Compilation
    recipe: Recipe
    labelled: Dataset | None

    def with_inputs(self, samples: int | None) -> Begun:
        """The same with inputs to fit, made up where none were given."""
        return replace(self, compilation=with_inputs(self.compilation, samples))

    def trials(self, compilation: Compilation) -> Trials:
        """Trials of the model; the original is run on the labelled inputs first."""
        judge = None
        if self.labelled is not None:
            threads = compilation.conditions.engine.threads
            judge = AccuracyJudge.of(compilation.model, self.labelled, threads)
        return Trials(compilation, self.recipe, judge)


def checked(
    model: str | Path | Model,
    settings: Settings,
    goals: Sequence[Goal],
    recipe: Recipe,
    evaluation: DataSource | None,
    outputs: Sequence[str | Path],
    force: bool,
) -> Begun:
    """What a user has given, loaded and checked before any work; see `Begun.with_inputs`."""
    for goal in goals:
        require_labels(goal, evaluation)
    compilation = prepare(model, settings)
    require_layers(layers_of(compilation.model))
    recipe = with_objective(recipe, compilation)
    for goal in goals:
        goal.pipeline(recipe).check(compilation.model)
    _require_variety(compilation.calibration, goals)
    labelled = None
    if evaluation is not None:
        labelled = load_dataset(evaluation, compilation.model.inputs)
        labelled.require_labels()
        labelled = as_it_runs(compilation.model, labelled, settings.threads)
    for output in outputs:
        compilation.model.require_writable(output, force)
    return Begun(compilation, recipe, labelled)


def _require_variety(data: Dataset | None, goals: Sequence[Goal]) -> None:
    """Refuse to search on inputs that are all the same; warn where a goal is obeyed on them."""
    if data is None or not data.are_alike:
        return
    if any(goal.is_searched for goal in goals):
        raise DataError(f"{ALIKE}; give other ones")
    logger.warning(f"{ALIKE}, and layers cannot be fitted to them")


def with_objective(recipe: Recipe, compilation: Compilation) -> Recipe:
    """The recipe with the objective that the machine tells of; UsageError where it does not."""
    machine = compilation.measured
    if machine is None and recipe.objective == "latency":
        raise UsageError(f"--objective latency: {NEEDS_MEASUREMENTS}")
    if machine is not None and (recipe.objective == "energy" or not recipe.structured):
        raise UsageError(
            f"{machine.name} holds measured latencies and no energies; give a machine that has "
            "them, or --structured and a goal of latency"
        )
    return replace(recipe, objective="latency" if machine else "energy")


def require_labels(goal: Goal, evaluation: DataSource | None) -> None:
    """Raise UsageError where a goal decides by accuracy and there is nothing to tell it."""
    if goal.needs_labels and evaluation is None:
        raise UsageError(f"{goal.option}: needs --eval with labels y: it decides by accuracy")


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
