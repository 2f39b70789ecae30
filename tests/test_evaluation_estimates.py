"""How well losses are known: each formula by hand, and intervals held against what is drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from builders import Array
from hypothesis import assume, given, settings
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
    found = paired_mean(np.array([1.0, 2, 3]), 9.0)
    assert found == pytest.approx((2, 1 / math.sqrt(3), 2))
    reach = 4.302653 / math.sqrt(3)
    assert found.interval == pytest.approx((2 - reach, 2 + reach))
    assert found.confidence(2.0) == 0.5
    # t = 1 at 2 degrees of freedom: 1/2 + 1 / (2 sqrt 3)
    assert found.confidence(2 + 1 / math.sqrt(3)) == pytest.approx(0.5 + 0.5 / math.sqrt(3))


def test_few_differences_by_hand() -> None:
    """Of 3, 0, 1, 0 the mean is 1, s^2 is 2; 2 of 4 are zero, the others' mean square is 5."""
    found = paired_mean(np.array([3.0, 0, 1, 0]), 9.0)
    assert found == pytest.approx((1, math.sqrt(2 / 4 + 0.5 * 5 / 16), 3))


def test_no_differences_by_hand() -> None:
    """One of five may change yet, by twice the spread."""
    found = paired_mean(np.zeros(5), 0.3)
    assert found == pytest.approx((0, 0.6 / 5, 4))
    assert paired_mean(np.zeros(5), 0.0).interval == (0, 0)
    assert paired_mean(np.zeros(5), 0.0).confidence(0.0) == 1


def test_the_jackknife_of_a_mean_is_that_of_its_differences() -> None:
    differences = np.random.default_rng(1).normal(0.1, 1, 15)
    left_out = np.array([np.delete(differences, i).mean() for i in range(15)])
    found = jackknifed(float(differences.mean()), left_out, np.zeros(15), 15)
    assert found == pytest.approx(paired_mean(differences, 0.0))


def test_the_jackknife_by_hand() -> None:
    """Losses 1 and 3 without either of two groups: 1 / 2 (1 + 1); before 0 and 4: 4 * 4 / 32."""
    found = jackknifed(2.5, np.array([1.0, 3]), np.array([0.0, 4]), 32)
    assert found == pytest.approx((2.5, math.sqrt(1.5), 1))


def test_the_jackknife_adds_what_agresti_and_min_add_at_one_half() -> None:
    """Right and wrong in turns, nothing changed: 1 / n^2, where they have 1 / (n + 2)^2."""
    right = np.arange(20) % 2
    before = np.array([np.delete(right, i).mean() for i in range(20)])
    found = jackknifed(0.0, np.zeros(20), before, 20)
    assert found.deviation == pytest.approx(1 / 20, rel=0.03)


@pytest.mark.parametrize(
    "found", [paired_mean(np.array([0.3]), 1.0), jackknifed(0.3, np.zeros(0), np.zeros(0), 1)]
)
def test_one_sample_tells_nothing(found: Estimate) -> None:
    assert found.interval == (-math.inf, math.inf)
    assert found.confidence(0.1) == found.confidence(0.5) == 0.5


def test_a_loss_without_end_is_never_within() -> None:
    flat = np.zeros(3)
    for found in (paired_mean(np.array([0.0, math.inf]), 1.0), jackknifed(math.inf, flat, flat, 3)):
        assert found.loss == math.inf
        assert found.confidence(1e9) == 0
    assert jackknifed(0.1, np.array([0.0, math.inf]), flat[:2], 3).confidence(1e9) == 0.5


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
    """Two guessers of labels, the second wrong more often; the loss is that of a million draws."""
    assume(size * more >= 4 or more == 0)
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
        left_out = [[np.delete(a, group) for a in arrays] for group in groups]
        lost = np.array([loss(*each) for each in left_out])
        before = np.array([f1(each[1], each[0]) for each in left_out])
        low, high = jackknifed(loss(*arrays), lost, before, size).interval
        held += low <= exact <= high
    assert held >= 0.85 * 200


@settings(max_examples=20, deadline=None)
@given(st.integers(20, 500), st.floats(-0.1, 0.1), st.integers(0, 999))
def test_an_interval_of_means_holds_in_95_of_100_cases(size: int, lost: float, seed: int) -> None:
    rng, held = np.random.default_rng(seed), 0
    for _ in range(1000):
        low, high = paired_mean(rng.uniform(lost - 0.2, lost + 0.2, size), 0.5).interval
        held += low <= lost <= high
    assert held >= 0.92 * 1000


@settings(max_examples=20, deadline=None)
@given(st.integers(30, 400), st.floats(0.01, 0.5), st.integers(0, 999))
def test_an_interval_of_rare_changes_holds_in_95_of_100_cases(
    size: int, changing: float, seed: int
) -> None:
    """Values 0, 0.5 or 1, of which some are drawn anew from 0 and 0.5."""
    rng, held = np.random.default_rng(seed), 0
    for _ in range(1000):
        before = rng.integers(0, 3, size) / 2
        after = np.where(rng.random(size) < changing, rng.integers(0, 2, size) / 2, before)
        low, high = paired_mean(before - after, float(before.std())).interval
        held += low <= changing / 4 <= high
    assert held >= 0.89 * 1000
