"""--bits without a goal: nothing is pruned, all is quantized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eapc.goals.goal import Goal

if TYPE_CHECKING:
    from eapc.pipeline import Options, Pass, Recipe


MIXED = "mixed"
"""What is typed for bits that a budget decides, tensor by tensor."""


@dataclass(frozen=True)
class Width(Goal):
    """The widths that the recipe quantizes to, as they are typed, and no weight less."""

    value: str

    option = "--bits"
    remedy = "more bits, up to 8, or more calibration inputs keep more"
    held_out = 0.125

    def __post_init__(self) -> None:
        """Any width: the recipe says which it can write."""

    def __str__(self) -> str:
        return f"{self.option} {self.value}"

    def options(self, recipe: Recipe) -> Options:  # noqa: ARG002 (as every goal)
        """Nothing is asked of a pass that prunes."""
        return {}

    def steps(self, recipe: Recipe) -> tuple[Pass, ...]:
        """Those that quantize, and train what they leave."""
        return recipe.finishing
