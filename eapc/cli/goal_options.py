"""Options for goals: one per kind of goal, with one value in `prune` and several in `sweep`.

A cost to lower and a bound on the outputs go together, and make a joint goal.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import Field, fields
from inspect import Parameter
from itertools import product
from typing import Annotated, Any

from typer import Option

from eapc.errors import UsageError
from eapc.goals import DEFAULT_GOAL, GOALS, MIXED, Bound, Goal, Sparsity, Target, Width, joined


class GoalOptions:
    """A group of an option per kind of goal, and what refines them.

    One may be given, or a cost to lower and a bound.
    """

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
        return kind(value, **{names[o]: v for o, v in self._refined.items() if o in names})

    def _require_pair(self) -> None:
        """Raise UsageError unless one goal is given, or a cost and a bound."""
        given = list(self._given)
        kinds = [GOALS[option] for option in given]
        costs, bounds = ([k for k in kinds if issubclass(k, of)] for of in (Target, Bound))
        if len(costs) > 1 or len(bounds) > 1 or len(given) > max(1, len(costs) + len(bounds)):
            raise UsageError(f"{' and '.join(given)}: {_PAIR}")

    def _require_known(self) -> None:
        """Raise UsageError where what refines a goal is given without it."""
        self._refuse_others({each for option in self._given for each in _options_of(GOALS[option])})

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

    def goal(self, pattern: str, bits: str | None = None) -> Goal:
        """The goal that is given, else the one of a pattern that fixes it, else the default.

        Without any of these the default with `bits` is to quantize alone.
        """
        self._require_pair()
        self._require_known()
        goals = [self._made(option, value) for option, value in self._given.items()]
        fixed = _fixed_sparsity(pattern, goals)
        if goals:
            return joined(goals)
        if fixed is not None:
            return Sparsity(fixed)
        return DEFAULT_GOAL if bits in (None, MIXED) else Width(bits)


class SeveralGoals(GoalOptions):
    """The group of the same options in `sweep`, one with several values."""

    @classmethod
    def parameters(cls) -> list[Parameter]:
        """An option per kind of goal, with comma-separated values."""
        panel = "Goals (values of one; a cost and a bound go together)"
        shown = {"help": "As for prune.", "rich_help_panel": panel}
        return [
            _parameter(kind.option, str, metavar=f"{kind.metavar},{kind.metavar},...", **shown)
            for kind in GOALS.values()
        ] + _refining(shown["rich_help_panel"])

    def goals(self, pattern: str) -> list[Goal]:
        """The goals of an option's comma-separated values, in their order.

        Beside them one value of another may stand, which holds for each.
        """
        if not self._given:
            raise UsageError(f"a sweep needs values of a goal: {', '.join(GOALS)}")
        self._require_pair()
        self._require_known()
        values = [
            [self._made(option, _read(GOALS[option], part.strip())) for part in text.split(",")]
            for option, text in self._given.items()
        ]
        if sum(len(each) > 1 for each in values) > 1:
            raise UsageError(f"{' and '.join(self._given)}: give several values of one of them")
        for each in values:
            _fixed_sparsity(pattern, each)
        return [joined(goals) for goals in product(*values)]


_PAIR = "give one goal, or one cost to lower and one bound"


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
            each.metadata.get("kind", float),
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
