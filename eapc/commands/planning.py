"""What pruning would do, before any layer is refitted: densities, channels, what they come to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from eapc.commands.compiler import pipeline_of
from eapc.commands.preparation import Settings, prepare, with_made_up_inputs, with_objective
from eapc.energy import EnergyReport
from eapc.goals import Densities, Goal, Sparsity, Target
from eapc.layers import find_layers, require_layers
from eapc.model import Model
from eapc.pipeline import ChannelRecord, Compilation, Latency, LayerRecord, Pipeline, Recipe
from eapc.progress import Progress, silent
from eapc.solvers import blas_threads

_REFITS = "reconstruct-outputs"


@dataclass(frozen=True)
class Expected:
    """Energy before and after, not refitted, and what each layer and channel group keeps.

    `latency` is known where a measured machine is the objective; refitting does not change it.
    """

    before: EnergyReport
    after: EnergyReport
    layers: tuple[LayerRecord, ...]
    groups: tuple[ChannelRecord, ...] = ()
    latency: Latency | None = None

    @property
    def energy_ratio(self) -> float:
        """Expected energy over that of the dense network."""
        dense = self.before.energy_mac_units
        return self.after.energy_mac_units / dense if dense else 1.0


@dataclass(frozen=True)
class Plan:
    """The pipeline that would run; `expected` is None where the goal's budget is searched."""

    model: Model
    pipeline: str
    note: str
    expected: Expected | None


def plan(
    model: str | Path | Model,
    settings: Settings | None = None,
    *,
    goal: Goal,
    recipe: Recipe | None = None,
    progress: Progress = silent,
) -> Plan:
    """What `prune` would do; an energy goal's error curves are computed, nothing is written."""
    settings, recipe = settings or Settings(), recipe or Recipe()
    compilation = replace(prepare(model, settings), progress=progress)
    require_layers(find_layers(compilation.model))
    recipe = with_objective(recipe, compilation)
    expected = None
    if isinstance(goal, Sparsity | Densities | Target) and not recipe.zeros:
        with blas_threads(settings.threads):
            expected = _expected(compilation, settings, goal.pipeline(recipe))
    return Plan(compilation.model, str(pipeline_of(goal, recipe)), goal.note, expected)


def _expected(compilation: Compilation, settings: Settings, pipeline: Pipeline) -> Expected:
    first, *rest = pipeline.passes
    steps = [step for step in rest if step.name != _REFITS]
    if compilation.calibration is None and any(step.needs_calibration for step in steps):
        compilation = with_made_up_inputs(compilation, settings.samples)
    dense = Pipeline((first,)).run(compilation)
    done = Pipeline(tuple(steps)).run(dense)
    assert dense.energy is not None  # both pipelines end in annotate-energy
    assert done.energy is not None
    layers = tuple(done.record.layers.values())
    return Expected(dense.energy, done.energy, layers, done.record.groups, done.record.latency)
