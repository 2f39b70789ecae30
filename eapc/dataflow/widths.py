"""Operands narrower or wider than the machine's word."""

from __future__ import annotations

import math
from dataclasses import replace

from eapc.dataflow.execution import Execution
from eapc.hardware import HardwareModel
from eapc.workload import StreamWorkload, Workload


def at_widths(execution: Execution, workload: Workload, hardware: HardwareModel) -> Execution:
    """An execution in full words, turned into that of operands of the workload's widths.

    Accesses scale with an operand's bits over those of a word. Psums keep a full word, or the
    ofmap's width if that is more; finished ofmap words, which the outermost memory and the home
    of feature maps hold, have the ofmap's own. A multiplier's energy goes with the product of
    its operands' widths, so a MAC costs that of their geometric mean.
    """
    word, bits = hardware.word_bits, workload.bits
    weights, ifmap, ofmap = ((own or word) / word for own in (bits.weights, bits.ifmap, bits.ofmap))
    finished = {hardware.machine.route("ofmap")[0], hardware.machine.resident_level}
    if isinstance(workload, StreamWorkload):
        finished |= set(hardware.memories)
    accesses = {
        level: words.scaled(weights, ifmap, ofmap if level in finished else max(1.0, ofmap))
        for level, words in execution.accesses.items()
    }
    return replace(execution, accesses=accesses, mac_bits=word * math.sqrt(weights * ifmap))


def mac_energy(bits: float | None, hardware: HardwareModel) -> float:
    """Energy of a MAC at some width, in MAC units.

    Below the narrowest width that the machine's file prices, that one's: operands are extended.
    HardwareError above the widest.
    """
    if bits is None:
        return hardware.mac_energy_mac_units
    narrowest = min({hardware.word_bits, *hardware.mac_energy_mac_units_by_bits})
    return hardware.mac_energy(max(bits, narrowest))
