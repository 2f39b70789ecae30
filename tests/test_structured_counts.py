"""Counts for a budget: against exhaustive search, on staircases, and given back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import pytest

from eapc.channels import ChannelGroup, Slice
from eapc.structured import ChannelCosts, ChannelCurve, ChannelPlan, right_edges
from eapc.structured.costs import Item
from eapc.structured.counts import CANDIDATES, candidates, predicted_error

Price = Callable[..., float]


def curve(name: str, size: int, errors: Mapping[int, float], fewest: int = 1) -> ChannelCurve:
    """A curve with these errors at these counts, and none with all channels."""
    points = {size: 0.0, **errors}
    counts = sorted(points, reverse=True)
    assert counts[-1] == fewest
    return ChannelCurve(name, np.arange(size), tuple(counts), tuple(points[c] for c in counts))


def costs(sizes: Mapping[str, int], *prices: tuple[str, Price]) -> ChannelCosts:
    """Items priced by the counts of the groups that each names by a letter: `ab`."""
    groups = [
        ChannelGroup(n, size, (Slice(n, 0, np.arange(size)[:, None]),), (n,), ())
        for n, size in sizes.items()
    ]

    def item(names: str, price: Price) -> Item:
        return Item(
            "", tuple(names), lambda shrink: price(*(shrink(n, (sizes[n],))[0] for n in names))
        )

    return ChannelCosts([item(*each) for each in prices], groups)


def choose_counts(
    curves: Sequence[ChannelCurve],
    costs: ChannelCosts,
    budget: float,
    allowed: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, int]:
    """Counts for a budget that is the first to be asked about."""
    return ChannelPlan(tuple(curves), costs, allowed or {}).counts(budget / costs.total({}))


# --- by hand -----------------------------------------------------------------------------------


def test_the_group_that_loses_least_for_its_saving_goes_first() -> None:
    """a saves 4 for an error of 1, b saves 8 for 1.5: b is the better buy for a saving of 3."""
    curves = [curve("a", 2, {1: 1.0}), curve("b", 2, {1: 1.5})]
    table = costs({"a": 2, "b": 2}, ("a", lambda a: 4 * a), ("b", lambda b: 8 * b))
    assert table.total({}) == 24
    assert choose_counts(curves, table, 24) == {"a": 2, "b": 2}
    assert choose_counts(curves, table, 21) == {"a": 1, "b": 2}  # 4 are enough, and lose less
    assert choose_counts(curves, table, 17) == {"a": 2, "b": 1}
    assert choose_counts(curves, table, 12) == {"a": 1, "b": 1}
    assert choose_counts(curves, table, 1) == {"a": 1, "b": 1}  # out of reach


def test_layers_of_two_groups_are_priced_together() -> None:
    """a * b: with b at 1 of 4, a channel of a saves 1 instead of 4."""
    curves = [curve("a", 4, {3: 0.1, 1: 2.0}), curve("b", 4, {1: 0.5})]
    table = costs({"a": 4, "b": 4}, ("ab", lambda a, b: a * b))
    assert choose_counts(curves, table, 4) == {"a": 4, "b": 1}
    assert choose_counts(curves, table, 3) == {"a": 3, "b": 1}


def test_what_a_later_move_made_needless_is_given_back() -> None:
    """a goes first, being cheap; b's only count then saves more than is missing."""
    curves = [curve("a", 2, {1: 0.1}), curve("b", 2, {1: 5.0})]
    table = costs({"a": 2, "b": 2}, ("a", lambda a: a), ("b", lambda b: 10 * b))
    assert choose_counts(curves, table, 13) == {"a": 2, "b": 1}


def test_a_group_that_may_vanish_goes_to_nothing() -> None:
    curves = [curve("a", 4, {0: 0.5}, fewest=0)]
    table = costs({"a": 4}, ("a", float))
    assert choose_counts(curves, table, 0) == {"a": 0}


