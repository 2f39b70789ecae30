"""The goals of a call, by the options that were given, on the command line or from Python."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, fields
from itertools import product
from typing import Any

from eapc.errors import UsageError
from eapc.goals import DEFAULT_GOAL, GOALS, MIXED, Bound, Goal, Sparsity, Target, Width, joined


def refinements(kind: type[Goal]) -> list[Field[Any]]:
    """The fields of a kind of goal that are options too."""
    return [each for each in fields(kind) if "option" in each.metadata]


def keyword_of(option: str) -> str:
    """`max_drop` of `--max-drop`: how an option is called where it names a parameter."""
    return option.removeprefix("--").replace("-", "_")


class AskedGoals:
    """Values of goals by option, and what refines them.

    One may be given, or a cost to lower and a bound on the outputs, which make a joint goal.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        known = {option: value for option, value in given.items() if value is not None}
        self._given = {option: value for option, value in known.items() if option in GOALS}
        self._refined = {o: value for o, value in known.items() if o not in GOALS}

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

    def goals(self, pattern: str) -> list[Goal]:
        """The goals of an option's values, a sequence, in their order.

        Beside them one value of another may stand, which holds for each.
        """
        if not self._given:
            raise UsageError(f"a sweep needs values of a goal: {', '.join(GOALS)}")
        self._require_pair()
        self._require_known()
        values = [
            [self._made(option, value) for value in given] for option, given in self._given.items()
        ]
        if sum(len(each) > 1 for each in values) > 1:
            raise UsageError(f"{' and '.join(self._given)}: give several values of one of them")
        for each in values:
            _fixed_sparsity(pattern, each)
        return [joined(goals) for goals in product(*values)]

    def _made(self, option: str, value: Any) -> Goal:
        """The goal of an option, refined as far as is given."""
        kind = GOALS[option]
        names = {each.metadata["option"]: each.name for each in refinements(kind)}
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


_PAIR = "give one goal, or one cost to lower and one bound"


def _options_of(kind: type[Goal]) -> set[str]:
    return {each.metadata["option"] for each in refinements(kind)}


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
