"""quantize: weights and activations as integers, in a file that runtimes fuse."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from eapc.energy import GivenBits
from eapc.errors import UsageError
from eapc.pipeline import Compilation, Pass
from eapc.quantization import quantize, require_width


@dataclass(frozen=True)
class Quantize(Pass):
    """Write weights and activations as 8-bit integers: QuantizeLinear, DequantizeLinear."""

    name: ClassVar[str] = "quantize"

    bits: int = field(default=8, metadata={"help": "width of weights and activations"})

    def __post_init__(self) -> None:
        require_width(self.bits)

    @property
    def needs_calibration(self) -> bool:
        """Ranges of activations are told by inputs."""
        return True

    def run(self, compilation: Compilation) -> Compilation:
        """The quantized network; a note says what onnxruntime makes of it."""
        data = compilation.calibration
        if data is None:
            raise UsageError("needs calibration data")
        done = quantize(compilation.model, data, self.bits, compilation.conditions.engine)
        notes = (*compilation.record.notes, str(done.fusion))
        conditions = replace(compilation.conditions, bits=GivenBits())  # the file tells them now
        result = replace(compilation, conditions=conditions)
        return result.with_model(done.model).with_record(notes=notes)