def test_candidates_are_evenly_spaced() -> None:
    assert candidates(curve("a", 64, {1: 1})) == (1, *range(4, 64, 4))
    assert candidates(curve("a", 4, {1: 1})) == (1, 2, 3)
    assert candidates(curve("a", 4, {0: 1}, fewest=0)) == (0, 1, 2, 3)
    assert candidates(curve("a", 1, {})) == ()
    assert len(candidates(curve("a", 1000, {1: 1}))) == CANDIDATES


# --- against exhaustive search -----------------------------------------------------------------


def network(seed: int, size: int = 6) -> tuple[list[ChannelCurve], ChannelCosts]:
    """Three groups in a row with error curves that grow ever faster, on a chain of layers."""
    rng = np.random.default_rng(seed)
    curves = []
    for name in "abc":
        steepness, scale = rng.uniform(0.3, 1.5), 10 ** rng.uniform(-2, 0)
        errors = {n: scale * (math.exp(steepness * (size - n)) - 1) / 10 for n in range(1, size)}
        curves.append(curve(name, size, errors))
    p, q, r, s = rng.uniform(1, 10, 4)
    table = costs(
        dict.fromkeys("abc", size),
        ("a", lambda a: p * a),
        ("ab", lambda a, b: q * a * b),
        ("bc", lambda b, c: r * b * c),
        ("c", lambda c: s * c),
    )
    return curves, table


def least_error(curves: Sequence[ChannelCurve], table: ChannelCosts, budget: float) -> float:
    """The least error of all counts within the budget."""
    names = [each.name for each in curves]
    ways = (dict(zip(names, found, strict=True)) for found in product(*map(counts_of, curves)))
    fitting = (each for each in ways if table.total(each) <= budget)
    return min(predicted_error(curves, each) for each in fitting)


def counts_of(each: ChannelCurve) -> range:
    return range(each.fewest, each.size + 1)


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5, 0.3, 0.15])
def test_within_the_budget_and_near_the_best(share: float) -> None:
    found, best = [], []
    for seed in range(12):
        curves, table = network(seed)
        budget = share * table.total({})
        counts = choose_counts(curves, table, budget)
        assert table.total(counts) <= budget * (1 + 1e-9)
        assert all(counts[each.name] in counts_of(each) for each in curves)
        found.append(predicted_error(curves, counts))
        best.append(least_error(curves, table, budget))
    ratios = np.array(found) / best
    assert ratios.min() >= 1 - 1e-9
    assert np.median(ratios) < 1.15
    assert ratios.max() < 2


