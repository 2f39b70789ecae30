"""Options for budgets: what a network may take, absolutely or beside another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

if TYPE_CHECKING:
    from eapc.commands.budgets import CostLimits, RatioLimits

_PANEL = "Budgets (exit code 4 where one is exceeded)"


@dataclass(frozen=True)
class BudgetOptions:
    """The group of those of one network."""

    max_energy: Annotated[
        str | None,
        Option(
            "--max-energy",
            metavar="0.8mJ|31M|90%",
            help="Joules, MAC units, or a share of --baseline's.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    max_latency: Annotated[
        str | None,
        Option(
            "--max-latency",
            metavar="5ms|90%",
            help="Time on --hw, or a share of --baseline's.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    baseline: Annotated[
        Path | None,
        Option(
            "--baseline",
            metavar="PATH",
            help="ONNX file that percentages are of.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def limits(self) -> CostLimits:
        """What the options come to."""
        from eapc.commands.budgets import CostLimits

        return CostLimits.read(self.max_energy, self.max_latency, self.baseline)


@dataclass(frozen=True)
class RatioBudgetOptions:
    """The group of those of a comparison."""

    max_energy_ratio: Annotated[
        str | None,
        Option(
            "--max-energy-ratio",
            metavar="R",
            help="Modelled energy of AFTER over that of BEFORE, such as 1.0 or 90%.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    max_latency_ratio: Annotated[
        str | None,
        Option(
            "--max-latency-ratio",
            metavar="R",
            help="Measured latency likewise; exceeded where 95 % confidence says so.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def limits(self, *, is_timed: bool) -> RatioLimits:
        """What the options come to."""
        from eapc.commands.budgets import RatioLimits

        return RatioLimits.read(self.max_energy_ratio, self.max_latency_ratio, is_timed=is_timed)
