"""The options that say how layers are pruned, whatever the goal.

Choices that come from a table are those that it has when the command line is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import Option

from eapc.registry import CRITERIA, METHODS

if TYPE_CHECKING:
    from eapc.pipeline import Recipe

_PANEL = "How layers are pruned"
_CHANNELS = "Channels"


def _any_of(names: Iterable[str]) -> str:
    """`admm, eap or wanda.`."""
    *others, last = names
    return f"{', '.join(others)} or {last}."


@dataclass(frozen=True)
class Layers:
    """The group of all these options."""

    method: Annotated[
        str,
        Option(
            "--method",
            metavar="NAME",
            help=_any_of(METHODS),
            rich_help_panel=_PANEL,
        ),
    ] = "admm"
    thorough: Annotated[
        bool,
        Option(
            "--thorough",
            metavar="",
            help="Take more time for large layers too.",
            rich_help_panel=_PANEL,
        ),
    ] = False
    pattern: Annotated[
        str,
        Option(
            "--pattern",
            metavar="P",
            help="unstructured, N:M such as 2:4, block:RxC or kernel.",
            rich_help_panel=_PANEL,
        ),
    ] = "unstructured"
    include: Annotated[
        list[str] | None,
        Option(
            "--include",
            metavar="GLOB",
            help="Prune these layers only: nodes, weights, operators.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        Option(
            "--exclude",
            metavar="GLOB",
            help="Leave these layers as they are; repeatable.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    order: Annotated[
        str,
        Option(
            "--order",
            metavar="NAME",
            help="How energy is shared out: shared, energy or uniform.",
            rich_help_panel=_PANEL,
        ),
    ] = "shared"
    structured: Annotated[
        bool,
        Option(
            "--structured",
            metavar="",
            help="Take out whole channels, so that tensors get smaller.",
            rich_help_panel=_CHANNELS,
        ),
    ] = False
    zeros: Annotated[
        bool,
        Option(
            "--zeros",
            metavar="",
            help="With --structured: then zero weights in what is left.",
            rich_help_panel=_CHANNELS,
        ),
    ] = False
    criterion: Annotated[
        str,
        Option(
            "--criterion",
            metavar="NAME",
            help=f"Which channels go first: {_any_of(CRITERIA)}",
            rich_help_panel=_CHANNELS,
        ),
    ] = "obs"
    objective: Annotated[
        str,
        Option(
            "--objective",
            metavar="NAME",
            help="What is to fall: energy, or latency on a measured --hw; "
            "by default what --hw tells.",
            rich_help_panel=_CHANNELS,
        ),
    ] = ""

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
