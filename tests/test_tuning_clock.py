"""The time of training: what fits in, by hand, and that no run takes much more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pruning_builders import halved, residual

from eapc.tuning import Options, tune
from eapc.tuning.clock import Clock, Timetable
from eapc.tuning.training import Run


class Watch:
    """A time that goes on by what is asked of it."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def step(self, seconds: float) -> Callable[[], None]:
        def pass_by() -> None:
            self.seconds += seconds

        return pass_by


def test_seconds_are_counted_from_the_start_and_those_before_it() -> None:
    watch = Watch()
    clock = Clock(1.0, watch)
    clock.earlier = 20
    watch.seconds += 10
    assert (clock.spent, clock.left) == (30, 30)
    # 10 of 60 s were over when it began and 10 are for the end: 20 of the 40 between are over
    assert clock.share(10, 10) == 0.5
    assert clock.share(55, 10) == math.inf
    assert Clock(math.inf, watch).share(0, 10) == 0


def test_the_first_step_warms_up_and_few_are_timed() -> None:
    watch = Watch()
    steps = [watch.step(seconds) for seconds in (5, 1, 2, 3, 1, 1, 1, 1, 50)]
    assert Clock(60, watch).timed(steps) == 1
    # a tenth of 60 s is over after two
    assert Clock(1, watch).timed([watch.step(4), watch.step(3), watch.step(9)]) == 3
    assert Clock(0.1, watch).timed([watch.step(4)] * 3) == 4


@pytest.mark.parametrize(
    ("minutes", "fits"),
    [
        (2.0, Timetable(5, 10)),  # 120 s of 22 s each
        (math.inf, Timetable(30, 10)),
        (0.2, Timetable(1, 5)),  # 12 s, of which judging takes 2
        (0.01, Timetable(1, 1)),
    ],
)
def test_what_fits_in(minutes: float, fits: Timetable) -> None:
    assert Clock(minutes, Watch()).schedule(30, steps=10, step=2, judging=2) == fits


def test_a_run_takes_its_minutes_whatever_an_epoch_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that wait for 50 ms: two seconds would be 40 steps, of a hundred epochs of four."""
    net, batches = residual(), Run._batches
    tune(halved(net), net.model, net.data, Options(epochs=1), threads=1)  # imports what it takes

    def slowly(run: Run, rng: np.random.Generator):  # type: ignore[no-untyped-def]
        for batch in batches(run, rng):
            time.sleep(0.05)
            yield batch

    monkeypatch.setattr(Run, "_batches", slowly)
    options = Options(epochs=100, batch=8, augment="none")
    seconds = {}
    for minutes in (0.004, 0.03):
        start = time.perf_counter()
        found = tune(halved(net), net.model, net.data, replace(options, minutes=minutes), threads=1)
        seconds[minutes] = time.perf_counter() - start
        assert len(found.epochs) <= found.planned < 100
    assert seconds[0.004] < 0.24 + 1  # one epoch of four, which judging ends, takes 0.2 s
    assert seconds[0.03] < 1.8 + 1
