"""What repairing comes to."""

from __future__ import annotations

from dataclasses import dataclass

from eapc.model import Model


@dataclass(frozen=True)
class Repaired:
    """A repaired model.

    `errors` are those on the inputs held out, before the first round and after each that gained:
    squared error relative to the original's variance. `samples` could be fitted on.
    """

    model: Model
    errors: tuple[float, ...]
    planned: int
    samples: int
    held_out: int

    @property
    def before(self) -> float:
        """The error that there was."""
        return self.errors[0]

    @property
    def after(self) -> float:
        """The error that is left."""
        return self.errors[-1]

    @property
    def rounds(self) -> int:
        """How many rounds gained something."""
        return len(self.errors) - 1
