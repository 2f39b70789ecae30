"""The whole way of a model: load, estimate, prune towards a goal, verify, save.

`analyze` and `prune` are what the command line calls and what `import eapc` offers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from eapc.commands.preparation import (
    Begun,
    DataSource,
    Settings,
    begin,
    load_dataset,
    prepare,
    require_labels,
    with_made_up_inputs,
)
from eapc.commands.results import Pruned
from eapc.commands.resuming import resumable
from eapc.energy import EnergyReport
from eapc.errors import UsageError
from eapc.evaluation import Accuracy
from eapc.goals import DEFAULT_GOAL, Goal, Outcome, measure
from eapc.model import Model
from eapc.pipeline import Compilation, Pipeline, Recipe, load_passes
from eapc.progress import Progress, silent, timed
from eapc.runtime import verifier
from eapc.solvers import blas_threads

__all__ = [
    "Analysis",
    "DataSource",
    "Pruned",
    "Ran",
    "Settings",
    "analyze",
    "default_output",
    "load_dataset",
    "pipeline_of",
    "prepare",
    "prune",
    "require_labels",
    "run",
    "save",
]

logger = logging.getLogger(__name__)


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

    `recipe` holds the options that are no goal's: method, pattern, which layers, and whether
    channels go in place of weights or before them.
    Without calibration data inputs are synthesised. Without `output` nothing is written.
    A goal out of reach is no error here: see `Pruned.goal_met`. Finished layers are kept in
    `<output>.partial` until all is done; with `resume` those of a run that was killed are used.
    """
    settings, recipe = settings or Settings(), recipe or Recipe()
    start = time.perf_counter()
    outputs = () if output is None else (output,)
    begun = begin(model, settings, (goal,), recipe, evaluation, outputs, force)
    watched = replace(begun.compilation, progress=progress)
    with blas_threads(settings.threads), ExitStack() as stack:
        typed = f"{goal!r} {goal.pipeline(recipe)}"
        started = stack.enter_context(resumable(watched, typed, output, resume))
        trials = replace(begun, compilation=started).trials()
        outcome = goal.pursue(trials)
        seconds = dict(outcome.result.record.seconds)
        with timed(seconds, "evaluate"):
            quality = measure(outcome, trials)
        if output is not None:
            with timed(seconds, "verify-and-save"):
                save(outcome.result, output, force)
    if (warning := quality.warning(goal, recipe.pattern)) and outcome.is_met:
        logger.warning(warning)
    seconds["total"] = time.perf_counter() - start
    return _pruned(outcome, quality.accuracy, seconds, begun, output)


def _pruned(
    outcome: Outcome,
    accuracy: Accuracy | None,
    seconds: Mapping[str, float],
    begun: Begun,
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
        synthesised=begun.synthesised,
        output=None if output is None else Path(output),
        decided=outcome.decided,
        floor=outcome.floor,
        groups=record.groups,
        latency=record.latency,
        inputs=begun.inputs,
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
    if warning := _missed_budget(done):
        logger.warning(warning)
    if output is not None:
        save(done, output, force)
    return Ran(done, str(parsed), None if output is None else Path(output))


def _missed_budget(done: Compilation) -> str:
    """What to say of an energy budget below what zeroing weights can reach; else empty."""
    curves, budget = done.record.curves, done.record.budget
    if curves is None or budget is None or curves.lowest_ratio <= budget:
        return ""
    energy = done.energy.energy_mac_units / curves.dense_energy if done.energy else None
    ratio = f"about {curves.lowest_ratio:.3f}" if energy is None else f"{energy:.3f}"
    return f"energy={budget:g} is out of reach: the network still takes {ratio} of the energy"


def save(compilation: Compilation, output: str | Path, force: bool) -> None:
    """Write a rewritten model once it has been verified."""
    model = compilation.model
    threads = compilation.conditions.threads
    check = verifier(model, frozenset(model.weights), compilation.calibration, threads)
    model.save(output, check, force)


def pipeline_of(goal: Goal, recipe: Recipe | None = None) -> Pipeline:
    """The pipeline that pursues a goal; its text is what would be typed."""
    return goal.pipeline(recipe or Recipe())


def default_output(model: str | Path) -> Path:
    """`MODEL.pruned.onnx` beside the model."""
    path = Path(model)
    if not path.name:
        raise UsageError(f"{model}: is not a file name")
    return path.with_name(f"{path.stem}.pruned.onnx")
