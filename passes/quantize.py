"""quantize: weights and activations as integers, in a file that runtimes fuse."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from eapc.energy import GivenBits, require_known
from eapc.errors import UsageError
from eapc.pipeline import Compilation, TypedWidths
from eapc.quantization import quantize
from eapc.solvers import PATTERNS, parse_pattern


@dataclass(frozen=True)
class Quantize(TypedWidths):
    """Write weights and activations as integers of 2 to 8 bits, in QDQ form."""

    name: ClassVar[str] = "quantize"

    pattern: str = field(
        default="unstructured",
        metadata={"help": f"which zeros of 2 and 3 bits may change places: {', '.join(PATTERNS)}"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
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
        model, bits, record = compilation.model, self._bits(compilation), compilation.record
        require_known(bits, compilation.machine, model.constants.stored)
        done = quantize(
            *(model, data, bits, compilation.conditions.engine),
            reference=None if record.tuned else compilation.reference,
            pattern=self.pattern,
            progress=compilation.progress,
        )
        notes = [*record.notes, str(done.fusion)]
        if done.unused:
            notes.append(f"stay floats, so that their widths are not used: {_list(done.unused)}")
        conditions = replace(compilation.conditions, bits=GivenBits())  # the file tells them now
        result = replace(compilation, conditions=conditions)
        return result.with_model(done.model).with_record(notes=tuple(notes))

    def _bits(self, compilation: Compilation) -> GivenBits:
        """The widths that are given, else those that choose-widths has chosen of what is left."""
        chosen, model = compilation.record.widths, compilation.model
        if chosen is None or not self.is_open:
            return self.bits(model)
        nodes = model.view.main_nodes
        known = {name for node in nodes for name in (*node.inputs, *node.outputs)}
        left = tuple((name, bits) for name, bits in chosen.by_tensor if name in known)
        return replace(chosen, by_tensor=left)


_NAMED = 3


def _list(names: tuple[str, ...]) -> str:
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *more])
