"""The whole way of a model: load, estimate, prune towards a goal, verify, save.

`analyze` and `prune` are what the command line calls and what `import eapc` offers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from eapc.data import CalibrationDataReader, Dataset, from_reader, load_data
from eapc.densities import read_densities
from eapc.energy import EnergyReport
from eapc.errors import DataError, UsageError
from eapc.evaluation import Accuracy, Agreement, top1
from eapc.given_bits import read_bits
from eapc.goals import DEFAULT_GOAL, Goal, Outcome
from eapc.hardware import HardwareModel, load_hardware
from eapc.layers import Skipped, find_layers, require_layers
from eapc.model import Model
from eapc.pipeline import Compilation, Conditions, LayerRecord, Pipeline
from eapc.progress import Progress, silent
from eapc.recipe import Recipe
from eapc.registry import load_passes
from eapc.resuming import resumable
from eapc.runtime import collect_outputs
from eapc.shapes import InputShapes
from eapc.solvers import blas_threads
from eapc.synthesis import synthesise
from eapc.tensors import TensorSpec
from eapc.verify import verifier

logger = logging.getLogger(__name__)

DataSource = str | Path | Dataset | CalibrationDataReader


@dataclass(frozen=True)
class Settings:
    """What every command has in common.

    `batch` and `input_shapes` hold for analysis only; `density` is one number for every
    activation or the path of a YAML file, `bits` is like `weights=8,activations=8`; `samples`
    limits the calibration inputs; `memory` bounds the activations kept in memory, in bytes.
    """

    hardware: str | Path | HardwareModel = "eyeriss"
    batch: int | None = None
    input_shapes: InputShapes = field(default_factory=dict)
    calibration: DataSource | None = None
    samples: int | None = None
    density: float | str | Path | None = None
    bits: str | None = None
    threads: int = 0
    seed: int = 0
    memory: int | None = None


@dataclass(frozen=True)
class Analysis:
    """A model, annotated, with the energy of every node."""

    model: Model
    energy: EnergyReport
    samples: int
    notes: tuple[str, ...] = ()

    def save(self, path: str | Path, force: bool = False) -> None:
        """Write the annotated model once it has been verified."""
        self.model.save(path, verifier(self.model, frozenset(), None), force)


@dataclass(frozen=True)
class Pruned:
    """A pruned model and everything known about it.

    `goal_met` is False when the best that could be done falls short; `reason` says why.
    """

    model: Model
    pipeline: str
    before: EnergyReport
    after: EnergyReport
    accuracy: Accuracy | None
    agreement: Agreement | None
    layers: tuple[LayerRecord, ...]
    skipped: tuple[Skipped, ...]
    goal_met: bool
    reason: str
    seconds: Mapping[str, float]
    synthesised: bool = False
    output: Path | None = None

    @property
    def energy_ratio(self) -> float:
        """Energy after over energy before."""
        before = self.before.energy_mac_units
        return self.after.energy_mac_units / before if before else 1.0


@dataclass(frozen=True)
class Ran:
    """What a typed pipeline made of a model."""

    compilation: Compilation
    pipeline: str
    output: Path | None


def analyze(model: str | Path | Model, settings: Settings | None = None) -> Analysis:
    """Estimate the energy of every node of a model on a machine."""
    compilation = prepare(model, settings or Settings())
    with blas_threads(compilation.conditions.threads):
        done = Pipeline.parse("annotate-energy", load_passes()).run(compilation)
    assert done.energy is not None  # annotate-energy leaves a report
    samples = len(done.calibration) if done.calibration else 0
    return Analysis(done.model, done.energy, samples, _notes(compilation))


def _notes(compilation: Compilation) -> tuple[str, ...]:
    """What was assumed for want of information, and what was given in vain."""
    conditions, data = compilation.conditions, compilation.calibration
    known = {*conditions.input_shapes, *(data.specs if data else ())}
    assumed = (
        f"axis {axis} of input '{spec.name}' is dynamic and taken to be 1; --input-shape sets it"
        for spec in compilation.model.inputs
        if spec.name not in known
        for axis, size in enumerate(spec.shape)
        if axis > 0 and not isinstance(size, int)
    )
    named = conditions.densities.by_tensor if conditions.densities else {}
    tensors = {name for node in compilation.model.nodes for name in (*node.inputs, *node.outputs)}
    unknown = (
        f"--density names '{name}', which is no tensor of the model"
        for name in named
        if name not in tensors
    )
    return (*assumed, *unknown)


def prepare(model: str | Path | Model, settings: Settings) -> Compilation:
    """Load everything a pipeline starts from."""
    loaded = model if isinstance(model, Model) else Model.load(model)
    hardware = settings.hardware
    machine = hardware if isinstance(hardware, HardwareModel) else load_hardware(hardware)
    calibration = None
    if settings.calibration is not None:
        calibration = load_dataset(settings.calibration, loaded.inputs).first(settings.samples)
    conditions = Conditions(
        batch=settings.batch,
        input_shapes=settings.input_shapes,
        densities=read_densities(settings.density),
        bits=read_bits(settings.bits),
        threads=settings.threads,
        seed=settings.seed,
        memory=settings.memory,
    )
    return Compilation(loaded, machine, calibration, conditions)


def load_dataset(source: DataSource, specs: Sequence[TensorSpec]) -> Dataset:
    """A dataset from a path, a CalibrationDataReader, or as it is."""
    if isinstance(source, Dataset):
        return source
    if isinstance(source, str | Path):
        return load_data(source, specs)
    return from_reader(source, specs)


def prune(
    model: str | Path | Model,
    settings: Settings | None = None,
    *,
    goal: Goal = DEFAULT_GOAL,
    recipe: Recipe | None = None,
    evaluation: DataSource | None = None,
    output: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> Pruned:
    """Zero weights until the goal is met, refit what is left, verify and write the result.

    `recipe` holds the options that are no goal's: method, pattern, which layers.
    Without calibration data inputs are synthesised. Without `output` nothing is written.
    A goal out of reach is no error here: see `Pruned.goal_met`. Finished layers are kept in
    `<output>.partial` until all is done; with `resume` those of a run that was killed are used.
    """
    settings, recipe = settings or Settings(), recipe or Recipe()
    start = time.perf_counter()
    compilation = prepare(model, settings)
    require_layers(find_layers(compilation.model))
    goal.pipeline(recipe).check(compilation.model)
    labelled = _labelled(evaluation, compilation.model)
    if output is not None:
        compilation.model.require_writable(output, force)
    synthesised = compilation.calibration is None
    if synthesised:
        compilation = with_made_up_inputs(compilation, settings.samples)
    compilation = replace(compilation, progress=progress)
    with blas_threads(settings.threads), ExitStack() as stack:
        before = _top1(compilation.model, labelled, settings.threads)
        typed = f"{goal!r} {goal.pipeline(recipe)}"
        started = stack.enter_context(resumable(compilation, typed, output, resume))
        outcome = goal.pursue(started, recipe)
        seconds = dict(outcome.result.record.seconds)
        with _timed(seconds, "evaluate"):
            accuracy = _accuracy(outcome.result.model, before, labelled, settings.threads)
        if output is not None:
            with _timed(seconds, "verify-and-save"):
                _save(outcome.result, output, force)
    seconds["total"] = time.perf_counter() - start
    return _pruned(outcome, accuracy, seconds, synthesised, output)


def with_made_up_inputs(compilation: Compilation, samples: int | None) -> Compilation:
    """The compilation with synthesised calibration inputs; a warning says so."""
    model, conditions = compilation.model, compilation.conditions
    seconds = dict(compilation.record.seconds)
    with _timed(seconds, "synthesise-inputs"):
        rng = np.random.default_rng(conditions.seed)
        made = synthesise(model, conditions.input_shapes, samples, rng, conditions.threads)
    logger.warning(
        "no calibration data: %d inputs were made up; real data prunes better", len(made)
    )
    return replace(compilation, calibration=made).with_record(seconds=seconds)


def _pruned(
    outcome: Outcome,
    accuracy: Accuracy | None,
    seconds: Mapping[str, float],
    synthesised: bool,
    output: str | Path | None,
) -> Pruned:
    after = outcome.result.energy
    assert after is not None  # every pruning pipeline ends in annotate-energy
    record = outcome.result.record
    return Pruned(
        model=outcome.result.model,
        pipeline=str(outcome.pipeline),
        before=outcome.before,
        after=after,
        accuracy=accuracy,
        agreement=outcome.agreement,
        layers=tuple(record.layers.values()),
        skipped=record.skipped,
        goal_met=outcome.is_met,
        reason=outcome.reason,
        seconds=seconds,
        synthesised=synthesised,
        output=None if output is None else Path(output),
    )


def run(
    model: str | Path | Model,
    pipeline: str,
    settings: Settings | None = None,
    *,
    output: str | Path | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Ran:
    """Run a typed pipeline over a model; verify and write what comes out."""
    parsed = Pipeline.parse(pipeline, load_passes())
    settings = settings or Settings()
    compilation = prepare(model, settings)
    parsed.check(compilation.model)
    if output is not None:
        compilation.model.require_writable(output, force)
    if compilation.calibration is None and any(step.needs_calibration for step in parsed.passes):
        compilation = with_made_up_inputs(compilation, settings.samples)
    with blas_threads(compilation.conditions.threads):
        done = parsed.run(replace(compilation, progress=progress))
    if output is not None:
        _save(done, output, force)
    return Ran(done, str(parsed), None if output is None else Path(output))


def _save(compilation: Compilation, output: str | Path, force: bool) -> None:
    model = compilation.model
    threads = compilation.conditions.threads
    check = verifier(model, frozenset(model.weights), compilation.calibration, threads)
    model.save(output, check, force)


def _labelled(evaluation: DataSource | None, model: Model) -> Dataset | None:
    if evaluation is None:
        return None
    data = load_dataset(evaluation, model.inputs)
    if data.labels is None:
        raise DataError("evaluation data has no labels: add an integer array y, one per sample")
    return data


def _top1(model: Model, data: Dataset | None, threads: int) -> float | None:
    """Top-1 accuracy on labelled data; None without any."""
    if data is None or data.labels is None:
        return None
    return top1(collect_outputs(model, data, threads), data.labels[: data.usable])


def _accuracy(
    model: Model, before: float | None, data: Dataset | None, threads: int
) -> Accuracy | None:
    after = _top1(model, data, threads)
    if before is None or after is None or data is None:
        return None
    return Accuracy(before, after, data.usable)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start


def pipeline_of(goal: Goal, recipe: Recipe | None = None) -> Pipeline:
    """The pipeline that pursues a goal; its text is what would be typed."""
    return goal.pipeline(recipe or Recipe())


def default_output(model: str | Path) -> Path:
    """`MODEL.pruned.onnx` beside the model."""
    path = Path(model)
    if not path.name:
        raise UsageError(f"{model}: is not a file name")
    return path.with_name(f"{path.stem}.pruned.onnx")
