"""Operands narrower or wider than the machine's word: what they take, and what a MAC on them costs.

Memories sized in bytes hold, and ports and networks pass, as many operands as their bits allow.
A register counted in words holds one operand, however narrow; a wider one takes several.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from eapc.dataflow.integers import ceil_div
from eapc.hardware import HardwareModel
from eapc.workload import BitWidths


@dataclass(frozen=True)
class Widths:
    """Bits of a word of the machine, of each operand of a workload, and of a psum."""

    word: int
    weights: int
    ifmap: int
    ofmap: int
    psum: int

    @classmethod
    def of(cls, bits: BitWidths, word: int, psum: int) -> Widths:
        """A workload's widths; psums have the machine's, or the ofmap's if that is more."""
        ofmap = bits.ofmap or word
        return cls(word, bits.weights or word, bits.ifmap or word, ofmap, max(psum, ofmap))

    def words(self, operand: str) -> float:
        """Words of traffic that one `weights`, `ifmap`, `ofmap` or `psum` comes to."""
        bits: int = getattr(self, operand)
        return bits / self.word

    def registers(self, operand: str) -> int:
        """Words of a scratch pad that one operand takes: narrow ones are not packed."""
        return ceil_div(getattr(self, operand), self.word)


def mac_bits(bits: BitWidths, word: int) -> float | None:
    """Width that a MAC costs the energy of; None for operands of full words.

    A multiplier's energy goes with the product of its operands' widths, so it is their
    geometric mean.
    """
    if bits == BitWidths():
        return None
    return math.sqrt((bits.weights or word) * (bits.ifmap or word))


def mac_energy(bits: float | None, hardware: HardwareModel) -> float:
    """Energy of a MAC at some width, in MAC units.

    Below the narrowest width that the machine's file prices, that one's: operands are extended.
    HardwareError above the widest.
    """
    if bits is None:
        return hardware.mac_energy_mac_units
    narrowest = min({hardware.word_bits, *hardware.mac_energy_mac_units_by_bits})
    return hardware.mac_energy(max(bits, narrowest))
