"""quantize: weights and activations as integers, in a file that runtimes fuse."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import ClassVar

from eapc.energy import GivenBits, require_known
from eapc.errors import UsageError
from eapc.model import Model
from eapc.pipeline import Compilation, Names, Pass
from eapc.quantization import quantize, require_widths
from eapc.solvers import PATTERNS, parse_pattern


@dataclass(frozen=True)
class Quantize(Pass):
    """Write weights and activations as integers of 2 to 8 bits, in QDQ form."""

    name: ClassVar[str] = "quantize"
    refits: ClassVar[bool] = True

    weights: int = field(default=8, metadata={"help": "bits of weights, 2 to 8"})
    activations: int = field(default=8, metadata={"help": "bits of activations, 2 to 8"})
    tensors: Names = field(
        default=(), metadata={"help": "other bits of single tensors, globs: conv1.weight:4|relu*:6"}
    )
    pattern: str = field(
        default="unstructured",
        metadata={"help": f"which zeros of 2 and 3 bits may change places: {', '.join(PATTERNS)}"},
    )

    def __post_init__(self) -> None:
        require_widths(GivenBits(self.weights, self.activations, tuple(map(_entry, self.tensors))))
        parse_pattern(self.pattern)

    @property
    def needs_calibration(self) -> bool:
        """Ranges of activations are told by inputs."""
        return True

    def check(self, model: Model) -> None:
        """Raise UsageError for a name that no tensor of the model has."""
        self.bits(model)

    def bits(self, model: Model) -> GivenBits:
        """The widths by the names of a model's tensors; of one named twice the last."""
        nodes = model.view.main_nodes
        known = dict.fromkeys(name for node in nodes for name in (*node.inputs, *node.outputs))
        found: dict[str, int] = {}
        for pattern, width in map(_entry, self.tensors):
            named = [name for name in known if name == pattern or fnmatchcase(name, pattern)]
            if not named:
                raise UsageError(f"tensors: '{pattern}' is no tensor of the model")
            found |= dict.fromkeys(filter(None, named), width)
        return GivenBits(self.weights, self.activations, tuple(found.items()))

    def run(self, compilation: Compilation) -> Compilation:
        """The quantized network; a note says what onnxruntime makes of it."""
        data = compilation.calibration
        if data is None:
            raise UsageError("needs calibration data")
        model, bits, record = compilation.model, self.bits(compilation.model), compilation.record
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
        return compilation.with_model(done.model).with_record(notes=tuple(notes))


def _entry(text: str) -> tuple[str, int]:
    """`conv1.weight:4` as name and width; the name may have colons itself."""
    name, _, bits = text.rpartition(":")
    if not (name and bits.isdecimal()):
        raise UsageError(f"tensors: expected NAME:BITS, got '{text}'")
    return name, int(bits)


_NAMED = 3


def _list(names: tuple[str, ...]) -> str:
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *more])
