"""How one budget is split between channels and zeros: a few splits are tried, the best is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

MOST = 3
"""Splits tried at most, beside channels alone: each is a fit of channels and one of zeros."""

_FLATTERED = 1.25
"""Zeros are chosen by the inputs that judge them, channels are not: they must lose clearly less."""

_STEP = 0.125
"""How far apart the splits are, as a fraction of the budget's logarithm."""

_LEAST_BUDGET = 1e-3


class BudgetSplit(NamedTuple):
    """What channels have of a budget; zeros do the rest.

    Channels go as if the budget for both were `like`, or, `alone`, until they meet it themselves.
    """

    like: float
    alone: bool = False


class Outcome(NamedTuple):
    """What a split comes to; the least is the best.

    `missed_by` is by how much the budget is out of its reach, 0 where it is not, and `loss` what
    the outputs lose at the budget.
    """

    missed_by: float
    loss: float


@dataclass(frozen=True)
class SplitCandidate(Generic[T]):
    """A split that was tried, what it comes to, and what was `made` of the model.

    With `wants_channels` zeros fall short of what they promised by more than channels do.
    """

    split: BudgetSplit
    outcome: Outcome
    wants_channels: bool
    made: T


def best_split(
    budget: float, tried: Callable[[BudgetSplit], SplitCandidate[T]], alone_too: bool = True
) -> SplitCandidate[T]:
    """The best of a few splits, `MOST` of them at most, and of channels alone.

    The one that curves promise most of comes first. Then channels have more of the budget, step by
    step, if zeros fell shorter of their promise, else less, until it gets no better: losses are
    taken to fall and rise once.
    """
    best = tried(split_at(budget, 0))
    towards = 1 if best.wants_channels else -1
    for place in range(1, MOST):
        other = tried(split_at(budget, towards * place))
        if other.outcome >= best.outcome:
            break
        best = other
    if not alone_too:
        return best
    channels = tried(BudgetSplit(budget, alone=True))
    limit = best.outcome._replace(loss=_FLATTERED * best.outcome.loss)
    return channels if channels.outcome < limit else best


def split_at(budget: float, place: int) -> BudgetSplit:
    """The split at a place: 0 has what curves promise most of, above it channels do more."""
    return BudgetSplit(round(max(budget ** (1 + _STEP * place), _LEAST_BUDGET), 6))
