"""The options that state a goal: one value for `prune`, several for `sweep`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from eapc.errors import UsageError

if TYPE_CHECKING:
    from eapc.goals import Goal

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
LatencyGoal = Annotated[
    float | None,
    Option(
        "--target-latency",
        metavar="L",
        help="At most this fraction of the latency, in (0, 1]; with --structured.",
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

DensitiesGoal = Annotated[
    Path | None,
    Option(
        "--densities",
        metavar="PATH",
        help="YAML of layers and their densities; others stay dense.",
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
Latencies = Annotated[
    str | None,
    Option("--target-latency", metavar="L,L,...", help="As for prune.", rich_help_panel=_GOALS),
]
Agreements = Annotated[
    str | None,
    Option("--min-agreement", metavar="A,A,...", help="As for prune.", rich_help_panel=_GOALS),
]
Drops = Annotated[
    str | None,
    Option("--max-drop", metavar="D,D,...", help="As for prune.", rich_help_panel=_GOALS),
]
DensityFiles = Annotated[
    str | None,
    Option("--densities", metavar="PATH,PATH,...", help="As for prune.", rich_help_panel=_GOALS),
]


@dataclass(frozen=True)
class OneGoal:
    """The group of the options that `prune` knows, of which one may be given."""

    sparsity: SparsityGoal = None
    target_energy: EnergyGoal = None
    target_latency: LatencyGoal = None
    min_agreement: AgreementGoal = None
    max_drop: DropGoal = None
    densities: DensitiesGoal = None

    def goal(self, pattern: str) -> Goal:
        """The goal that is given, else the one of a pattern that fixes it, else the default."""
        from eapc.goals import DEFAULT_GOAL, Sparsity

        given = _given(self)
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)}: give one goal at a time")
        goals = [_kinds()[option](value) for option, value in given.items()]
        fixed = _fixed_sparsity(pattern, goals)
        if goals:
            return goals[0]
        return DEFAULT_GOAL if fixed is None else Sparsity(fixed)


@dataclass(frozen=True)
class SeveralGoals:
    """The group of the same options in `sweep`, each with several values."""

    sparsity: Sparsities = None
    target_energy: Energies = None
    target_latency: Latencies = None
    min_agreement: Agreements = None
    max_drop: Drops = None
    densities: DensityFiles = None

    def goals(self, pattern: str) -> list[Goal]:
        """The goals of one option's comma-separated values, in their order."""
        given = _given(self)
        if not given:
            raise UsageError(f"a sweep needs values of a goal: {', '.join(_kinds())}")
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)}: give values of one goal")
        ((option, text),) = given.items()
        goals = [_kinds()[option](_value(option, part.strip())) for part in text.split(",")]
        _fixed_sparsity(pattern, goals)
        return goals


def _given(group: OneGoal | SeveralGoals) -> dict[str, Any]:
    """What is given, by option."""
    values = asdict(group).items()
    return {f"--{name.replace('_', '-')}": value for name, value in values if value is not None}


def _kinds() -> Mapping[str, Callable[[Any], Goal]]:
    from eapc.goals import GOALS, Densities

    return {**GOALS, Densities.option: Densities}


def _value(option: str, text: str) -> float | Path:
    from eapc.goals import GOALS

    if option not in GOALS:
        return Path(text)
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"{option}: expected numbers like 0.9,0.8,0.7, got '{text}'") from error


def _fixed_sparsity(pattern: str, goals: Sequence[Goal]) -> float | None:
    """The share of zeros that a pattern fixes, if it does; then no goal may say another thing."""
    from eapc.goals import Sparsity
    from eapc.solvers import parse_pattern

    density = parse_pattern(pattern).fixed_density
    if density is None:
        return None
    other = [goal.option for goal in goals if goal.option != Sparsity.option]
    if other:
        raise UsageError(
            f"{other[0]}: --pattern {pattern} fixes the share of zeros; "
            f"give --sparsity {1 - density:.4g} or another pattern"
        )
    return 1 - density
