"""Networks opened to be run in turns on the same inputs, and for how many rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from eapc.data import Dataset
from eapc.model import Model
from eapc.profiling import run_in_turns
from eapc.runtime import open_model

_ROUNDS = (20, 1000)
_SECONDS = 2.0
"""Rounds of a latency: as many as take this long, within bounds."""

ONE_THREAD = 1
"""Unless asked otherwise: more wait for each other, and for whatever else the computer does."""


@dataclass(frozen=True)
class Turns:
    """Models, opened: a run of each is of `batch` inferences."""

    runs: tuple[Callable[[], object], ...]
    batch: int
    threads: int

    def rounds(self) -> int:
        """How many rounds there is time for."""
        fewest, most = _ROUNDS
        round_ms = sum(run_in_turns(self.runs, 1).median_ms)
        return min(most, max(fewest, int(1e3 * _SECONDS / max(round_ms, 1e-3))))


def turns_of(models: Sequence[Model], data: Dataset, batch: int, threads: int) -> Turns:
    """Models to be run on the first inputs of a dataset, as many as a batch has."""
    batch = data.fixed_batch or batch
    feed = next(data.take(np.arange(batch) % len(data)).batches(batch))
    runs = tuple(partial(open_model(model, threads).run, feed) for model in models)
    return Turns(runs, batch, threads)
