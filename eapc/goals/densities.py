"""--densities: each layer as dense as a file says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from eapc.errors import UsageError
from eapc.goals.goal import Outcome
from eapc.goals.trials import Trials
from eapc.pipeline import Pipeline, Recipe


@dataclass(frozen=True)
class Densities:
    """Layers as dense as a YAML file says: {node, weight or operator type, or glob: density}."""

    path: Path

    option: ClassVar[str] = "--densities"
    note: ClassVar[str] = ""
    remedy: ClassVar[str] = "higher densities keep more"
    needs_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        text = str(self.path)
        if any(mark in text for mark in ",{}") or " ".join(text.split()) != text:
            raise UsageError(f"--densities: a pipeline cannot name '{self.path}'; rename the file")

    @property
    def value(self) -> Path:
        """The file."""
        return self.path

    def pipeline(self, recipe: Recipe) -> Pipeline:
        """Pruning to the densities given; layers that the file does not name stay dense."""
        if recipe.structured:
            raise UsageError("--densities names densities of weights: leave out --structured")
        return recipe.pipeline(f"densities={self.path}")

    def pursue(self, trials: Trials) -> Outcome:
        """Prune once; all calibration inputs are fitted."""
        result = trials.pruned(f"densities={self.path}")
        return Outcome(trials.before, result, self.pipeline(trials.recipe), None, True)
