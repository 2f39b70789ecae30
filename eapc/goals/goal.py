"""What a goal is, and what pursuing one comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eapc.energy import EnergyReport
from eapc.errors import UsageError
from eapc.evaluation import Accuracy, Agreement
from eapc.goals.trials import Trials
from eapc.pipeline import Compilation, Pipeline, Recipe


@dataclass(frozen=True)
class Outcome:
    """The best result, and whether it meets the goal.

    `agreement` or `decided` is what the search decided on. `accuracy` is known already where
    a part of the labelled inputs decided: that of the others. `floor` is about the lowest
    fraction of the energy that zeroing weights leaves, where it is known.
    """

    before: EnergyReport
    result: Compilation
    pipeline: Pipeline
    agreement: Agreement | None
    is_met: bool
    reason: str = ""
    decided: Accuracy | None = None
    accuracy: Accuracy | None = None
    floor: float | None = None


class Goal(Protocol):
    """What pruning is to reach; `note` says what a search will change in the pipeline.

    `remedy` says what to ask for where the outputs suffer too much; `needs_labels` is True where
    it takes labelled inputs to decide.
    """

    @property
    def option(self) -> str:
        """The option that sets the goal, such as `--sparsity`."""

    @property
    def value(self) -> float | Path:
        """The option's value."""

    @property
    def note(self) -> str:
        """Empty where the pipeline is run as it stands."""

    @property
    def remedy(self) -> str:
        """Empty where the goal itself sees to the outputs."""

    @property
    def needs_labels(self) -> bool:
        """True where `Trials` must have a judge of accuracy."""

    def pipeline(self, recipe: Recipe) -> Pipeline:
        """The pipeline that pursues the goal, as it would be typed."""

    def pursue(self, trials: Trials) -> Outcome:
        """The best result for the goal."""


def typed(goal: Goal) -> str:
    """The goal as it is typed: `--target-energy 0.7`."""
    value = goal.value
    return f"{goal.option} {value if isinstance(value, Path) else f'{value:g}'}"


def require_fraction(option: str, value: float, closed_below: bool, closed_above: bool) -> None:
    """Raise UsageError unless 0 < value < 1; a closed end may be reached."""
    above = value > 0 or (closed_below and value == 0)
    below = value < 1 or (closed_above and value == 1)
    if not (above and below):
        span = f"{'[' if closed_below else '('}0, 1{']' if closed_above else ')'}"
        raise UsageError(f"{option}: expected a fraction in {span}, got {value}")
