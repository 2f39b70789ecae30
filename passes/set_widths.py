"""set-widths: price what follows at the widths that are to be written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from eapc.pipeline import Compilation, TypedWidths, shapes_of
from eapc.quantization import widths_to_write


@dataclass(frozen=True)
class SetWidths(TypedWidths):
    """Price what follows at the widths that quantize will write, until it has written them."""

    name: ClassVar[str] = "set-widths"

    def run(self, compilation: Compilation) -> Compilation:
        """The same model, its energy unknown: curves of other widths are dropped."""
        model, shapes = compilation.model, shapes_of(compilation)[0]
        bits = widths_to_write(model, shapes, self.bits(model))
        conditions = replace(compilation.conditions, bits=bits)
        priced_anew = replace(compilation, conditions=conditions, energy=None)
        return priced_anew.with_record(curves=None, channel_plan=None)
