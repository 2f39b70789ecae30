"""What a goal is, and what belongs to one: its option, its measure, how it is pursued."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from eapc.errors import UsageError
from eapc.goals.result import Pruned

if TYPE_CHECKING:
    from eapc.data import Dataset
    from eapc.goals.trials import Trials
    from eapc.pipeline import Options, Pass, Pipeline, Recipe

TOLD_BY = 0.125
"""Fraction of the calibration inputs that tells what is left of the outputs.

An eighth is enough to tell by, and hardly missed. Errors on 4, 8 and 32 held-out digits of 32, 64
and 256 were 0.02, 0.02 and 0.01 at half the weights and 0.09, 0.07 and 0.04 at a fifth of them; on
597 others 0.03, 0.02 and 0.01, and 0.12, 0.06 and 0.04. Top-1 on 8, 64 and 256 inputs, the worst
of two or three draws, all fitted and less an eighth: 52.6 and 51.8, 98.8 and 98.2, 98.8
and 99.0 (digits, 80 % zeros); 79.9 and 81.7, 89.8 and 89.5, 90.8 and 90.9 (ResNet-20, 70 %). It
takes no time: 0.40 and 0.39, 0.67 and 0.66, 0.91 and 0.87 s of CPU (digits). A fifth of 250 inputs
would tell by a share of answers, but takes more from the fit of all who have fewer, or more.
"""


@dataclass(frozen=True)
class Goal(ABC):
    """What pruning is to reach: a cost to lower (`Target`), a bound to keep (`Bound`), or neither.

    A subclass is all there is to a goal. `eapc --help` lists it, so its module imports nothing
    that takes time: what it works on comes with `trials`.

    `option`, `metavar` and `help` are its option on the command line, `kind` reads its text and
    `span` is the range of a fraction. `note` says what a search will change in the pipeline,
    `is_searched` that no budget is known before and `has_budget` that it comes down to one;
    `remedy` says what to ask for where the outputs suffer too much, and is empty where the goal
    itself sees to them; `needs_labels` is True where it takes labelled inputs to decide.
    `held_out` is the fraction of the calibration inputs that decides, or tells what is left of the
    outputs, and is never fitted, None where all of them are fitted; see `kept_out`. Further fields
    are options too where their metadata have `option`, `metavar` and `help`, and `kind` where they
    are no numbers.
    """

    value: Any

    option: ClassVar[str]
    metavar: ClassVar[str]
    help: ClassVar[str]
    kind: ClassVar[type[Any]] = float
    span: ClassVar[str] = "[0, 1]"
    note: ClassVar[str] = ""
    remedy: ClassVar[str] = ""
    is_searched: ClassVar[bool] = False
    has_budget: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    held_out: ClassVar[float | None] = TOLD_BY

    def __post_init__(self) -> None:
        ends = {0.0: self.span.startswith("["), 1.0: self.span.endswith("]")}
        if not (0 < self.value < 1 or ends.get(self.value)):
            expected = f"expected a fraction in {self.span}, got {self.value}"
            raise UsageError(f"{self.option}: {expected}")

    @property
    def parts(self) -> tuple[Goal, ...]:
        """What the goal is put together of: itself, unless it is a joint one."""
        return (self,)

    def reached(self, pruned: Pruned) -> float | None:  # noqa: ARG002
        """What a result comes to in the unit of the value; None where that is not known."""
        return None

    def is_known(self, recipe: Recipe) -> bool:  # noqa: ARG002
        """Whether the budget is known before anything is fitted."""
        return not self.is_searched

    def require_share(self) -> None:  # noqa: B027
        """Raise UsageError where what decides lies in [0, 1] and the value goes beyond."""

    @abstractmethod
    def options(self, recipe: Recipe) -> Options:
        """What is asked of the pass that prunes; a search changes its budget."""

    def kept_out(self, data: Dataset | None, has_labels: bool) -> float | None:
        """The fraction of these inputs that takes no part in the fit; None where all are fitted.

        Labelled inputs tell better what is left of the outputs, and one input, or one batch of a
        model of fixed batch, cannot be shared out. Without `data` inputs are yet to be made up.
        """
        fraction = None if has_labels else self.held_out
        if fraction is None or data is None or data.can_spare(fraction):
            return fraction
        return None

    def pipeline(self, recipe: Recipe, held_out: float | None = None) -> Pipeline:
        """The pipeline that pursues the goal, as it would be typed; `held_out` as `kept_out`."""
        return recipe.whole(self.steps(recipe), held_out)

    def steps(self, recipe: Recipe) -> tuple[Pass, ...]:
        """What is done to the annotated network: pruning, then quantizing, if it is to be."""
        return (*recipe.steps(self.options(recipe)), *recipe.finishing)

    def pursue(self, trials: Trials) -> Pruned:
        """The best result: of the pipeline as it stands, unless searched."""
        trials = trials.of(self)
        steps = self.steps(trials.recipe)
        return Pruned(self, trials.pruned(steps), trials.before, trials.whole(steps))

    def __str__(self) -> str:
        """The goal as it is typed: `--target-energy 0.7`."""
        value = self.value
        return f"{self.option} {value if isinstance(value, Path) else f'{value:g}'}"


class Budget(NamedTuple):
    """A fraction of the dense network's cost, and what the last layers get beyond their share.

    Both are as they are typed. Where it corrects another budget, `split_like`, it is split
    between channels and zeros as that one.
    """

    ratio: float
    tail: float = 0.0
    split_like: float | None = None

    @property
    def settled_by(self) -> float:
        """The budget that channels and zeros are split for."""
        return self.ratio if self.split_like is None else self.split_like
