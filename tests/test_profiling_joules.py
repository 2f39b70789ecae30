"""Joules by a meter: windows, idling, bounds, counters that begin anew or stand still."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from meter_builders import Bench, late_wrap, recorded

from eapc.errors import MeterError
from eapc.profiling import MeterLog, meter_in_turns
from eapc.profiling.joules import _Watch


def log_of(idle_w: list[float], *busy_j: list[float], runs: tuple[int, ...] = (1, 1)) -> MeterLog:
    """Windows of one second each."""
    idle = np.array([[watts, 1.0, 1.0] for watts in idle_w])
    busy = [
        np.array([[joules, 1.0, times] for joules in thing])
        for thing, times in zip(busy_j, runs, strict=False)
    ]
    return MeterLog("a bench", idle, np.stack(busy, axis=1))


# --- figures of windows ----------------------------------------------------------------------


def test_idling_is_taken_off() -> None:
    """(30 J - 10 W x 1 s) / 4 runs = 5 J each, at 20 W above idling; the other 2.5 J, a half."""
    log = log_of([10.0] * 10, [30.0] * 10, [20.0] * 10, runs=(4, 4))
    assert log.run_j(0).median == 5
    assert log.power_w(0).median == 20
    assert log.run_j(1).median == 2.5
    ratio = log.ratio(1, 0)
    assert ratio is not None
    assert (ratio.median, ratio.low, ratio.high) == (0.5, 0.5, 0.5)


def test_runs_of_two_things_need_not_be_as_many() -> None:
    """20 J in 4 runs against 10 J in 8: 1.25 J to 5 J."""
    ratio = log_of([10.0] * 10, [30.0] * 10, [20.0] * 10, runs=(4, 8)).ratio(1, 0)
    assert ratio is not None
    assert ratio.median == 0.25


def test_idling_that_drifts_widens_what_is_above_it() -> None:
    """10 W before and 12 W behind the rounds: 11 W, and 19 J is 18 J to 20 J."""
    log = log_of([10.0] * 5 + [12.0] * 5, [30.0] * 10)
    assert log.idle_w.model_dump() == {"median": 11, "low": 10, "high": 12}
    assert log.run_j(0).model_dump() == {"median": 19, "low": 18, "high": 20}
    assert log.power_w(0).model_dump() == {"median": 19, "low": 18, "high": 20}


def test_one_window_that_was_disturbed_decides_nothing() -> None:
    log = log_of([10.0] * 9 + [50.0], [30.0] * 9 + [300.0])
    assert log.idle_w.model_dump() == {"median": 10, "low": 10, "high": 10}
    assert log.run_j(0).model_dump() == {"median": 20, "low": 20, "high": 20}


def test_spreads_of_windows_and_of_idling_add_by_their_squares() -> None:
    """Windows leave 20 J open by 3 J, idling by 4 W for a second: together by 5 J."""
    windows = [27.0] * 3 + [30.0] * 4 + [33.0] * 3
    log = log_of([6.0] * 3 + [10.0] * 4 + [14.0] * 3, windows)
    assert log.run_j(0).model_dump() == {"median": 20, "low": 15, "high": 25}


def test_a_ratio_moves_with_the_idle_power() -> None:
    """20 J and 10 J above 10 W; 21 and 11 above 9 W, 19 and 9 above 11 W: 0.5, 0.524, 0.474."""
    ratio = log_of([9.0] * 3 + [10.0] * 4 + [11.0] * 3, [30.0] * 10, [20.0] * 10).ratio(1, 0)
    assert ratio is not None
    assert ratio.median == 0.5
    assert (ratio.low, ratio.high) == pytest.approx((9 / 19, 11 / 21))


def test_nothing_above_idling_has_no_ratio() -> None:
    log = log_of([9.0] * 3 + [10.0] * 4 + [11.0] * 3, [10.5] * 10, [20.0] * 10)
    assert log.run_j(0).low == -0.5
    assert log.ratio(1, 0) is None
    assert log.ratio(0, 1) is not None


def test_the_bounds_hold_what_they_are_said_to_hold() -> None:
    """200 machines that idle at 10 W, and things of 5 J and 4 J, all of it noisy."""
    rng = np.random.default_rng(0)
    joules = ratios = 0
    for _ in range(200):
        idle, more, less = (list(rng.normal(mean, 0.3, 10)) for mean in (10.0, 15.0, 14.0))
        log = log_of(idle, more, less)
        ratio = log.ratio(1, 0)
        assert ratio is not None
        joules += log.run_j(0).low <= 5 <= log.run_j(0).high
        ratios += ratio.low <= 0.8 <= ratio.high
    assert joules >= 190
    assert ratios >= 190


# --- windows ---------------------------------------------------------------------------------


def test_joules_of_a_machine_that_is_known() -> None:
    """10 ms at 20 W above idling are 0.2 J, 5 ms at 12 W are 0.06 J: 0.3 of it."""
    bench = Bench(idle_w=10.0)
    log = meter_in_turns(bench.meter(), [bench.job("a", 0.01, 20.0), bench.job("b", 0.005, 12.0)])
    assert log.busy.shape == (10, 2, 3)
    np.testing.assert_allclose(log.busy[:, :, 2], [[25, 50]] * 10, atol=1)
    assert log.window_s == pytest.approx(0.25)
    assert log.idle_w.median == pytest.approx(10)
    assert log.run_j(0).median == pytest.approx(0.2)
    assert log.run_j(1).median == pytest.approx(0.06)
    assert log.power_w(1).median == pytest.approx(12)
    ratio = log.ratio(1, 0)
    assert ratio is not None
    assert ratio.median == pytest.approx(0.3)


def test_every_second_round_goes_backwards() -> None:
    bench = Bench()
    meter_in_turns(bench.meter(), [bench.job("a", 0.5, 1.0), bench.job("b", 0.5, 1.0)])
    assert "".join(bench.done) == "abab" + "abba" * 5


def test_a_step_at_each_end_is_within_the_bounds() -> None:
    """A counter that moves each millisecond: at most a step of 30 mJ in 7.5 J either way."""
    bench = Bench(idle_w=10.0, period_s=0.001)
    log = meter_in_turns(bench.meter(), [bench.job("a", 0.0101, 20.0)])
    joules = log.run_j(0)
    assert joules.median == pytest.approx(0.202, rel=0.005)
    assert joules.low <= 0.202 * 1.005
    assert joules.high >= 0.202 * 0.995


@pytest.mark.parametrize(
    ("says_s", "moves_s", "window_s"),
    [(0.001, 0.001, 0.25), (0.1, 0.1, 5.0), (0.001, 0.02, 1.0), (0.1, 0.001, 5.0)],
)
def test_windows_follow_how_often_the_counter_moves(
    says_s: float, moves_s: float, window_s: float
) -> None:
    """At least 50 steps and 0.25 s; where the counter is slower than it says, as it is seen."""
    bench = Bench(period_s=moves_s)
    log = meter_in_turns(bench.meter(says_s), [bench.job("a", 0.01, 20.0)])
    assert log.window_s == pytest.approx(window_s, rel=0.03)
    assert log.busy[0, 0, 2] == pytest.approx(window_s / 0.01, rel=0.05)


def test_a_slow_meter_says_how_long_it_takes(caplog: pytest.LogCaptureFixture) -> None:
    """20 windows of 5 s and twice 2 s to settle are 104 s."""
    bench = Bench(period_s=0.1)
    with caplog.at_level(logging.WARNING):
        meter_in_turns(bench.meter(0.1), [bench.job("a", 0.01, 20.0)])
    assert "takes about 104 s" in caplog.text


# --- counters that begin anew ------------------------------------------------------------------


@pytest.mark.parametrize("notices_after_s", [0.0, 0.1, 0.7, 1.1])
@pytest.mark.parametrize("before_s", [0.1, 2.2, 3.0, 4.6, 6.0, 8.0])
def test_a_counter_that_begins_anew_changes_nothing(
    notices_after_s: float, before_s: float
) -> None:
    """At any time: while idling, in a window, between two; noticed at once or a second later."""
    shows = late_wrap(262_143.0 - 20.0 * before_s, notices_after_s)
    bench = Bench(idle_w=10.0, shows=shows)
    log = meter_in_turns(bench.meter(), [bench.job("a", 0.01, 20.0), bench.job("b", 0.005, 12.0)])
    assert bench.joules > 20.0 * before_s + 1
    for windows, watts in ((log.idle, 10), (log.busy[:, 0], 30), (log.busy[:, 1], 22)):
        np.testing.assert_allclose(windows[:, 0] / windows[:, 1], watts, rtol=1e-6)


def test_a_window_in_which_the_counter_went_back_is_taken_again() -> None:
    """As written down: 262,140 J, then 3 J; 4 J, and 3 s later 262,150 J; then 262,153.5 J."""
    record = recorded([262_140.0, 3.0, 4.0, 262_150.0, 262_153.5], ticks=[1.0, 2.0, 2.5, 3.25])
    assert _Watch(record).window(0.5, lambda: None) == (3.5, 0.75, 1)


def test_a_counter_that_was_reset_for_good_counts_from_there() -> None:
    record = recorded([500.0, 1.0, 2.0, 3.0, 4.5], ticks=[0.0, 1.0, 2.0, 3.0])
    assert _Watch(record).window(0.5, lambda: None) == (1.5, 1.0, 1)


def test_a_counter_that_only_falls_is_refused() -> None:
    record = recorded([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0], ticks=[*map(float, range(9))])
    with pytest.raises(MeterError, match="a record: the counter goes backwards again and again"):
        _Watch(record).window(0.5, lambda: None)


# --- counters that stand still -------------------------------------------------------------------


def test_a_counter_that_stands_still_is_refused() -> None:
    bench = Bench(shows=lambda _joules, _now: 8190.5)
    with pytest.raises(MeterError, match="a bench: the counter stood still for 1 s"):
        meter_in_turns(bench.meter(), [bench.job("a", 0.01, 20.0)])
    assert bench.done == []


def test_a_counter_that_stops_is_refused() -> None:
    bench = Bench(shows=lambda joules, _now: min(joules, 40.0))
    with pytest.raises(MeterError, match=r"stood still for 0\.2[56] s"):
        meter_in_turns(bench.meter(), [bench.job("a", 0.01, 20.0)])


def test_a_clock_that_is_quicker_than_the_counter_waits_for_it() -> None:
    """Twenty steps are waited for before a slow counter counts as standing."""
    bench = Bench(period_s=3.0)
    assert _Watch(bench.meter(1.0)).update_seconds() == pytest.approx(3.0)
