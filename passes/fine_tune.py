"""fine-tune: train the whole network until the original's outputs come back."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from eapc.errors import UsageError
from eapc.model import Model
from eapc.pipeline import Compilation, Pass
from eapc.tuning import Options, require_trainable, tune

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FineTune(Pass):
    """Train all weights that are left by back-propagation; needs torch, eapc[finetune]."""

    name: ClassVar[str] = "fine-tune"
    refits: ClassVar[bool] = True

    epochs: int = field(default=30, metadata={"help": "passes over the inputs, at most"})
    minutes: float = field(default=math.inf, metadata={"help": "time that they may take"})
    batch: int = field(default=64, metadata={"help": "inputs of one step"})
    learning_rate: float = field(default=0.0, metadata={"help": "relative to weights; 0 is 0.025"})
    augment: str = field(
        default="auto",
        metadata={"help": "of images: auto, none, shift, flip or shift+flip"},
    )
    batch_norm: str = field(
        default="trained", metadata={"help": "scale and shift of normalisations: trained or frozen"}
    )
    labels: bool = field(default=False, metadata={"help": "learn y of the data, not the outputs"})

    def __post_init__(self) -> None:
        self._options(0)

    @property
    def needs_calibration(self) -> bool:
        """Training takes inputs."""
        return True

    def check(self, model: Model) -> None:
        """UsageError without torch, ModelError for operators that cannot be trained through."""
        require_trainable(model)

    def run(self, compilation: Compilation) -> Compilation:
        """The compilation with trained weights, or as it was where training gains nothing."""
        data = compilation.calibration
        if data is None:
            raise UsageError("needs calibration data")
        engine = compilation.conditions.engine
        tuned = tune(
            compilation.model,
            compilation.reference,
            data,
            self._options(engine.seed),
            threads=engine.threads,
            kept=compilation.finished(str(self)),
            progress=compilation.progress,
        )
        if not tuned.changed:
            logger.warning("fine-tuning gained nothing: the network stays as it was")
        return compilation.with_model(tuned.model).with_record(tuned=tuned)

    def _options(self, seed: int) -> Options:
        return Options(**asdict(self), seed=seed)
