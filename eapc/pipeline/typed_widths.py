"""Widths as options of a pass: of all weights, of all activations, of single tensors."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from eapc.energy import GivenBits
from eapc.errors import UsageError
from eapc.model import Model
from eapc.pipeline.passes import Names, Pass
from eapc.quantization import require_widths


@dataclass(frozen=True)
class TypedWidths(Pass, ABC):
    """A pass whose options are widths."""

    weights: int | None = field(
        default=None, metadata={"help": "bits of weights, 2 to 8; 8 unless others are chosen"}
    )
    activations: int | None = field(
        default=None, metadata={"help": "bits of activations, 2 to 8; 8 unless others are chosen"}
    )
    tensors: Names = field(
        default=(), metadata={"help": "other bits of single tensors, globs: conv1.weight:4|relu*:6"}
    )

    def __post_init__(self) -> None:
        require_widths(GivenBits(self.weights, self.activations, tuple(map(_entry, self.tensors))))

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
        return GivenBits(self.weights or 8, self.activations or 8, tuple(found.items()))

    @property
    def is_open(self) -> bool:
        """Whether no width is given, so that those which were chosen before hold."""
        return self.weights is None and self.activations is None and not self.tensors


def _entry(text: str) -> tuple[str, int]:
    """`conv1.weight:4` as name and width; the name may have colons itself."""
    name, _, bits = text.rpartition(":")
    if not (name and bits.isdecimal()):
        raise UsageError(f"tensors: expected NAME:BITS, got '{text}'")
    return name, int(bits)
