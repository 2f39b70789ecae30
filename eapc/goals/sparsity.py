"""--sparsity: the same fraction of zeros in every layer, or of channels of every group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eapc.goals.goal import Goal

if TYPE_CHECKING:
    from eapc.pipeline import Options, Recipe


@dataclass(frozen=True)
class Sparsity(Goal):
    """The same fraction of zeros in every layer; of channels of every group if structured."""

    value: float

    option = "--sparsity"
    metavar = "S"
    help = "This fraction of zeros in every layer, in [0, 1)."
    span = "[0, 1)"
    remedy = "a lower --sparsity keeps more"

    def options(self, recipe: Recipe) -> Options:
        """Uniform pruning."""
        return recipe.evenly(self.value)
