"""The options that state a goal: one value for `prune`, several for `sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

_GOAL = "Goal (one of these; --min-agreement 0.98 if none is given)"

SparsityGoal = Annotated[
    float | None,
    Option(
        "--sparsity",
        metavar="S",
        help="This fraction of zeros in every layer, in [0, 1).",
        rich_help_panel=_GOAL,
    ),
]
EnergyGoal = Annotated[
    float | None,
    Option(
        "--target-energy",
        metavar="E",
        help="At most this fraction of the energy, in (0, 1].",
        rich_help_panel=_GOAL,
    ),
]
AgreementGoal = Annotated[
    float | None,
    Option(
        "--min-agreement",
        metavar="A",
        help="Least energy at which outputs agree, in [0, 1].",
        rich_help_panel=_GOAL,
    ),
]
DropGoal = Annotated[
    float | None,
    Option(
        "--max-drop",
        metavar="D",
        help="Least energy at which top-1 accuracy on --eval falls by at most D, in [0, 1).",
        rich_help_panel=_GOAL,
    ),
]

_GOALS = "Goals (values of one of these)"

Sparsities = Annotated[
    str | None,
    Option("--sparsity", metavar="S,S,...", help="As for prune.", rich_help_panel=_GOALS),
]
Energies = Annotated[
    str | None,
    Option("--target-energy", metavar="E,E,...", help="As for prune.", rich_help_panel=_GOALS),
]
Agreements = Annotated[
    str | None,
    Option("--min-agreement", metavar="A,A,...", help="As for prune.", rich_help_panel=_GOALS),
]
Drops = Annotated[
    str | None,
    Option("--max-drop", metavar="D,D,...", help="As for prune.", rich_help_panel=_GOALS),
]

DensitiesGoal = Annotated[
    Path | None,
    Option(
        "--densities",
        metavar="PATH",
        help="YAML of layers and their densities; others stay dense.",
        rich_help_panel=_GOAL,
    ),
]
