"""The time that training may take: how many steps fit in, and when it is over."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

TIMED_STEPS = 8
"""Steps by which it is told how many there is time for."""

_TIMED_SHARE = 0.1
"""Of the time left, what they may take at most; one step is timed in any case."""


@dataclass(frozen=True)
class Timetable:
    """Epochs that there is time for, and steps of each: fewer than all where not one fits in."""

    epochs: int
    steps: int


class Clock:
    """Counts from when it was made; `spent` seconds of `minutes` were before that."""

    def __init__(self, minutes: float, now: Callable[[], float] = time.perf_counter) -> None:
        self._seconds, self._now, self._start = 60 * minutes, now, now()
        self.earlier = 0.0

    @property
    def spent(self) -> float:
        """Seconds, those of runs that were killed included."""
        return self.earlier + self._now() - self._start

    @property
    def left(self) -> float:
        """Seconds that are left, infinity without a bound."""
        return self._seconds - self.spent

    def share(self, begun: float, reserved: float) -> float:
        """How much is over of what there was to train in, from `begun` seconds spent.

        What comes at the end takes `reserved` of it; 0 without a bound.
        """
        whole = self._seconds - reserved - begun
        if whole == math.inf:
            return 0.0
        return (self.spent - begun) / whole if whole > 0 else math.inf

    def timed(self, steps: Iterable[Callable[[], object]]) -> float:
        """Seconds of a step, the median of a few; the first warms up where there are more."""
        took: list[float] = []
        ends = self.spent + _TIMED_SHARE * self.left
        for step in steps:
            start = self._now()
            step()
            took.append(self._now() - start)
            if len(took) == TIMED_STEPS or self.spent > ends:
                break
        return statistics.median(took[1:] or took)

    def schedule(self, epochs: int, steps: int, step: float, judging: float) -> Timetable:
        """What fits in, of epochs of so many steps; both take seconds, judging once an epoch."""
        fitting = self.left / (steps * step + judging)
        if fitting >= 1:
            return Timetable(epochs if fitting >= epochs else int(fitting), steps)
        return Timetable(1, min(steps, max(1, int((self.left - judging) / step))))
