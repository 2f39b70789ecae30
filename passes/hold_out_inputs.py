"""hold-out-inputs: set calibration inputs aside, so that what is fitted is not what decides."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from eapc.errors import UsageError
from eapc.pipeline import Compilation, Pass


@dataclass(frozen=True)
class HoldOutInputs(Pass):
    """Leave evenly spaced calibration inputs out of everything that follows."""

    name: ClassVar[str] = "hold-out-inputs"

    fraction: float = field(default=0.2, metadata={"help": "share of the inputs to leave out"})

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 0.5:
            raise UsageError(f"hold-out-inputs: fraction must be in (0, 0.5], got {self.fraction}")

    @property
    def needs_calibration(self) -> bool:
        """There must be inputs to set aside."""
        return True

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with the other inputs only."""
        if compilation.calibration is None:
            raise UsageError("needs calibration data")
        kept, _ = compilation.calibration.split(self.fraction)
        return replace(compilation, calibration=kept)
