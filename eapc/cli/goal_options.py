"""The options that state a goal, one per kind: one value for `prune`, several for `sweep`."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter
from typing import Annotated, Any

from typer import Option

from eapc.errors import UsageError
from eapc.goals import DEFAULT_GOAL, GOALS, Goal, Sparsity


class GoalOptions:
    """A group of an option per kind of goal, of which one may be given."""

    def __init__(self, **values: Any) -> None:
        self._given = {
            f"--{name.replace('_', '-')}": value
            for name, value in values.items()
            if value is not None
        }


class OneGoal(GoalOptions):
    """The group that `prune` knows: each option has one value."""

    @classmethod
    def parameters(cls) -> list[Parameter]:
        """An option per kind of goal, with one value."""
        panel = f"Goal (one of these; {DEFAULT_GOAL} if none is given)"
        return [
            _parameter(kind, kind.kind, metavar=kind.metavar, help=kind.help, rich_help_panel=panel)
            for kind in GOALS.values()
        ]

    def goal(self, pattern: str) -> Goal:
        """The goal that is given, else the one of a pattern that fixes it, else the default."""
        if len(self._given) > 1:
            raise UsageError(f"{' and '.join(self._given)}: give one goal at a time")
        goals = [GOALS[option](value) for option, value in self._given.items()]
        fixed = _fixed_sparsity(pattern, goals)
        if goals:
            return goals[0]
        return DEFAULT_GOAL if fixed is None else Sparsity(fixed)


class SeveralGoals(GoalOptions):
    """The group of the same options in `sweep`, each with several values."""

    @classmethod
    def parameters(cls) -> list[Parameter]:
        """An option per kind of goal, with comma-separated values."""
        shown = {"help": "As for prune.", "rich_help_panel": "Goals (values of one of these)"}
        return [
            _parameter(kind, str, metavar=f"{kind.metavar},{kind.metavar},...", **shown)
            for kind in GOALS.values()
        ]

    def goals(self, pattern: str) -> list[Goal]:
        """The goals of one option's comma-separated values, in their order."""
        if not self._given:
            raise UsageError(f"a sweep needs values of a goal: {', '.join(GOALS)}")
        if len(self._given) > 1:
            raise UsageError(f"{' and '.join(self._given)}: give values of one goal")
        ((option, text),) = self._given.items()
        goals = [_read(GOALS[option], part.strip()) for part in text.split(",")]
        _fixed_sparsity(pattern, goals)
        return goals


def _parameter(goal: type[Goal], kind: Any, **shown: Any) -> Parameter:
    """A command's parameter for a kind of goal; None where it is not given."""
    annotation = Annotated[kind | None, Option(goal.option, **shown)]
    name = goal.option.removeprefix("--").replace("-", "_")
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _read(goal: type[Goal], text: str) -> Goal:
    try:
        value = goal.kind(text)
    except ValueError as error:
        expected = f"expected numbers like 0.9,0.8,0.7, got '{text}'"
        raise UsageError(f"{goal.option}: {expected}") from error
    return goal(value)


def _fixed_sparsity(pattern: str, goals: Sequence[Goal]) -> float | None:
    """The share of zeros that a pattern fixes, if it does; then no goal may say another thing."""
    from eapc.solvers import parse_pattern

    density = parse_pattern(pattern).fixed_density
    if density is None:
        return None
    other = [goal.option for goal in goals if not isinstance(goal, Sparsity)]
    if other:
        raise UsageError(
            f"{other[0]}: --pattern {pattern} fixes the share of zeros; "
            f"give --sparsity {1 - density:.4g} or another pattern"
        )
    return 1 - density
