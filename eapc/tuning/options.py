"""What may be chosen about fine-tuning."""

from __future__ import annotations

import math
from dataclasses import dataclass

from eapc.errors import UsageError
from eapc.tuning.augmentation import KINDS

BATCH_NORM = ("trained", "frozen")


@dataclass(frozen=True)
class Options:
    """How a network is fine-tuned.

    `epochs` are passes over the data, of which fewer are made where they would take more than
    `minutes`. `learning_rate` is the share of its tensor's size that a step may change a weight
    by, 0 the usual one. With `labels` answers are held to the data's labels in place of the
    original's outputs. `batch_norm` says whether the scale and
    shift of BatchNormalization follow; its statistics stay those of the file.
    """

    epochs: int = 30
    minutes: float = math.inf
    batch: int = 64
    learning_rate: float = 0.0
    augment: str = "auto"
    batch_norm: str = "trained"
    labels: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UsageError(f"epochs: expected 1 or more, got {self.epochs}")
        if not self.minutes > 0:
            raise UsageError(f"minutes: expected more than 0, got {self.minutes:g}")
        if self.batch < 1:
            raise UsageError(f"batch: expected 1 or more, got {self.batch}")
        if not 0 <= self.learning_rate < math.inf:
            raise UsageError(f"learning_rate: expected 0 or more, got {self.learning_rate:g}")
        if self.augment not in KINDS:
            raise UsageError(f"augment: expected one of {', '.join(KINDS)}, got {self.augment}")
        if self.batch_norm not in BATCH_NORM:
            raise UsageError(f"batch_norm: expected trained or frozen, got {self.batch_norm}")
