"""Splits of a budget between channels and zeros: which are tried, which one is taken."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from eapc.goals.splits import MOST, BudgetSplit, Outcome, SplitCandidate, best_split, split_at

ALONE = BudgetSplit(0.5, alone=True)


def outcome(loss: float, missed_by: float = 0.0) -> Outcome:
    return Outcome(missed_by, loss)


class Judge:
    """Says what splits of 0.5 come to: by place, and channels alone; remembers what was asked."""

    def __init__(
        self, places: Mapping[int, Outcome], alone: Outcome | None = None, more: bool = True
    ) -> None:
        self._known = {split_at(0.5, place): each for place, each in places.items()}
        self._known |= {ALONE: alone} if alone else {}
        self._more_channels = more
        self.asked: list[BudgetSplit] = []

    def __call__(self, split: BudgetSplit) -> SplitCandidate[str]:
        self.asked.append(split)
        return SplitCandidate(split, self._known[split], self._more_channels, f"made by {split}")

    def best(self) -> BudgetSplit:
        found = best_split(0.5, self, alone_too=ALONE in self._known)
        assert found.made == f"made by {found.split}"
        return found.split


def test_splits_are_eighths_of_the_budgets_logarithm_apart() -> None:
    assert split_at(0.5, 0) == BudgetSplit(0.5)
    for place, like in ((-2, 2**-6), (-1, 2**-7), (1, 2**-9)):
        assert split_at(2**-8, place) == BudgetSplit(round(like, 6))
    assert split_at(2**-8, 2) == BudgetSplit(0.001)  # no budget is less


@pytest.mark.parametrize("sign", [1, -1])
def test_the_split_that_loses_less_is_found(sign: int) -> None:
    judge = Judge({0: outcome(0.3), sign: outcome(0.2), 2 * sign: outcome(0.25)}, None, sign > 0)
    assert judge.best() == split_at(0.5, sign)
    assert judge.asked == [split_at(0.5, place) for place in (0, sign, 2 * sign)]


def test_it_stops_where_it_gets_no_better() -> None:
    judge = Judge({0: outcome(0.3), 1: outcome(0.3)})
    assert judge.best() == split_at(0.5, 0)
    assert judge.asked == [split_at(0.5, 0), split_at(0.5, 1)]


def test_only_a_few_are_tried() -> None:
    falling = {place: outcome(1 / (1 + place)) for place in range(9)}
    judge = Judge(falling, outcome(9.0))
    assert judge.best() == split_at(0.5, MOST - 1)
    assert len(judge.asked) == MOST + 1 == 4


def test_a_goal_that_is_met_comes_before_a_smaller_loss() -> None:
    places = {0: outcome(0.1, 0.05), 1: outcome(0.2, 0.01), 2: outcome(0.3)}
    assert Judge(places).best() == split_at(0.5, 2)
    places[2] = outcome(0.3, 0.02)
    assert Judge(places).best() == split_at(0.5, 1)


@pytest.mark.parametrize(("loss", "taken"), [(0.249, True), (0.25, False)])
def test_channels_alone_may_lose_a_quarter_more(loss: float, taken: bool) -> None:
    judge = Judge({0: outcome(0.2), 1: outcome(0.3)}, outcome(loss))
    assert (judge.best() == ALONE) == taken
    assert judge.asked[-1] == ALONE


def test_channels_alone_are_taken_where_zeros_miss_the_goal() -> None:
    places = {0: outcome(0.1, 0.05), 1: outcome(0.1, 0.05)}
    assert Judge(places, outcome(9.0)).best() == ALONE
