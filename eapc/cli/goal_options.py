"""Options for goals: one per kind of goal, with one value in `prune` and several in `sweep`.

A cost to lower and a bound on the outputs go together, and make a joint goal.
"""

from __future__ import annotations

from inspect import Parameter
from typing import Annotated, Any

from typer import Option

from eapc.errors import UsageError
from eapc.goals import DEFAULT_GOAL, GOALS, AskedGoals, Goal, keyword_of, refinements


class OneGoal(AskedGoals):
    """The group that `prune` knows: each option has one value."""

    def __init__(self, **values: Any) -> None:
        super().__init__(_by_option(values))

    @classmethod
    def parameters(cls) -> list[Parameter]:
        """An option per kind of goal, with one value."""
        panel = f"Goal (one, or a cost and a bound; {DEFAULT_GOAL} if none)"
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


class SeveralGoals(AskedGoals):
    """The group of the same options in `sweep`, one with several values."""

    def __init__(self, **values: Any) -> None:
        read = {
            option: _read(GOALS[option], value) if option in GOALS and value is not None else value
            for option, value in _by_option(values).items()
        }
        super().__init__(read)

    @classmethod
    def parameters(cls) -> list[Parameter]:
        """An option per kind of goal, with comma-separated values."""
        panel = "Goals (values of one; a cost and a bound go together)"
        shown = {"help": "As for prune.", "rich_help_panel": panel}
        return [
            _parameter(kind.option, str, metavar=f"{kind.metavar},{kind.metavar},...", **shown)
            for kind in GOALS.values()
        ] + _refining(shown["rich_help_panel"])


def _by_option(values: dict[str, Any]) -> dict[str, Any]:
    return {f"--{name.replace('_', '-')}": value for name, value in values.items()}


def _parameter(option: str, kind: Any, **shown: Any) -> Parameter:
    """A command's parameter for an option; None where it is not given."""
    annotation = Annotated[kind | None, Option(option, **shown)]
    return Parameter(
        keyword_of(option), Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _refining(panel: str) -> list[Parameter]:
    """The parameters of what refines goals, each once."""
    found = {each.metadata["option"]: each for kind in GOALS.values() for each in refinements(kind)}
    return [
        _parameter(
            option,
            each.metadata.get("kind", float),
            metavar=each.metadata["metavar"],
            help=each.metadata["help"],
            rich_help_panel=panel,
        )
        for option, each in found.items()
    ]


def _read(goal: type[Goal], text: str) -> list[Any]:
    """The comma-separated values of a goal's option."""
    return [_value(goal, part.strip()) for part in text.split(",")]


def _value(goal: type[Goal], text: str) -> Any:
    try:
        return goal.kind(text)
    except ValueError as error:
        expected = f"expected numbers like 0.9,0.8,0.7, got '{text}'"
        raise UsageError(f"{goal.option}: {expected}") from error
