"""The functions that `import eapc` offers; docs/python.md shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Unpack

from eapc.api.given import Given, shapes_of
from eapc.api.keywords import (
    AnalyzeOptions,
    CompareOptions,
    DynamicOptions,
    FilePath,
    FinetuneOptions,
    ProfileOptions,
    PruneOptions,
    RunOptions,
    SweepOptions,
    TimeOptions,
    taking,
)
from eapc.commands import comparison, compiler, finetuning, machine_profile, timing
from eapc.commands import dynamic as two_levels
from eapc.commands import sweep as goal_sweep
from eapc.commands.comparison import Comparison
from eapc.commands.compiler import Analysis, Ran
from eapc.commands.finetuning import FineTuned
from eapc.commands.machine_profile import Profiled, ProfileSettings, machine_yaml
from eapc.commands.preparation import Settings
from eapc.commands.sweep import Swept
from eapc.commands.timing import Timing
from eapc.energy import read_bits
from eapc.errors import ArgumentError, UsageError
from eapc.goals import Goal, Pruned
from eapc.hardware import HardwareModel, MeasuredMachine, load_machine
from eapc.model import ModelSource, open_model
from eapc.pipeline import Recipe, Steps
from eapc.profiling import open_meter
from eapc.report.csv import require_writable, write_report
from eapc.routing import DynamicNetwork
from eapc.tuning import Options as TrainingOptions


@taking(AnalyzeOptions)
def analyze(
    model: ModelSource, settings: Settings | None = None, **options: Unpack[AnalyzeOptions]
) -> Analysis:
    """Estimate the energy of every node of a model on a machine.

    Keywords are the options of `eapc analyze`; `settings` has those that most commands share.
    `time_nodes` is for machines that hold measured latencies.
    """
    given, opened = Given("analyze", options, AnalyzeOptions), open_model(model)
    said = given.settings(settings, opened, widths=True)
    said = replace(said, hardware=_priced_by(said.hardware))
    return compiler.analyze(opened, said, **given.rest)


@taking(PruneOptions)
def prune(
    model: ModelSource,
    settings: Settings | None = None,
    *,
    goal: Goal | None = None,
    recipe: Recipe | None = None,
    **options: Unpack[PruneOptions],
) -> Pruned:
    """Zero weights until a goal is met, refit what is left, verify and write the result.

    Keywords are the options of `eapc prune`; `settings`, `recipe` and `goal` are objects in the
    place of those that belong to them. Without `calibration` inputs are made up, without a goal
    the lowest energy is sought that keeps 98 % of the answers, and without `output` nothing is
    written. A goal out of reach is no error: see `Pruned.goal_met`.
    """
    given, opened = Given("prune", options, PruneOptions), open_model(model)
    if given.rest.get("resume") and "output" not in given.rest:
        raise UsageError("resume: needs output: finished layers are kept beside it")
    said, how = given.settings(settings, opened), given.recipe(recipe)
    return compiler.prune(opened, said, goal=given.goal(goal, how), recipe=how, **given.rest)


@taking(SweepOptions)
def sweep(
    model: ModelSource,
    settings: Settings | None = None,
    *,
    goals: Sequence[Goal] | None = None,
    recipe: Recipe | None = None,
    **options: Unpack[SweepOptions],
) -> Swept:
    """Prune a model towards several goals; each row is what `prune` gives for that goal alone.

    Keywords are the options of `eapc sweep`, with a list of values for a goal. With `folder` each
    result is written there.
    """
    given, opened = Given("sweep", options, SweepOptions), open_model(model)
    said, how = given.settings(settings, opened), given.recipe(recipe)
    wanted, rest = given.goals(goals, how), given.rest
    if "output" in rest:
        if "folder" in rest:
            raise ArgumentError("sweep: folder and output are the same: give one")
        rest["folder"] = rest.pop("output")
    return goal_sweep.sweep(opened, said, goals=wanted, recipe=how, **rest)


@taking(CompareOptions)
def compare(
    before: ModelSource,
    after: ModelSource,
    settings: Settings | None = None,
    **options: Unpack[CompareOptions],
) -> Comparison:
    """Put two models side by side; keywords are the options of `eapc compare`.

    `latency=False` leaves measuring out; a `meter`, or `energy=True` for this machine's own,
    measures joules.
    """
    (compared,) = compare_all((before, after), settings, **options)
    return compared


@taking(CompareOptions)
def compare_all(
    models: Sequence[ModelSource],
    settings: Settings | None = None,
    **options: Unpack[CompareOptions],
) -> tuple[Comparison, ...]:
    """The first of several models beside each of the others, all run in the same rounds."""
    given = Given("compare", options, CompareOptions)
    if isinstance(models, str | bytes) or not isinstance(models, Iterable):
        raise ArgumentError(f"models: expected several models, got {type(models).__name__}")
    opened = [open_model(each, f"model {place}") for place, each in enumerate(models, 1)]
    if not opened:
        raise UsageError("compare: give two models or more")
    said = given.settings(settings, opened[0], widths=True)
    return comparison.compare_all(opened, said, **_metered(given))


@taking(RunOptions)
def run(
    model: ModelSource,
    pipeline: Steps,
    settings: Settings | None = None,
    **options: Unpack[RunOptions],
) -> Ran:
    """Run a pipeline over a model: as it is typed, or pass objects, your own ones too.

    Keywords are the options of `eapc run`.
    """
    given, opened = Given("run", options, RunOptions), open_model(model)
    said = given.settings(settings, opened)
    return compiler.run(opened, pipeline, said, **given.rest)


@taking(TimeOptions)
def time_nodes(
    model: ModelSource,
    machine: FilePath | MeasuredMachine | None = None,
    settings: Settings | None = None,
    **options: Unpack[TimeOptions],
) -> Timing:
    """The latency of every node of a model, read off the measurements of a machine.

    That is `machine`, or `hw`: a file that `eapc profile` has written, or what `profile` found.
    """
    given, opened = Given("time_nodes", options, TimeOptions), open_model(model)
    named = given.take("hw")
    if machine is not None and named is not None:
        raise ArgumentError("time_nodes: machine and hw are the same: give one")
    measured = machine or named
    if isinstance(measured, str | PathLike):
        measured = load_machine(fspath(measured))
    if not isinstance(measured, MeasuredMachine):
        said = "holds no measured latencies" if measured else "none is given"
        raise UsageError(f"hw: {said}; give a file that eapc profile has written")
    return timing.time_nodes(opened, measured, given.settings(settings, opened))


@taking(ProfileOptions)
def profile(
    model: ModelSource,
    settings: ProfileSettings | None = None,
    **options: Unpack[ProfileOptions],
) -> Profiled:
    """Time the layers of a model on this machine; keywords are the options of `eapc profile`.

    With `output` the hardware file is written there, for `hw`, and finished layers are kept beside
    it until then; `resume` uses those of a run that was killed.
    """
    given, opened = Given("profile", options, ProfileOptions), open_model(model)
    force, output = given.take("force", False), given.rest.get("output")
    if output is not None:
        require_writable(output, force, [opened.path])
    named = ("batch", "threads", "repeats", "minutes")
    how: dict[str, Any] = {name: given.take(name) for name in named if name in given.rest}
    shape = given.take("input_shape")
    if shape is not None:
        how["input_shapes"] = shapes_of(shape, opened)
    if settings is not None and how:
        raise ArgumentError(f"profile: settings and {next(iter(how))} are both given; give one")
    rest = _metered(given)
    if output is not None:
        rest.setdefault("name", output.stem)
    done = machine_profile.profile(opened, settings or ProfileSettings(**how), **rest)
    if output is not None:
        write_report(output, machine_yaml(done.machine))
    return done


@taking(DynamicOptions)
def dynamic(
    model: ModelSource,
    settings: Settings | None = None,
    **options: Unpack[DynamicOptions],
) -> DynamicNetwork:
    """Let an aggressively pruned network answer what it can, and a mild one the rest.

    Keywords are the options of `eapc dynamic`; `mild` and `aggressive` are fractions of the energy
    or ready networks. `evaluation` is needed: it fits a selector, chooses and judges.
    """
    given, opened = Given("dynamic", options, DynamicOptions), open_model(model)
    said, rest = given.settings(settings, opened), given.rest
    rest.setdefault("evaluation", None)
    if "bits" in rest:
        rest["bits"] = read_bits(rest["bits"])
    return two_levels.dynamic(opened, said, **rest)


_TRAINING = ("epochs", "minutes", "learning_rate", "augment", "batch_norm", "labels")


@taking(FinetuneOptions)
def finetune(
    model: ModelSource,
    teacher: ModelSource,
    settings: Settings | None = None,
    training: TrainingOptions | None = None,
    **options: Unpack[FinetuneOptions],
) -> FineTuned:
    """Train a pruned model on `data` to answer as its original, the teacher, does.

    Keywords are the options of `eapc finetune`; `training` holds those of the training, and
    `settings.calibration` is `data`. Needs torch.
    """
    given, opened = Given("finetune", options, FinetuneOptions), open_model(model)
    how: dict[str, Any] = {name: given.take(name) for name in _TRAINING if name in given.rest}
    if (batch := given.take("batch_size")) is not None:
        how["batch"] = batch
    if (data := given.take("data")) is not None:
        given.rest["calibration"] = data
    said = given.settings(settings, opened)
    if training is not None and how:
        raise ArgumentError(f"finetune: training and {next(iter(how))} are both given; give one")
    training = training or TrainingOptions(**{"seed": said.seed, **how})
    return finetuning.finetune(opened, open_model(teacher, "teacher"), said, training, **given.rest)


# --- what several share --------------------------------------------------------------------------


def _priced_by(hardware: Path | str | HardwareModel | MeasuredMachine) -> HardwareModel:
    """The machine that tells energies; UsageError for one that holds latencies."""
    machine = load_machine(hardware) if isinstance(hardware, str | Path) else hardware
    if isinstance(machine, MeasuredMachine):
        said = f"{machine.name} holds measured latencies and no energies"
        raise UsageError(f"hw: {said}; eapc.time_nodes reads it")
    return machine


def _metered(given: Given) -> dict[str, Any]:
    """What is left, with this machine's meter where `energy` asks for it."""
    wanted, rest = given.take("energy", False), given.rest
    if wanted and "meter" not in rest:
        rest["meter"] = open_meter()
    return rest
