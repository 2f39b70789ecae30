"""How far a long run has come, told to whoever wants to know, and the seconds of its stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """`done` of a stage's `total` layers are finished and `layer` is being worked on.

    `total` is None where nobody knows how much there is to do; `subject` is then what the stage is
    about, such as a file. `error` is the relative output
    error of the layer finished last, where that is known; `layer` is empty at the end. `trial` is
    the number of the trial that a search begins, 0 where it has found its answer.
    """

    stage: str
    done: int
    total: int | None
    layer: str = ""
    error: float | None = None
    trial: int | None = None
    subject: str = ""


Progress = Callable[[Step], None]


def silent(_: Step) -> None:
    """Tell nobody."""


def begin(progress: Progress, stage: str, subject: str = "", trial: int | None = None) -> None:
    """Tell that a stage has begun whose length nobody knows."""
    progress(Step(stage, 0, None, trial=trial, subject=subject))


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the time that a block takes to a stage's seconds."""
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