def test_more_budget_never_loses_more() -> None:
    curves, table = network(3)
    plan = ChannelPlan(tuple(curves), table)
    errors = [plan.predicted(budget).error for budget in (0.2, 0.4, 0.6, 0.8, 1.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0


def test_budgets_in_any_order_get_what_each_gets_alone() -> None:
    for seed in range(4):
        curves, table = network(seed, size=12)
        budgets = np.random.default_rng(seed).permutation(np.linspace(0.05, 1, 40)).tolist()
        plan = ChannelPlan(tuple(curves), table)
        alone = [ChannelPlan(tuple(curves), table).counts(budget) for budget in budgets]
        assert [plan.counts(budget) for budget in budgets] == alone
        assert len({tuple(counts.values()) for counts in alone}) > 10


def test_many_budgets_ask_for_few_prices() -> None:
    """Budgets are told apart by the same prices: a hundred ask for no more than ten times one."""
    curves, table = network(0, size=24)
    asked: list[tuple[int, ...]] = []
    of_item = table.of_item

    def counting(place: int, counts: Mapping[str, int]) -> float:
        asked.append((place, *counts.values()))
        return of_item(place, counts)

    table.of_item = counting  # type: ignore[method-assign]
    ChannelPlan(tuple(curves), table).counts(0.05)
    once = len(asked)
    plan = ChannelPlan(tuple(curves), table)
    for budget in np.linspace(0.05, 1, 100).tolist():
        plan.counts(budget)
    assert len(asked) - once < 10 * once


# --- staircases --------------------------------------------------------------------------------


def stairs(count: int) -> float:
    """One for each 4 channels, begun or whole."""
    return float(math.ceil(count / 4))


def bumpy(count: int) -> float:
    """A staircase on which 5 to 8 cost less than 3 or 4, and 9 to 12 less than 1 or 2."""
    return {0: 0.0, 1: 6.0, 2: 4.0}.get(math.ceil(count / 2), stairs(count))


def test_right_edges_of_a_staircase() -> None:
    table = costs({"a": 14}, ("a", stairs))
    assert right_edges(curve("a", 14, {1: 1.0}), table) == (4, 8, 12)
    table = costs({"a": 12}, ("a", stairs))
    assert right_edges(curve("a", 12, {0: 1.0}, fewest=0), table) == (0, 4, 8)


def test_no_count_that_is_costlier_than_a_larger_one_is_an_edge() -> None:
    table = costs({"a": 14}, ("a", bumpy))
    assert right_edges(curve("a", 14, {1: 1.0}), table) == (8, 12)  # not 4, which costs 4
    assert right_edges(curve("a", 14, {0: 1.0}, fewest=0), table) == (0, 8, 12)


def test_counts_stand_on_right_edges() -> None:
    curves = [curve("a", 14, {1: 1.0})]
    table = costs({"a": 14}, ("a", stairs))
    allowed = {"a": right_edges(curves[0], table)}
    assert choose_counts(curves, table, 3.9, allowed) == {"a": 12}
    assert choose_counts(curves, table, 2, allowed) == {"a": 8}
    assert choose_counts(curves, table, 0.5, allowed) == {"a": 4}  # out of reach


def test_a_larger_count_that_costs_no_more_is_taken() -> None:
    """Candidates that stand on no edge give way to those above; flat errors make no difference."""
    curves = [curve("a", 14, {1: 1.0}), curve("b", 14, {7: 0.0, 1: 0.0})]
    table = costs({"a": 14, "b": 14}, ("a", stairs), ("b", bumpy))
    allowed = {name: tuple(range(1, 14)) for name in "ab"}
    for budget in np.linspace(2, 8, 25).tolist():
        counts = choose_counts(curves, table, budget, allowed)
        for name in "ab":
            more = range(counts[name] + 1, 15)
            spent = [table.total({**counts, name: c}) - table.total(counts) for c in more]
            assert all(each >= 0 for each in spent)
            assert name == "b" or all(each > 0 for each in spent)


def test_the_lowest_cost_is_that_of_the_lowest_edge() -> None:
    curves = (curve("a", 14, {1: 1.0}),)
    table = costs({"a": 14}, ("a", bumpy))
    plan = ChannelPlan(curves, table, {"a": right_edges(curves[0], table)})
    assert plan.lowest_ratio == pytest.approx(2 / 4)
    assert plan.counts(0.1) == {"a": 8}
    assert ChannelPlan((), table).lowest_ratio == 1


def test_a_plan_tells_what_a_budget_comes_to() -> None:
    curves = (curve("a", 4, {2: 0.25, 1: 1.0}),)
    plan = ChannelPlan(curves, costs({"a": 4}, ("a", lambda a: 10.0 * a)))
    assert plan.whole_cost == 40
    assert plan.lowest_ratio == 0.25
    assert plan.counts(0.5) == {"a": 2}
    assert plan.predicted(0.5) == (0.25, 0.5)
    assert plan.predicted(0.4, tail=0.1) == (0.25, 0.5)


def test_a_network_that_costs_nothing() -> None:
    plan = ChannelPlan((curve("a", 4, {1: 1.0}),), costs({"a": 4}, ("a", lambda _: 0.0)))
    assert plan.counts(0.5) == {"a": 4}
    assert plan.predicted(0.5) == (0.0, 1.0)
    assert plan.lowest_ratio == 1.0
