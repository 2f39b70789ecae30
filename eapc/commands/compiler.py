"""The whole way of a model: load, estimate, prune towards a goal, verify, save.

`analyze` and `prune` are what the command line calls and what `import eapc` offers.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from eapc.classes import ChosenClasses
from eapc.commands.class_choice import with_classes
from eapc.commands.data_checks import check_scale
from eapc.commands.preparation import (
    DataSource,
    MetricSource,
    Settings,
    checked,
    load_dataset,
    prepare,
    require_labels,
    with_inputs,
)
from eapc.commands.results import default_output, save
from eapc.commands.routed_energy import routed_energy
from eapc.commands.savings import Saving, savings_of
from eapc.commands.sweep import pursue_all
from eapc.energy import EnergyReport, node_annotations
from eapc.errors import UsageError
from eapc.goals import DEFAULT_GOAL, Goal, Pruned, few_rows
from eapc.model import Model, assumed_sizes
from eapc.pipeline import (
    Compilation,
    NearDead,
    Pipeline,
    Recipe,
    Steps,
    amount_of,
    load_passes,
    near_dead_of,
)
from eapc.progress import Progress, silent
from eapc.routing import RoutedParts, routed_parts
from eapc.runtime import verifier
from eapc.showing import Shown

__all__ = [
    "Analysis",
    "DataSource",
    "Pruned",
    "Ran",
    "Settings",
    "analysis_of",
    "analyze",
    "default_output",
    "load_dataset",
    "prepare",
    "prune",
    "require_labels",
    "run",
    "save",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Analysis(Shown):
    """A model, annotated, with the energy of every node and what of its weights is near-dead.

    `compilation` is what it was made of; missing of dynamic networks, whose parts are priced apart.
    """

    model: Model
    energy: EnergyReport
    samples: int
    notes: tuple[str, ...] = ()
    near_dead: NearDead = field(default_factory=NearDead)
    compilation: Compilation | None = field(default=None, repr=False, compare=False)

    @cached_property
    def savings(self) -> tuple[Saving, ...]:
        """What would save most, the most first; worked out when it is asked for."""
        return savings_of(self.compilation, self.energy) if self.compilation else ()

    def save(self, path: str | Path, force: bool = False) -> None:
        """Write the annotated model once it has been verified."""
        self.model.save(path, verifier(self.model, frozenset(), None), force)


@dataclass(frozen=True, repr=False)
class Ran(Shown):
    """What a typed pipeline made of a model."""

    compilation: Compilation
    pipeline: str
    output: Path | None

    @property
    def model(self) -> Model:
        """The model that came out."""
        return self.compilation.model

    def save(self, path: str | Path, force: bool = False) -> None:
        """Write that once it has been verified."""
        self.compilation.save(path, force)


def analyze(
    model: str | Path | Model, settings: Settings | None = None, share: float | None = None
) -> Analysis:
    """Estimate the energy of every node of a model on a machine.

    Of a dynamic network `share` is the fraction of inputs that it sends on; by default that on
    calibration data, else that in the file.
    """
    compilation = prepare(model, settings or Settings())
    threads = compilation.conditions.engine.threads
    check_scale(compilation.model, compilation.calibration, "--calib", threads, refuses=False)
    return analysis_of(compilation, share)


def analysis_of(compilation: Compilation, share: float | None = None) -> Analysis:
    """The energy of every node of a model that has been prepared; `share` as in `analyze`."""
    parts = routed_parts(compilation.model)
    if parts is not None:
        return _routed_analysis(compilation, parts, share)
    if share is not None:
        raise UsageError(f"--share: goes with a dynamic network; {compilation.model.name} is none")
    done = Pipeline.parse("annotate-energy", load_passes()).run(compilation)
    samples = len(done.calibration) if done.calibration else 0
    held = done.priced.footprint
    notes = (*_notes(compilation), *(held.shortfalls if held else ()))
    near = near_dead_of(compilation)
    return Analysis(done.model, done.priced, samples, notes, near, compilation)


def _routed_analysis(compilation: Compilation, parts: RoutedParts, share: float | None) -> Analysis:
    """Of a dynamic network: what every input runs, and the share of what hard ones run."""
    report, said = routed_energy(compilation, parts, share)
    model = compilation.model.with_annotations(node_annotations(report))
    samples = len(compilation.calibration) if compilation.calibration else 0
    shortfalls = report.footprint.shortfalls if report.footprint else ()
    return Analysis(model, report, samples, (said, *_notes(compilation), *shortfalls))


def _notes(compilation: Compilation) -> tuple[str, ...]:
    """What was assumed for want of information, and what was given in vain."""
    conditions, data = compilation.conditions, compilation.calibration
    assumed = () if data else assumed_sizes(compilation.model, conditions.input_shapes)
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
    metric: MetricSource | None = None,
    classes: ChosenClasses | None = None,
    output: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> Pruned:
    """Zero weights until the goal is met, refit what is left, verify and write the result.

    `recipe` holds the options that are no goal's: method, pattern, which layers, and whether
    channels go in place of weights or before them.
    `metric` is what counts on the inputs of `evaluation` in place of top-1 accuracy.
    With `classes` a classifier is cut to these first, in their order, by numbers or names, or by a
    file of them: the cut network is then what results are fitted to and judged against, on inputs
    of these classes.
    Without calibration data inputs are synthesised. Without `output` nothing is written.
    A goal out of reach is no error here: see `Pruned.goal_met`. Finished layers are kept in
    `<output>.partial` until all is done; with `resume` those of a run that was killed are used.
    """
    settings, recipe = settings or Settings(), with_classes(recipe or Recipe(), classes)
    start = time.perf_counter()
    outputs = {} if output is None else {goal: Path(output)}
    to_write = tuple(outputs.values())
    begun = checked(model, settings, (goal,), recipe, evaluation, to_write, force, metric)
    begun = begun.with_inputs(settings.samples, progress)
    (pruned,) = pursue_all(begun, (goal,), outputs, output, force, resume, progress)
    shared = begun.compilation.record.seconds
    total = time.perf_counter() - start
    return pruned.spending({**shared, **pruned.seconds, "total": total})


def run(
    model: str | Path | Model,
    pipeline: Steps,
    settings: Settings | None = None,
    *,
    output: str | Path | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Ran:
    """Run a pipeline, as it is typed or of pass objects, over a model; verify and write it."""
    parsed = Pipeline.of(pipeline, load_passes())
    settings = settings or Settings()
    compilation = prepare(model, settings)
    parsed.check(compilation.model)
    if output is not None:
        compilation.model.require_writable(output, force)
    if any(step.needs_calibration for step in parsed.passes):
        check_scale(compilation.model, compilation.calibration, "--calib", settings.threads)
        compilation = with_inputs(compilation, settings.samples)
    done = parsed.run(replace(compilation, progress=progress))
    for warning in filter(None, (_few_rows(done, compilation), _missed_budget(done))):
        logger.warning(warning)
    if output is not None:
        save(done, output, force)
    return Ran(done, str(parsed), None if output is None else Path(output))


def _few_rows(done: Compilation, begun: Compilation) -> str:
    """What to say of layers that the inputs of a fit do not determine; else empty."""
    fitted, given = (len(each.calibration or ()) for each in (done, begun))
    layers = tuple(done.record.layers.values())
    return few_rows(layers, fitted, 1 - fitted / given) if fitted and given else ""


def _missed_budget(done: Compilation) -> str:
    """What to say of an energy budget below what zeroing weights can reach; else empty."""
    curves, budget = done.record.curves, done.record.budget
    if curves is None or budget is None or curves.lowest_ratio <= budget:
        return ""
    name, ratio = curves.objective, f"about {curves.lowest_ratio:.3f}"
    if done.energy:
        ratio = f"{amount_of(done, name) / curves.dense_energy:.3f}"
    return f"{name}={budget:g} is out of reach: the network still takes {ratio} of the {name}"
