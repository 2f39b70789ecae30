"""Options for goals: one per kind of goal, with one value in `prune` and several in `sweep`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import Field, fields
from inspect import Parameter
from typing import Annotated, Any

from typer import Option

from eapc.errors import UsageError
from eapc.goals import DEFAULT_GOAL, GOALS, MIXED, Goal, Sparsity, Width


class GoalOptions:
    """A group of an option per kind of goal, one of which may be given, and what refines them."""

    def __init__(self, **values: Any) -> None:
        given = {
            f"--{name.replace('_', '-')}": value
            for name, value in values.items()
            if value is not None
        }
        self._given = {option: value for option, value in given.items() if option in GOALS}
        self._refined = {o: value for o, value in given.items() if o not in GOALS}

    def _made(self, option: str, value: Any) -> Goal:
        """The goal of an option, refined as far as is given."""
        kind = GOALS[option]
        names = {each.metadata["option"]: each.name for each in _refinements(kind)}
        self._refuse_others(names)
        return kind(value, **{names[o]: value for o, value in self._refined.items()})

    def _refuse_others(self, known: Collection[str]) -> None:
        for option in self._refined:
            if option not in known:
                owners = [o for o, kind in GOALS.items() if option in _options_of(kind)]
                raise UsageError(f"{option}: goes with {' or '.join(owners)}")


class OneGoal(GoalOptions):
    """The group that `prune` knows: each option has one value."""

    @classmethod
    def parameters(cls) -> list[Parameter]:
        """An option per kind of goal, with one value."""
        panel = f"Goal (one of these; {DEFAULT_GOAL} if none is given)"
        return [
            _parameter(
                kind.option,
                kind.kind,
                metavar=kind.metavar,
                help=kind.help,
                rich_help_panel=panel,
            )
            for kind in GOALS.values()
        ] + _refining(panel)

    def goal(self, pattern: str, bits: str | None = None) -> Goal:
        """The goal that is given, else the one of a pattern that fixes it, else the default.

        Without any of these the default with `bits` is to quantize alone.
        """
        if len(self._given) > 1:
            raise UsageError(f"{' and '.join(self._given)}: give one goal at a time")
        goals = [self._made(option, value) for option, value in self._given.items()]
        fixed = _fixed_sparsity(pattern, goals)
        if goals:
            return goals[0]
        self._refuse_others(())
        if fixed is not None:
            return Sparsity(fixed)
        return DEFAULT_GOAL if bits in (None, MIXED) else Width(bits)


class SeveralGoals(GoalOptions):
    """The group of the same options in `sweep`, each with several values."""

    @classmethod
    def parameters(cls) -> list[Parameter]:
        """An option per kind of goal, with comma-separated values."""
        shown = {"help": "As for prune.", "rich_help_panel": "Goals (values of one of these)"}
        return [
            _parameter(kind.option, str, metavar=f"{kind.metavar},{kind.metavar},...", **shown)
            for kind in GOALS.values()
        ] + _refining(shown["rich_help_panel"])

    def goals(self, pattern: str) -> list[Goal]:
        """The goals of one option's comma-separated values, in their order."""
        if not self._given:
            raise UsageError(f"a sweep needs values of a goal: {', '.join(GOALS)}")
        if len(self._given) > 1:
            raise UsageError(f"{' and '.join(self._given)}: give values of one goal")
        ((option, text),) = self._given.items()
        values = [_read(GOALS[option], part.strip()) for part in text.split(",")]
        goals = [self._made(option, value) for value in values]
        _fixed_sparsity(pattern, goals)
        return goals


def _parameter(option: str, kind: Any, **shown: Any) -> Parameter:
    """A command's parameter for an option; None where it is not given."""
    annotation = Annotated[kind | None, Option(option, **shown)]
    name = option.removeprefix("--").replace("-", "_")
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _refining(panel: str) -> list[Parameter]:
    """The parameters of what refines goals, each once."""
    found = {
        each.metadata["option"]: each for kind in GOALS.values() for each in _refinements(kind)
    }
    return [
        _parameter(
            option,
            float,
            metavar=each.metadata["metavar"],
            help=each.metadata["help"],
            rich_help_panel=panel,
        )
        for option, each in found.items()
    ]


def _refinements(kind: type[Goal]) -> list[Field[Any]]:
    return [each for each in fields(kind) if "option" in each.metadata]


def _options_of(kind: type[Goal]) -> set[str]:
    return {each.metadata["option"] for each in _refinements(kind)}


def _read(goal: type[Goal], text: str) -> Any:
    try:
        return goal.kind(text)
    except ValueError as error:
        expected = f"expected numbers like 0.9,0.8,0.7, got '{text}'"
        raise UsageError(f"{goal.option}: {expected}") from error


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
