"""Networks opened to be run in turns on the same inputs, and for how many rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from eapc.data import Dataset
from eapc.hardware import Metered
from eapc.model import Model
from eapc.profiling import Meter, Ratio, meter_in_turns, run_in_turns
from eapc.runtime import open_model

_ROUNDS = (20, 1000)
_SECONDS = 2.0
"""Rounds of a latency: as many as take this long, within bounds."""

ONE_THREAD = 1
"""Unless asked otherwise: more wait for each other, and for whatever else the computer does."""


@dataclass(frozen=True)
class RuntimeLatency:
    """What onnxruntime took on this computer: medians over rounds that run both in turns.

    Milliseconds are per inference, that is of a run over its `batch`. `ratio` is that of after
    to before within a round.
    """

    before_ms: float
    after_ms: float
    ratio: Ratio
    batch: int
    threads: int
    repeats: int


@dataclass(frozen=True)
class RuntimeEnergy:
    """What onnxruntime took on this computer by its meter, above idling: medians over windows.

    Joules are per inference. `ratio` is that of after to before within a round, None where before
    may have taken nothing above `idle_w`. Each window of a model lasts `window_s` seconds or
    longer; its runs are of `batch` inferences.
    """

    meter: str
    before_j: Metered
    after_j: Metered
    ratio: Ratio | None
    idle_w: Metered
    batch: int
    threads: int
    rounds: int
    window_s: float


@dataclass(frozen=True)
class Turns:
    """Models, opened: a run of each is of `batch` inferences."""

    runs: tuple[Callable[[], object], ...]
    batch: int
    threads: int

    def rounds(self, times: int = 1) -> int:
        """How many rounds there is time for, or so many times as many."""
        fewest, most = _ROUNDS
        round_ms = sum(run_in_turns(self.runs, 1).median_ms)
        return times * min(most, max(fewest, int(1e3 * _SECONDS / max(round_ms, 1e-3))))

    def latencies(self, repeats: int | None) -> list[RuntimeLatency]:
        """Of the first model and each of the others, in as many rounds as asked."""
        rounds = repeats or self.rounds()
        laps = run_in_turns(self.runs, rounds)
        first, *others = (ms / self.batch for ms in laps.median_ms)
        return [
            RuntimeLatency(first, ms, laps.ratio(place, 0), self.batch, self.threads, rounds)
            for place, ms in enumerate(others, 1)
        ]

    def energies(self, meter: Meter) -> list[RuntimeEnergy]:
        """Of the first model and each of the others."""
        log = meter_in_turns(meter, self.runs)
        return [
            RuntimeEnergy(
                meter=log.meter,
                before_j=log.run_j(0).times(1 / self.batch),
                after_j=log.run_j(place).times(1 / self.batch),
                ratio=log.ratio(place, 0),
                idle_w=log.idle_w,
                batch=self.batch,
                threads=self.threads,
                rounds=len(log.busy),
                window_s=log.window_s,
            )
            for place in range(1, len(self.runs))
        ]


def turns_of(models: Sequence[Model], data: Dataset, batch: int, threads: int) -> Turns:
    """Models to be run on the first inputs of a dataset, as many as a batch has."""
    batch = data.fixed_batch or batch
    feed = next(data.take(np.arange(batch) % len(data)).batches(batch))
    runs = tuple(partial(open_model(model, threads).run, feed) for model in models)
    return Turns(runs, batch, threads)
