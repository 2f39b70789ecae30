"""Meters for tests: a machine that exists in numbers only, and one that counts processor time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from eapc.profiling import Meter

RANGE_J = 262_143.328850
"""What the counter of a package comes to before it begins anew, on many Intel processors."""


class Bench:
    """A machine of so many watts while it idles; time passes only by what is done.

    Its counter moves every `period_s`, and shows `shows(joules, now)`.
    """

    def __init__(
        self,
        idle_w: float = 10.0,
        period_s: float = 0.0,
        shows: Callable[[float, float], float] = lambda joules, _: joules,
    ) -> None:
        self.now = self.joules = self.watts = 0.0
        self.idle_w, self.period_s, self.shows = idle_w, period_s, shows
        self.done: list[str] = []

    def spend(self, seconds: float, above_w: float = 0.0) -> None:
        self.watts = self.idle_w + above_w
        self.now += seconds
        self.joules += self.watts * seconds

    def job(self, name: str, seconds: float, above_w: float) -> Callable[[], None]:
        """What takes so long, and so many watts above idling."""

        def run() -> None:
            self.done.append(name)
            self.spend(seconds, above_w)

        return run

    def read(self) -> float:
        """The joules at the counter's last step, in whole microjoules."""
        since = self.now % self.period_s if self.period_s else 0.0
        return self.shows(round(self.joules - self.watts * since, 6), self.now)

    def meter(self, period_s: float = 0.001) -> Meter:
        return Meter("a bench", period_s, self.read, lambda: self.now, self.spend)


def late_wrap(start_j: float, notices_after_s: float) -> Callable[[float, float], float]:
    """A counter near its range, whose library adds the range only some time after it began anew."""
    wrapped_at: list[float] = []

    def shows(joules: float, now: float) -> float:
        wraps, counted = divmod(start_j + joules, RANGE_J)
        while len(wrapped_at) < wraps:
            wrapped_at.append(now)
        return counted + RANGE_J * sum(now - at >= notices_after_s for at in wrapped_at)

    return shows


def recorded(readings: Sequence[float], ticks: Sequence[float] = (0.0,)) -> Meter:
    """A meter that gives what was written down, and then its last reading again; so its clock."""
    values, times, slept = _held(readings), _held(ticks), [0.0]

    def sleep(seconds: float) -> None:
        slept[0] += seconds

    return Meter("a record", 0.001, lambda: next(values), lambda: next(times) + slept[0], sleep)


def _held(values: Sequence[float]) -> Iterator[float]:
    yield from values
    while True:
        yield values[-1]


def of_this_process(idle_w: float = 5.0, above_w: float = 20.0) -> Meter:
    """Watts for each second, and more for each second of the processor: joules from thin air."""

    def read_j() -> float:
        return idle_w * time.perf_counter() + above_w * time.process_time()

    return Meter("a made-up meter", 1e-5, read_j, sleep=lambda s: time.sleep(min(s, 0.01)))
