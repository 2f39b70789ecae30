"""set-widths: price what follows at the widths that are to be written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from eapc.energy import GivenBits
from eapc.pipeline import Compilation, Pass, shapes_of
from eapc.quantization import require_width, widths_to_write


@dataclass(frozen=True)
class SetWidths(Pass):
    """Price what follows at the widths that quantize will write, until it has written them."""

    name: ClassVar[str] = "set-widths"

    bits: int = field(default=8, metadata={"help": "width of weights and activations"})

    def __post_init__(self) -> None:
        require_width(self.bits)

    def run(self, compilation: Compilation) -> Compilation:
        """The same model, its energy unknown: curves of other widths are dropped."""
        model, shapes = compilation.model, shapes_of(compilation)[0]
        bits = widths_to_write(model, shapes, GivenBits(self.bits, self.bits))
        conditions = replace(compilation.conditions, bits=bits)
        priced_anew = replace(compilation, conditions=conditions, energy=None)
        return priced_anew.with_record(curves=None, channel_plan=None)
