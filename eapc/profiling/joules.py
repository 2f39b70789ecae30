"""Joules of what runs here, by a meter: long windows of runs, less what idling takes meanwhile.

A counter moves in steps. Each end of a window falls anywhere between two of them, so that a
window's joules are off by sqrt(1/6) = 0.41 steps (standard deviation): 0.8 % of 50 steps, 0.16 % of
the 250 that RAPL makes in the shortest window. Nothing is put right for that: it is part of what
windows differ by, as are other programs, and so of the bounds.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eapc.errors import MeterError
from eapc.hardware import Metered
from eapc.profiling.layer_timer import Ratio, middle_of
from eapc.profiling.meters import Meter

logger = logging.getLogger(__name__)

_LEAST_UPDATES = 50
_LEAST_SECONDS = 0.25
"""A window lasts that long, and as long as the counter takes to move so often."""

_ROUNDS = 10
"""The second and the ninth of ten values hold the true median with 97.9 % confidence."""

_IDLE_WINDOWS = 5
"""Before the rounds, and again behind them."""

_SETTLE_SECONDS = 2.0
"""Clocks fall and memories are freed before idling is measured."""

_CATCH_UP_SECONDS = 3.0
"""zeus looks once a second whether a counter has begun anew, and then adds its range."""

_TRIES = 3
_WARM_UP = 2
_MOVES = 4
_LONG_SECONDS = 60.0


@dataclass(frozen=True)
class MeterLog:
    """What a meter counted: joules, seconds and runs (the last axis) of every window.

    `idle` (windows, 3) has those in which nothing was run, `busy` (rounds, things, 3) the others.
    """

    meter: str
    idle: NDArray[np.float64]
    busy: NDArray[np.float64]

    @property
    def idle_w(self) -> Metered:
        """What the machine takes while nothing is run."""
        return _metered(*middle_of(self.idle[:, 0] / self.idle[:, 1]))

    @property
    def window_s(self) -> float:
        """The shortest window."""
        return float(min(self.idle[:, 1].min(), self.busy[:, :, 1].min()))

    def run_j(self, thing: int) -> Metered:
        """Joules of one run above idling."""
        return _metered(*self._bounded(lambda watts: self._per_run(thing, watts)))

    def power_w(self, thing: int) -> Metered:
        """Watts above idling while a thing runs."""
        joules, seconds = self.busy[:, thing, 0], self.busy[:, thing, 1]
        return _metered(*self._bounded(lambda watts: joules / seconds - watts))

    def ratio(self, thing: int, base: int) -> Ratio | None:
        """Of two things' joules within each round; None where the base's may be nothing."""
        if self.run_j(base).low <= 0 or self._per_run(base, self.idle_w.high).min() <= 0:
            return None
        return Ratio(
            *self._bounded(lambda watts: self._per_run(thing, watts) / self._per_run(base, watts))
        )

    def _per_run(self, thing: int, idle_w: float) -> NDArray[np.float64]:
        """Joules above so many watts that a run took in each of a thing's windows."""
        joules, seconds, runs = self.busy[:, thing].T
        above: NDArray[np.float64] = (joules - idle_w * seconds) / runs
        return above

    def _bounded(self, at: Callable[[float], NDArray[np.float64]]) -> tuple[float, float, float]:
        """The median over windows, and its bounds.

        How far the windows leave it open and how far the idle power does, which all windows
        share, are independent: their squares add.
        """
        idle = self.idle_w
        median, low, high = middle_of(at(idle.median))
        ends = [float(np.median(at(watts))) - median for watts in (idle.low, idle.high)]
        below, above = max(0.0, -min(ends)), max(0.0, *ends)
        down, up = math.hypot(median - low, below), math.hypot(high - median, above)
        return median, median - down, median + up


def _metered(median: float, low: float, high: float) -> Metered:
    return Metered(median=median, low=low, high=high)


def meter_in_turns(meter: Meter, things: Sequence[Callable[[], object]]) -> MeterLog:
    """Run things under a meter: idle windows, rounds of all in turns, idle windows again.

    Every second round goes backwards. Raises MeterError where the meter stands still.
    """
    watch = _Watch(meter)
    seconds = max(_LEAST_SECONDS, _LEAST_UPDATES * watch.update_seconds())
    whole = (2 * _IDLE_WINDOWS + _ROUNDS * len(things)) * seconds + 2 * _SETTLE_SECONDS
    if whole > _LONG_SECONDS:
        logger.warning(f"{meter.name}: moves so seldom that measuring takes about {whole:.0f} s")
    for thing in _WARM_UP * tuple(things):
        thing()
    idle = watch.idle_windows(seconds)
    busy = np.zeros((_ROUNDS, len(things), 3))
    for turn in range(_ROUNDS):
        for place in range(len(things))[:: 1 if turn % 2 == 0 else -1]:
            busy[turn, place] = watch.window(seconds, things[place])
    idle += watch.idle_windows(seconds)
    return MeterLog(meter.name, np.array(idle), busy)


@dataclass
class _Watch:
    """Reads a meter so that a counter which begins anew spoils nothing."""

    meter: Meter
    _last_j: float = -math.inf

    def update_seconds(self) -> float:
        """How often the counter moves, not less than the meter says."""
        meter = self.meter
        patience, moves = max(1.0, 20 * meter.period_s), [meter.clock()]
        seen = meter.read_j()
        while len(moves) < 1 + _MOVES:
            meter.sleep(meter.period_s / 4)
            now, reading = meter.clock(), meter.read_j()
            if reading != seen:
                moves.append(now)
                seen = reading
            elif now - moves[-1] > patience:
                raise self._standing(now - moves[-1])
            self._last_j = max(self._last_j, reading)
        return max(meter.period_s, float(np.median(np.diff(moves[1:]))))

    def idle_windows(self, seconds: float) -> list[tuple[float, float, int]]:
        """Windows in which nothing is run, once the machine has settled."""
        self.meter.sleep(_SETTLE_SECONDS)

        def idle() -> None:
            self.meter.sleep(seconds)

        return [self.window(seconds / 2, idle) for _ in range(_IDLE_WINDOWS)]

    def window(self, seconds: float, thing: Callable[[], object]) -> tuple[float, float, int]:
        """Joules, seconds and runs of a thing that is run for so many seconds, or a bit longer.

        Taken again where the counter began anew meanwhile.
        """
        for _ in range(_TRIES):
            first, start = self._reading(), self.meter.clock()
            spent, runs = 0.0, 0
            while spent < seconds:
                thing()
                spent, runs = self.meter.clock() - start, runs + 1
            last = self.meter.read_j()
            if last > first:
                self._last_j = last
                return last - first, spent, runs
            if last == first:
                raise self._standing(spent)
        raise MeterError(f"{self.meter.name}: the counter goes backwards again and again")

    def _reading(self) -> float:
        """The counter; later, where it lies below what it was: its library has to notice first."""
        reading = self.meter.read_j()
        if reading < self._last_j:
            self.meter.sleep(_CATCH_UP_SECONDS)
            reading = self.meter.read_j()
        self._last_j = reading
        return reading

    def _standing(self, seconds: float) -> MeterError:
        return MeterError(
            f"{self.meter.name}: the counter stood still for {seconds:.2g} s, so it measures "
            "nothing here; on a virtual machine it may be there without being fed"
        )
