"""How far a long run has come, told to whoever wants to know, and the seconds of its stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """`done` of a stage's `total` layers are finished and `layer` is being worked on.

    `error` is the relative output error of the layer finished last, where that is known;
    `layer` is empty at the end.
    """

    stage: str
    done: int
    total: int
    layer: str = ""
    error: float | None = None


Progress = Callable[[Step], None]


def silent(_: Step) -> None:
    """Tell nobody."""


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the time that a block takes to a stage's seconds."""
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
