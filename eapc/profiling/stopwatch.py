"""Times of several things that are run in turns, so that whatever slows one slows all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Clock = Callable[[], float]

_DEVIATIONS = 1.96
"""Of a normal distribution, for 95 %."""


@dataclass(frozen=True)
class Ratio:
    """How much longer one thing takes than another: the median over rounds.

    `low` and `high` hold it between them with 95 % confidence, as far as rounds are independent.
    """

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Laps:
    """Milliseconds (rounds, things): in each round everything has run once."""

    ms: NDArray[np.float64]

    @property
    def median_ms(self) -> tuple[float, ...]:
        """Each thing's median over the rounds."""
        return tuple(float(median) for median in np.median(self.ms, axis=0))

    def ratio(self, thing: int, base: int) -> Ratio:
        """Of two things within each round: what slows a whole round cancels out.

        How many of n values are below the true median is binomial, about normal: n / 2 on
        average, sqrt(n) / 2 its deviation.
        """
        ratios = np.sort(self.ms[:, thing] / self.ms[:, base])
        rounds = len(ratios)
        first = max(0, int((rounds - _DEVIATIONS * math.sqrt(rounds)) / 2))
        return Ratio(float(np.median(ratios)), float(ratios[first]), float(ratios[-1 - first]))


def run_in_turns(
    runs: Sequence[Callable[[], object]],
    repeats: int,
    warmup: int = 3,
    clock: Clock = time.perf_counter,
) -> Laps:
    """Run everything once in each of `repeats` rounds, after `warmup` rounds that do not count.

    Every second round goes backwards, so that nothing always comes first.
    """
    order = list(enumerate(runs))
    ms = np.zeros((repeats, len(order)))
    for turn in range(-warmup, repeats):
        for place, run in order if turn % 2 == 0 else reversed(order):
            start = clock()
            run()
            if turn >= 0:
                ms[turn, place] = (clock() - start) * 1e3
    return Laps(ms)
