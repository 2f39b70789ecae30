"""repair-outputs: move and scale channels until the original's outputs come back."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import ClassVar

from eapc.errors import UsageError
from eapc.pipeline import Compilation, Pass
from eapc.repair import repair

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RepairOutputs(Pass):
    """Move biases and scale channels, all layers at once, to the original's outputs."""

    name: ClassVar[str] = "repair-outputs"
    refits: ClassVar[bool] = True

    rounds: int = field(default=1, metadata={"help": "steps, each on other inputs"})

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise UsageError(f"rounds: expected 1 or more, got {self.rounds}")

    @property
    def needs_calibration(self) -> bool:
        """Steps are worked out from inputs."""
        return True

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with repaired outputs, or as it was where no round gains anything."""
        data = compilation.calibration
        if data is None:
            raise UsageError("needs calibration data")
        repaired = repair(
            compilation.model,
            compilation.reference,
            data,
            self.rounds,
            compilation.conditions.engine,
            kept=compilation.finished(self.name),
            progress=compilation.progress,
        )
        if not repaired.rounds:
            logger.warning("repair gained nothing: the network stays as it was")
        return compilation.with_model(repaired.model).with_record(repaired=repaired)
