"""What fine-tuning comes to."""

from __future__ import annotations

from dataclasses import dataclass

from eapc.model import Model


@dataclass(frozen=True)
class Epoch:
    """What one pass over the data came to: mean loss on it, and on the inputs held out."""

    number: int
    loss: float
    held_out: float


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned model.

    `before` and `after` are the losses on the inputs held out: squared error relative to the
    original's variance, or cross-entropy by labels.
    """

    model: Model
    before: float
    after: float
    learning_rate: float
    augmentation: str
    epochs: tuple[Epoch, ...]
    planned: int
    samples: int
    held_out: int

    @property
    def changed(self) -> bool:
        """Whether some state was better than the first."""
        return self.after < self.before
