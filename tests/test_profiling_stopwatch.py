"""The stopwatch: turns, medians, and ratios within rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from eapc.profiling import Laps, run_in_turns


class Clock:
    """Stands still but for what is done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done: list[str] = []

    def __call__(self) -> float:
        return self.now

    def job(self, name: str, *seconds: float) -> Callable[[], None]:
        """Takes as long as told, the first of `seconds` first; the last for good."""
        left = list(seconds)

        def run() -> None:
            self.done.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_everything_runs_once_a_round_and_order_alternates() -> None:
    clock = Clock()
    run_in_turns([clock.job("a", 1), clock.job("b", 1)], repeats=3, warmup=1, clock=clock)
    assert "".join(clock.done) == "ba" + "ab" + "ba" + "ab"


def test_what_warms_up_does_not_count() -> None:
    clock = Clock()
    jobs = [clock.job("a", 9, 0.001, 0.003, 0.002), clock.job("b", 9, 0.004)]
    laps = run_in_turns(jobs, repeats=3, warmup=1, clock=clock)
    np.testing.assert_allclose(laps.ms, [[1, 4], [3, 4], [2, 4]])
    assert laps.median_ms == pytest.approx((2, 4))


def test_what_slows_a_whole_round_leaves_the_ratio() -> None:
    laps = Laps(np.array([[2.0, 1.0], [200.0, 100.0], [4.0, 2.0]]))
    ratio = laps.ratio(1, 0)
    assert (ratio.median, ratio.low, ratio.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("count", "low", "high"), [(1, 0, 0), (5, 0, 4), (101, 40, 60)])
def test_a_ratio_says_how_sure_it_is(count: int, low: int, high: int) -> None:
    """Of 101 rounds 50.5 +- 9.8 are below the median: the 41st and the 61st hold it."""
    rounds = [[1.0, float(place)] for place in np.random.default_rng(0).permutation(count)]
    ratio = Laps(np.array(rounds)).ratio(1, 0)
    assert (ratio.median, ratio.low, ratio.high) == ((count - 1) / 2, low, high)


def test_the_confidence_is_what_it_is_said_to_be() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        laps = Laps(np.stack([np.ones(60), np.exp(rng.normal(0, 0.5, 60))], axis=1))
        ratio = laps.ratio(1, 0)
        hits += ratio.low <= 1 <= ratio.high
    assert 0.92 < hits / 400 < 0.99


def test_more_than_two_follow_each_other_and_themselves_alike() -> None:
    """There and back the middle one would never follow itself, the others every second time."""
    clock = Clock()
    run_in_turns([clock.job(name, 1) for name in "abc"], repeats=300, warmup=0, clock=clock)
    pairs = Counter(zip(clock.done, clock.done[1:], strict=False))
    assert all(pairs[name, name] / 300 == pytest.approx(1 / 9, abs=0.05) for name in "abc")
    assert all(clock.done.count(name) == 300 for name in "abc")
