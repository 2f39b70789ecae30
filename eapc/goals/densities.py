"""--densities: each layer as dense as a file says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eapc.errors import UsageError
from eapc.goals.goal import Goal

if TYPE_CHECKING:
    from eapc.pipeline import Options, Recipe


@dataclass(frozen=True)
class Densities(Goal):
    """Layers as dense as a YAML file says: {node, weight or operator type, or glob: density}."""

    value: Path

    option = "--densities"
    metavar = "PATH"
    help = "YAML of layers and their densities; others stay dense."
    kind = Path
    remedy = "higher densities keep more"

    def __post_init__(self) -> None:
        text = str(self.value)
        if any(mark in text for mark in ",{}") or " ".join(text.split()) != text:
            raise UsageError(f"--densities: a pipeline cannot name '{text}'; rename the file")

    def options(self, recipe: Recipe) -> Options:
        """The densities given; layers that the file does not name stay dense."""
        if recipe.structured:
            raise UsageError("--densities names densities of weights: leave out --structured")
        return {"densities": self.value}
