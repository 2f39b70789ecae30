"""A bound that outputs are to keep, at the lowest budget that keeps it."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from eapc.goals.goal import Budget, Goal
from eapc.goals.result import Pruned

if TYPE_CHECKING:
    from eapc.data import Dataset
    from eapc.goals.search import Found
    from eapc.goals.trials import Trials
    from eapc.model import Model
    from eapc.pipeline import Options, Pass, Recipe

logger = logging.getLogger(__name__)

ALIKE = "the calibration inputs are all the same: nothing tells what the outputs lose"
"""Why nothing can be searched for on such inputs, and no result of a fit on them be confirmed."""


class Verdict(Protocol):
    """What a judge says of a model."""

    @property
    def loss(self) -> float:
        """What the model lost, as far as it can be told."""


V = TypeVar("V", bound=Verdict)


@dataclass(frozen=True)
class Bound(Goal, Generic[V]):
    """What outputs are to keep; the recipe's objective is the cost that is lowered meanwhile.

    Verdicts are the same for every value of a kind of bound. `unmet` is what to say where
    nothing keeps the bound.
    """

    value: float

    unmet: ClassVar[str]
    has_budget = True
    is_searched = True
    held_out: ClassVar[float | None] = None

    @abstractmethod
    def judge(self, trials: Trials, model: Model) -> V:
        """What is left of a model's outputs."""

    @abstractmethod
    def told(self, verdict: V) -> str:
        """What a verdict says was lost, and where."""

    @abstractmethod
    def expected_loss(self, trials: Trials, divergence: float) -> float:
        """About what a verdict's loss should be at a divergence of the outputs; a guess."""

    @abstractmethod
    def is_kept(self, verdict: V) -> bool:
        """Whether a verdict is within the bound."""

    @abstractmethod
    def allowed(self, trials: Trials) -> float:
        """The loss that is about within the bound."""

    @abstractmethod
    def figures(self, trials: Trials, model: Model, verdict: V) -> Mapping[str, Any]:
        """The fields of `Pruned` that tell what was decided on."""

    def options(self, recipe: Recipe) -> Options:
        """Those of one trial."""
        return recipe.budget(1.0)

    def steps(self, recipe: Recipe) -> tuple[Pass, ...]:
        """Those of a budget, which is one of energies at the widths to come."""
        return (*recipe.settling(1.0), *super().steps(recipe))

    def kept_out(self, data: Dataset | None, has_labels: bool) -> float | None:  # noqa: ARG002
        """What decides, whatever the inputs: where they are too few, no search is possible."""
        return self.held_out

    def pursue(self, trials: Trials) -> Pruned:
        """Search for the lowest budget that keeps the bound."""
        trials = trials.of(self)
        allowed, search = self.allowed(trials), trials.search(self)
        found = search.lowest(self.is_kept, allowed)
        is_met, lost = self.is_kept(found.verdict), self._unmet(found, trials)
        if is_met and found.budget >= trials.pruner.highest and found.below:
            logger.warning(f"nothing is {'pruned' if trials.recipe.widths else 'saved'}: {lost}")
        return Pruned(
            self,
            found.result,
            trials.before,
            trials.pipeline_at(Budget(found.budget)),
            goal_met=is_met,
            reason="" if is_met else lost,
            floor=trials.pruner.plan.lowest_ratio,
            trials=search.trials(self.is_kept, found.budget),
            **self.figures(trials, found.result.model, found.verdict),
        )

    def _unmet(self, found: Found[V], trials: Trials) -> str:
        """Why no lower budget does, by the first step below the original's, else by the whole."""
        ratio, verdict = found.below or (found.budget, found.verdict)
        if trials.recipe.widths and not found.below:
            return f"{self.unmet}: quantized, with nothing pruned, {self.told(verdict)}"
        return f"{self.unmet}: at {ratio:.1%} of it {self.told(verdict)}"
