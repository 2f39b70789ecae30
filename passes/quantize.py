"""quantize: weights and activations as integers, in a file that runtimes fuse."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from eapc.errors import UsageError
from eapc.pipeline import Compilation, Pass
from eapc.quantization import quantize, require_weight_width, require_width
from eapc.solvers import PATTERNS, parse_pattern


@dataclass(frozen=True)
class Quantize(Pass):
    """Write weights and activations as 8-bit integers: QuantizeLinear, DequantizeLinear."""

    name: ClassVar[str] = "quantize"
    refits: ClassVar[bool] = True

    bits: int = field(default=8, metadata={"help": "width of weights and activations"})
    weight_bits: int = field(default=8, metadata={"help": "width of the weights' codes"})
    pattern: str = field(
        default="unstructured",
        metadata={"help": f"which zeros of 2 and 3 bits may change places: {', '.join(PATTERNS)}"},
    )

    def __post_init__(self) -> None:
        require_width(self.bits)
        require_weight_width(self.weight_bits)
        parse_pattern(self.pattern)

    @property
    def needs_calibration(self) -> bool:
        """Ranges of activations are told by inputs."""
        return True

    def run(self, compilation: Compilation) -> Compilation:
        """The quantized network; a note says what onnxruntime makes of it."""
        data = compilation.calibration
        if data is None:
            raise UsageError("needs calibration data")
        record = compilation.record
        done = quantize(
            *(compilation.model, data, self.bits, compilation.conditions.engine),
            weight_bits=self.weight_bits,
            reference=None if record.tuned else compilation.reference,
            pattern=self.pattern,
            progress=compilation.progress,
        )
        notes = (*compilation.record.notes, str(done.fusion))
        return compilation.with_model(done.model).with_record(notes=notes)
