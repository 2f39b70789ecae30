"""The options that say how layers are pruned, whatever the goal.

Choices that come from a table are those that it has when the command line is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from eapc.registry import CRITERIA, METHODS, any_of

if TYPE_CHECKING:
    from eapc.pipeline import Recipe

_PANEL = "How layers are pruned"

Thorough = Annotated[
    bool,
    Option(
        "--thorough",
        metavar="",
        help="Take more time for large layers too.",
        rich_help_panel=_PANEL,
    ),
]
Pattern = Annotated[
    str,
    Option(
        "--pattern",
        metavar="P",
        help="unstructured, N:M such as 2:4, block:RxC or kernel.",
        rich_help_panel=_PANEL,
    ),
]
Include = Annotated[
    list[str] | None,
    Option(
        "--include",
        metavar="GLOB",
        help="Prune these layers only: nodes, weights, operators.",
        rich_help_panel=_PANEL,
    ),
]
Exclude = Annotated[
    list[str] | None,
    Option(
        "--exclude",
        metavar="GLOB",
        help="Leave these layers as they are; repeatable.",
        rich_help_panel=_PANEL,
    ),
]
Order = Annotated[
    str,
    Option(
        "--order",
        metavar="NAME",
        help="How energy is shared out: shared, energy or uniform.",
        rich_help_panel=_PANEL,
    ),
]
_CHANNELS = "Channels"

Structured = Annotated[
    bool,
    Option(
        "--structured",
        metavar="",
        help="Take out whole channels, so that tensors get smaller.",
        rich_help_panel=_CHANNELS,
    ),
]
Zeros = Annotated[
    bool,
    Option(
        "--zeros",
        metavar="",
        help="With --structured: then zero weights in what is left.",
        rich_help_panel=_CHANNELS,
    ),
]
Objective = Annotated[
    str,
    Option(
        "--objective",
        metavar="NAME",
        help="What is to fall: energy, or latency on a measured --hw; by default what --hw tells.",
        rich_help_panel=_CHANNELS,
    ),
]


def _method() -> Any:
    return Option("--method", metavar="NAME", help=f"{any_of(METHODS)}.", rich_help_panel=_PANEL)


def _criterion() -> Any:
    help = f"Which channels go first: {any_of(CRITERIA)}."
    return Option("--criterion", metavar="NAME", help=help, rich_help_panel=_CHANNELS)


@dataclass(frozen=True)
class Layers:
    """The group of all these options."""

    method: Annotated[str, _method()] = "admm"
    thorough: Thorough = False
    pattern: Pattern = "unstructured"
    include: Include = None
    exclude: Exclude = None
    order: Order = "shared"
    structured: Structured = False
    zeros: Zeros = False
    criterion: Annotated[str, _criterion()] = "obs"
    objective: Objective = ""

    def recipe(self) -> Recipe:
        """What the options come to."""
        from eapc.pipeline import Recipe

        return Recipe(
            method=self.method,
            thorough=self.thorough,
            pattern=self.pattern,
            include=tuple(self.include or ()),
            exclude=tuple(self.exclude or ()),
            order=self.order,
            structured=self.structured,
            zeros=self.zeros,
            criterion=self.criterion,
            objective=self.objective,
        )
