"""Decisions of any kind that share costs: by hand, and against exhaustive search."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from eapc.allocation import JointDecisions, JointItem, allocate


def flat(cost: float) -> JointItem:
    return JointItem((), lambda _: cost)


def scaled(cost: float, sites: tuple[int, ...], factors: list[object]) -> JointItem:
    return JointItem((), lambda _: cost, sites, np.array(factors, float))


def test_a_saving_counts_for_what_others_have_left() -> None:
    """Zeros leave .1 of 10. Half the bits then save .5 there, but 2 of the other layer's 4.

    Before the zeros they would have saved 5 in the first layer: errors of .2 and .3 tell that it
    goes first as long as there are none, and second where zeros are as good as free.
    """
    zeros, first, second = range(3)
    items = [
        scaled(10.0, (zeros, first), [[1.0, 0.5], [0.1, 0.05]]),
        scaled(4.0, (second,), [1.0, 0.5]),
    ]
    dear = JointDecisions([np.array([0.0, 9.0]), np.array([0.0, 0.2]), np.array([0.0, 0.3])], items)
    assert allocate(dear, 9.0).tolist() == [0, 1, 0]
    cheap = JointDecisions([np.array([0.0, 0.01]), *dear._errors[1:]], items)
    assert allocate(cheap, 5.0).tolist() == [1, 0, 0]
    assert cheap.filled(allocate(cheap, 3.0), 3.0).tolist() == [1, 0, 1]
    assert cheap.cost(np.array([1, 0, 1])) == pytest.approx(10 * 0.1 + 4 * 0.5)
    assert cheap.error(np.array([1, 0, 1])) == pytest.approx(0.31)


def test_prices_and_factors_go_together() -> None:
    """A count's price of 6 or 2, halved by a width: 6, 3, 2, 1."""
    item = JointItem((0,), lambda options: (6.0, 2.0)[options[0]], (1,), np.array([1.0, 0.5]))
    decisions = JointDecisions([np.array([0.0, 1.0]), np.array([0.0, 1.0])], [item, flat(5.0)])
    costs = [decisions.cost(np.array(choice)) for choice in product(range(2), range(2))]
    assert costs == [11.0, 8.0, 7.0, 6.0]
    assert item.costs(0, 2, np.array([0, 1])).tolist() == [3.0, 1.0]
    assert item.costs(1, 2, np.array([1, 0])).tolist() == [2.0, 1.0]


def test_a_budget_out_of_reach_gets_the_last_options() -> None:
    decisions = JointDecisions([np.array([0.0, 1.0])], [scaled(4.0, (0,), [1.0, 0.5])])
    assert allocate(decisions, 1.0).tolist() == decisions.cheapest.tolist() == [1]
    assert allocate(decisions, 4.0).tolist() == [0]


@pytest.mark.parametrize("share", [0.8, 0.6, 0.4])
def test_within_the_budget_and_near_the_best(share: float) -> None:
    """Two layers with zeros, bits, and a tensor between them: 3^5 choices."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        errors = [np.cumsum([0.0, *rng.uniform(0.01, 1, 2)]) for _ in range(5)]
        falls = [np.array([1.0, *np.sort(rng.uniform(0.1, 1, 2))[::-1]]) for _ in range(5)]
        tables = [
            np.einsum("i,j,k->ijk", falls[a], falls[b], falls[4]) for a, b in ((0, 1), (2, 3))
        ]
        items = [
            JointItem((), lambda _: 10.0, (0, 1, 4), tables[0]),
            JointItem((), lambda _: 6.0, (2, 3, 4), tables[1]),
        ]
        decisions = JointDecisions(errors, items)
        budget = share * 16
        chosen = decisions.filled(allocate(decisions, budget), budget)
        every = [np.array(choice) for choice in product(range(3), repeat=5)]
        within = [decisions.error(choice) for choice in every if decisions.cost(choice) <= budget]
        assert decisions.cost(chosen) <= budget
        assert decisions.error(chosen) <= 1.5 * min(within) + 1e-9
