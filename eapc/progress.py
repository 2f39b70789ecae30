"""How far a long pass has come, told to whoever wants to know."""

from __future__ import annotations

from collections.abc import Callable
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
