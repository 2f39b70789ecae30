"""How well losses are known: each formula by hand, and intervals held against what is drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from builders import Array
from hypothesis import given, settings
from hypothesis import strategies as st

from eapc.evaluation.estimates import (
    GROUPS,
    Estimate,
    groups_of,
    jackknifed,
    matched_shares,
    paired_mean,
)


def test_matched_shares_by_hand() -> None:
    """8 of 298 lost and 2 won: 6 / 300, with a deviation of sqrt(10 + 1 - 36 / 300) / 300."""
    found = matched_shares(6, 10, 298)
    assert found.loss == pytest.approx(0.02)
    assert found.deviation == pytest.approx(math.sqrt(10.88) / 300)
    assert found.interval[1] == pytest.approx(0.02 + 1.959964 * math.sqrt(10.88) / 300)


def test_paired_differences_by_hand() -> None:
    """Of 1, 2, 3 the mean is 2, s is 1; Student's t is 4.30265 at 2 degrees of freedom."""
    found = paired_mean(np.array([1.0, 2, 3]))
    assert found == pytest.approx((2, 1 / math.sqrt(3), 2))
    reach = 4.302653 / math.sqrt(3)
    assert found.interval == pytest.approx((2 - reach, 2 + reach))
    assert found.confidence(2.0) == 0.5
    # t = 1 at 2 degrees of freedom: 1/2 + 1 / (2 sqrt 3)
    assert found.confidence(2 + 1 / math.sqrt(3)) == pytest.approx(0.5 + 0.5 / math.sqrt(3))


def test_the_jackknife_of_a_mean_is_that_of_its_differences() -> None:
    differences = np.random.default_rng(1).normal(0.1, 1, 15)
    left_out = np.array([np.delete(differences, i).mean() for i in range(15)])
    found = jackknifed(float(differences.mean()), left_out)
    assert found == pytest.approx(paired_mean(differences))


def test_the_jackknife_by_hand() -> None:
    """Losses 1 and 3 without either of two groups: sqrt(1 / 2 * (1 + 1)) = 1."""
    assert jackknifed(2.5, np.array([1.0, 3])) == Estimate(2.5, 1.0, 1)


@pytest.mark.parametrize("found", [paired_mean(np.array([0.3])), jackknifed(0.3, np.zeros(0))])
def test_one_sample_tells_nothing(found: Estimate) -> None:
    assert found.interval == (-math.inf, math.inf)
    assert found.confidence(0.1) == found.confidence(0.5) == 0.5


def test_what_never_differs_is_known() -> None:
    found = paired_mean(np.zeros(5))
    assert found.interval == (0, 0)
    assert (found.confidence(0.0), found.confidence(0.1)) == (1, 1)
    assert paired_mean(np.full(5, 0.25)).confidence(0.2) == 0


def test_a_loss_without_end_is_never_within() -> None:
    for found in (paired_mean(np.array([0.0, math.inf])), jackknifed(math.inf, np.zeros(3))):
        assert found.loss == math.inf
        assert found.confidence(1e9) == 0
    assert jackknifed(0.1, np.array([0.0, math.inf])).confidence(1e9) == 0.5


@pytest.mark.parametrize(("samples", "groups"), [(1, 1), (7, 7), (20, 20), (103, GROUPS)])
def test_groups_hold_every_sample_once(samples: int, groups: int) -> None:
    found = groups_of(samples)
    assert len(found) == groups
    assert sorted(np.concatenate(found).tolist()) == list(range(samples))
    assert max(map(len, found)) - min(map(len, found)) <= 1
    for one, two in zip(found, groups_of(samples), strict=True):
        np.testing.assert_array_equal(one, two)


def f1(guessed: Array, true: Array) -> float:
    return float(2 * np.sum(guessed & true) / (guessed.sum() + true.sum()))


@settings(max_examples=12, deadline=None)
@given(st.integers(60, 400), st.floats(0.05, 0.3), st.floats(0.0, 0.1), st.integers(0, 999))
def test_an_interval_of_f1_holds_in_95_of_100_cases(
    size: int, noise: float, more: float, seed: int
) -> None:
    """Two guessers of labels, the second with more noise; the loss is that of a million draws."""
    rng = np.random.default_rng(seed)

    def drawn(count: int) -> tuple[Array, Array, Array]:
        true, turned = rng.random(count) < 0.4, rng.random(count)
        return true, true ^ (turned < noise), true ^ (turned < noise + more)

    def loss(true: Array, before: Array, after: Array) -> float:
        return f1(before, true) - f1(after, true)

    exact, held = loss(*drawn(1_000_000)), 0
    groups = groups_of(size)
    for _ in range(200):
        arrays = drawn(size)
        left_out = [loss(*(np.delete(a, group) for a in arrays)) for group in groups]
        low, high = jackknifed(loss(*arrays), np.array(left_out)).interval
        held += low - 0.002 <= exact <= high + 0.002
    assert held >= 0.88 * 200


@settings(max_examples=20, deadline=None)
@given(st.integers(20, 500), st.floats(-0.1, 0.1), st.integers(0, 999))
def test_an_interval_of_means_holds_in_95_of_100_cases(size: int, lost: float, seed: int) -> None:
    rng, held = np.random.default_rng(seed), 0
    for _ in range(300):
        low, high = paired_mean(rng.uniform(lost - 0.2, lost + 0.2, size)).interval
        held += low <= lost <= high
    assert held >= 0.9 * 300
