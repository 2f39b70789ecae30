"""Thresholds and shares, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from eapc.routing import Cut, choose_cut, share_interval


def cut(hardness: list[float], first: str, second: str, least: float) -> Cut:
    """Right answers are `+`."""
    right = [np.array([c == "+" for c in text]) for text in (first, second)]
    return choose_cut(np.array(hardness, np.float32), right[0], right[1], least)


def figures(found: Cut) -> tuple[float, float, bool]:
    return found.share, found.accuracy, found.is_kept


def test_as_few_as_keep_the_drop_are_sent_on() -> None:
    """Hardest first: 0.9 gains, 0.7 gains, 0.5 is lost on both, 0.2 loses."""
    hardness, first, second = [0.2, 0.9, 0.5, 0.7], "+---", "-+-+"
    cuts = [cut(hardness, first, second, least) for least in (0.25, 0.5, 0.75)]
    values = [found.value for found in cuts]
    assert values == pytest.approx([np.finfo(np.float32).max, 0.8, 0.6])
    assert [figures(found) for found in cuts] == [
        (0.0, 0.25, True),
        (0.25, 0.5, True),
        (0.5, 0.75, True),
    ]


def test_out_of_reach_it_is_the_most_right_answers() -> None:
    found = cut([0.2, 0.9, 0.5, 0.7], "+---", "-+-+", 0.8)
    assert figures(found) == (0.5, 0.75, False)


def test_inputs_of_one_hardness_go_together() -> None:
    """The first of three equals would do, but none can go without the others."""
    found = cut([0.5, 0.5, 0.5, 0.1], "---+", "+--+", 0.5)
    assert (found.share, found.accuracy) == (0.75, 0.5)


def test_all_may_be_sent_on() -> None:
    found = cut([0.5, 0.4], "--", "++", 1.0)
    assert found == Cut(float(-np.finfo(np.float32).max), 1.0, 1.0, True)


def test_neighbours_in_single_precision_are_told_apart() -> None:
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    found = choose_cut(np.array([low, high]), np.array([True, False]), np.array([False, True]), 1.0)
    assert (found.share, found.accuracy) == (0.5, 1.0)
    assert low < np.float32(found.value) <= high


def test_what_is_no_number_is_hardest() -> None:
    found = cut([0.9, np.nan], "+-", "-+", 1.0)
    assert (found.share, found.accuracy) == (0.5, 1.0)


@given(
    some.lists(some.tuples(some.integers(0, 5), some.booleans(), some.booleans()), min_size=1),
    some.sampled_from([0.0, 0.3, 0.6, 0.9, 1.0]),
)
def test_a_cut_does_what_it_says(inputs: list[tuple[int, bool, bool]], least: float) -> None:
    hardness, first, second = (np.array(column) for column in zip(*inputs, strict=True))
    found = choose_cut(hardness.astype(np.float32), first, second, least)
    hard = hardness.astype(np.float32) >= np.float32(found.value)
    accuracies = []
    for threshold in (*np.unique(hardness), 99):
        sent = hardness >= threshold
        accuracies.append((np.where(sent, second, first).mean(), sent.mean()))
    assert hard.mean() == pytest.approx(found.share)
    assert np.where(hard, second, first).mean() == pytest.approx(found.accuracy)
    keeping = [share for accuracy, share in accuracies if accuracy >= least - 1e-9]
    assert found.is_kept == bool(keeping)
    if keeping:
        assert found.share == pytest.approx(min(keeping))


def test_wilsons_interval() -> None:
    """0 of 10: z^2 / (10 + z^2) = 3.8415 / 13.8415; 50 of 100: .5 -+ .0962."""
    assert list(share_interval(0, 10)) == pytest.approx([0.0, 0.27753], abs=1e-5)
    assert list(share_interval(50, 100)) == pytest.approx([0.40383, 0.59617], abs=1e-5)
    assert share_interval(0, 0) == (0.0, 1.0)
