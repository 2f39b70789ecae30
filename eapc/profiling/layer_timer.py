"""The latency of a layer at some channel counts, by differences between probes.

The probe of a layer and the bare one run by turns, some runs each; the difference of their
quickest runs, over the number of copies, is the layer's latency. What a run costs by itself, and
the neighbours, drop out. Other programs only ever make a run longer: the least is what repeats.
There are so many copies that their data are as many as the network's, or as a core's share of the
caches: they come from the cache or memory that the network's come from.

Times of several things that are run in turns, so that whatever slows one slows all alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from eapc.errors import DataError, ModelError
from eapc.profiling.layer_kinds import NotTimedError, Sizing
from eapc.profiling.probe_models import ProbeMaker, inputs_handed, readers_of
from eapc.profiling.probe_neighbours import Handed, Probe
from eapc.runtime import Stopwatch

_TURNS = 3
_SOME_COPIES, _MOST_COPIES = 8, 32
_CACHE_BYTES = 1 << 25
"""Where some copies are less than what caches hold, more are made."""

_CARE = 3
_WARM_UP = 2
_LEAST_SECONDS = 0.01
"""Quick probes run more often, for about as long as making their sessions takes."""

_LOOK_SECONDS = 1.0
_MS = 1e3


@dataclass(frozen=True)
class Reading:
    """The least times of a layer's probes, and what the readers that only one has cost."""

    bare_ms: float
    whole_ms: float
    copies: int
    readers_ms: float

    def least(self, other: Reading | None) -> Reading:
        """This and another reading of the same layer as one: the least time of each probe."""
        if other is None:
            return self
        bare, whole = min(self.bare_ms, other.bare_ms), min(self.whole_ms, other.whole_ms)
        return replace(self, bare_ms=bare, whole_ms=whole)

    @property
    def layer_ms(self) -> float:
        """What one copy of the layer takes."""
        return max(0.0, (self.whole_ms - self.bare_ms) / self.copies - self.readers_ms)


@dataclass
class LayerTimer:
    """Times the layers of one model; `threads` as in onnxruntime, 0 for all cores.

    `footprint_bytes` is what the network's weights and feature maps take in its course.
    """

    maker: ProbeMaker
    threads: int
    repeats: int
    footprint_bytes: int
    _reader_ms: dict[Handed, float] = field(default_factory=dict)

    def overhead_ms(self) -> float:
        """What one run costs whatever the network."""
        return self._least([self.maker.empty()], self.repeats)[0]

    def calibrate(self, sizings: Sequence[Sizing]) -> None:
        """Find out what a probe's readers cost, where a first input handed on so is smallest.

        There a reader costs what its node does; elsewhere what it finds in the caches counts too.
        """
        for sizing in sorted(sizings, key=lambda sizing: sizing.bytes):
            handed = inputs_handed(sizing)[0]
            if handed not in self._reader_ms:
                probes = [self.maker.bare(sizing, _MOST_COPIES, readers) for readers in (1, 2)]
                one, two = self._least(probes, _CARE * self.repeats)
                self._reader_ms[handed] = max(0.0, (two - one) / _MOST_COPIES)

    def read(self, sizing: Sizing, repeats: int) -> Reading:
        """Time a layer once; NotTimedError where onnxruntime refuses its probe."""
        copies = self.copies_of(max(1, sizing.bytes))
        probes = [self.maker.bare(sizing, copies), self.maker.layer(sizing, copies)]
        try:
            bare, whole = self._least(probes, repeats)
        except (ModelError, DataError) as error:
            raise NotTimedError(str(error)) from error
        readers = sum(
            self._reader_ms.get(handed, 0.0) * count for handed, count in readers_of(sizing)
        )
        return Reading(bare, whole, copies, readers)

    def copies_of(self, size: int) -> int:
        """How many copies of a layer of so many bytes a probe has."""
        of_network, of_cache = -(-self.footprint_bytes // size), -(-_CACHE_BYTES // size)
        most = max(_SOME_COPIES, min(_MOST_COPIES, of_cache))
        return max(1, min(most, of_network))

    def _least(self, probes: Sequence[Probe], repeats: int) -> list[float]:
        """The least milliseconds of each probe, in turns of some runs; a first turn warms up."""
        watches = [Stopwatch(probe.model, probe.feed, self.threads) for probe in probes]
        slowest = max(min(watch.seconds(_WARM_UP)) for watch in watches)
        runs = math.ceil(max(repeats, _LEAST_SECONDS / slowest) / _TURNS)
        times = [math.inf] * len(watches)
        for _ in range(_TURNS):
            for place, watch in enumerate(watches):
                times[place] = min(times[place], *watch.seconds(runs))
        return [least * _MS for least in times]


class NetworkTimer:
    """Times a whole network again and again, in between its layers; without one, nothing."""

    def __init__(self, network: Probe | None, threads: int) -> None:
        self._watch = Stopwatch(network.model, network.feed, threads) if network else None
        self.least_ms: float | None = None

    def look(self, runs: int) -> None:
        """Run some more times, behind some runs that warm up."""
        if self._watch is None:
            return
        quickest = min(self._watch.seconds(_WARM_UP))
        found = min(self._watch.seconds(max(runs, math.ceil(_LOOK_SECONDS / quickest)))) * _MS
        self.least_ms = found if self.least_ms is None else min(found, self.least_ms)


# --- stopwatches ---------------------------------------------------------------------------------


Clock = Callable[[], float]

_PAIR = 2
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
        """Of two things within each round: what slows a whole round cancels out."""
        return Ratio(*middle_of(self.ms[:, thing] / self.ms[:, base]))


def middle_of(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The median of independent values, and two of them that hold the true one with 95 %.

    How many of n values are below the true median is binomial, about normal: n / 2 on average,
    sqrt(n) / 2 its deviation.
    """
    ordered, many = np.sort(values), len(values)
    first = max(0, int((many - _DEVIATIONS * math.sqrt(many)) / 2))
    return float(np.median(ordered)), float(ordered[first]), float(ordered[-1 - first])


def run_in_turns(
    runs: Sequence[Callable[[], object]],
    repeats: int,
    warmup: int = 3,
    clock: Clock = time.perf_counter,
) -> Laps:
    """Run everything once in each of `repeats` rounds, after `warmup` rounds that do not count.

    Of two every second round goes backwards, so that neither always comes first. More come in a
    drawn order: there and back, those at the ends would find the caches as they left them.
    """
    ms, rng = np.zeros((repeats, len(runs))), np.random.default_rng(0)
    for turn in range(-warmup, repeats):
        for place in _order(len(runs), turn, rng):
            start = clock()
            runs[place]()
            if turn >= 0:
                ms[turn, place] = (clock() - start) * 1e3
    return Laps(ms)


def _order(many: int, turn: int, rng: np.random.Generator) -> list[int]:
    """The order of things in a round."""
    if many > _PAIR:
        return [int(place) for place in rng.permutation(many)]
    return list(range(many))[:: 1 if turn % 2 == 0 else -1]
