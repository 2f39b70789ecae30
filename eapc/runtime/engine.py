"""What computations run with, whatever they compute."""

from __future__ import annotations

from typing import NamedTuple


class Engine(NamedTuple):
    """Threads of onnxruntime, 0 for all cores; the seed of what is drawn; and memory.

    `memory` bounds the activations that are kept in memory, in bytes; None leaves it to the
    machine. It decides nothing about results.
    """

    threads: int = 0
    seed: int = 0
    memory: int | None = None
