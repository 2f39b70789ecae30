"""--sparsity: the same fraction of zeros in every layer, or of channels of every group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from eapc.goals.goal import Outcome, require_fraction
from eapc.goals.trials import Trials
from eapc.pipeline import Pipeline, Recipe


@dataclass(frozen=True)
class Sparsity:
    """The same fraction of zeros in every layer; of channels of every group if structured."""

    value: float

    option: ClassVar[str] = "--sparsity"
    note: ClassVar[str] = ""
    remedy: ClassVar[str] = "a lower --sparsity keeps more"
    needs_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_fraction(self.option, self.value, closed_below=True, closed_above=False)

    def pipeline(self, recipe: Recipe) -> Pipeline:
        """Uniform pruning."""
        return recipe.pipeline(recipe.evenly(self.value))

    def pursue(self, trials: Trials) -> Outcome:
        """Prune once; all calibration inputs are fitted."""
        result = trials.pruned(trials.recipe.evenly(self.value))
        return Outcome(trials.before, result, self.pipeline(trials.recipe), None, True)
