"""What every dataflow starts from and returns: widths of operands, accesses, an execution.

Memories sized in bytes hold, and ports and networks pass, as many operands as their bits allow.
A register counted in words holds one operand, however narrow; a wider one takes several.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from eapc.dataflow.integers import ceil_div
from eapc.errors import EapcError
from eapc.hardware import HardwareModel, MachineSection, ZeroSkipping
from eapc.workload import BitWidths, ConvWorkload, OperandDensities, StreamWorkload

Value = TypeVar("Value")


class MappingError(EapcError):
    """The machine has no room for even the smallest piece of a workload, or for a pinned mapping.

    Whoever estimates a whole model reports the node as unmodelled, with this text as the reason.
    """

    exit_code = 3


class PerOperand(NamedTuple, Generic[Value]):
    """Something of each operand; psums count as ofmap."""

    weights: Value
    ifmap: Value
    ofmap: Value


OPERANDS = PerOperand._fields


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


@dataclass(frozen=True)
class Accesses:
    """Words read or written at one memory level, by operand; psums count as ofmap."""

    weights: float = 0.0
    ifmap: float = 0.0
    ofmap: float = 0.0

    @property
    def total(self) -> float:
        """Words of all three operands."""
        return self.weights + self.ifmap + self.ofmap

    def scaled(self, weights: float, ifmap: float, ofmap: float) -> Accesses:
        """Each operand's words times a factor."""
        return Accesses(self.weights * weights, self.ifmap * ifmap, self.ofmap * ofmap)


class Tile(NamedTuple):
    """The piece of a layer that a memory level holds at a time, per group of the layer."""

    n_ifmaps: int
    e_ofmap_rows: int
    f_ofmap_columns: int
    m_filters: int
    c_channels: int


@dataclass(frozen=True)
class Execution:
    """The work and traffic of one workload (all its inferences together) on one machine.

    `accesses` maps a memory level to words, compressed ones counted at their compressed size;
    `executed_macs` are the MACs that the machine does not skip, `operations` those of a stream,
    `instructions` those that a processor issues for the MACs.
    `mac_bits` is the width that a MAC costs the energy of, None for the machine's word.
    `compute_mac_units` is the energy of all that is computed, where the dataflow sums it itself.
    `mapping` is how the dataflow has mapped the workload, in its own terms.
    `cycles` is None where the machine has no timing for the workload.
    """

    accesses: Mapping[str, Accesses]
    executed_macs: float = 0.0
    mac_bits: float | None = None
    operations: float = 0.0
    instructions: float = 0.0
    compute_mac_units: float | None = None
    mapping: object = None
    active_pes: int = 0
    cycles: float | None = None


@dataclass(frozen=True)
class Dataflow:
    """How layers run on a machine, entered under its name in `eapc.registry.DATAFLOWS`.

    `machine` is what the `machine` section of a file holds where its `dataflow` is that name.
    `execute` maps a workload and counts operands at the widths of `workload.bits`, accesses in
    machine words; MappingError where the machine has no room. `stream` does that for streams,
    without one they are as of `execute_stream`.
    """

    machine: type[MachineSection]
    execute: Callable[[ConvWorkload, HardwareModel], Execution]
    stream: Callable[[StreamWorkload, HardwareModel], Execution] | None = None


def dram_factors(densities: OperandDensities, hardware: HardwareModel) -> PerOperand[float]:
    """Accesses of the outermost memory per raw word of each operand."""
    code = hardware.compression
    return PerOperand(
        code.weights.ratio(densities.weights),
        code.ifmap.ratio(densities.ifmap),
        code.ofmap.ratio(densities.ofmap) * hardware.ofmap_dram_accesses_per_word,
    )


def accessing_macs(workload: ConvWorkload, zeros: ZeroSkipping) -> Accesses:
    """MACs in which each operand is accessed beside the arithmetic: the executed ones or all."""
    executed = executed_macs(workload, zeros)
    return Accesses(
        *(
            executed if operand in zeros.skip_register_file else float(workload.macs)
            for operand in OPERANDS
        )
    )


def transfer_cycles(accesses: Mapping[str, Accesses], hardware: HardwareModel) -> float:
    """Cycles that the slowest memory level needs for its accesses; 0 if none has a width."""
    return max(
        (
            accesses[name].total * hardware.word_bits / memory.bits_per_cycle
            for name, memory in hardware.memories.items()
            if memory.bits_per_cycle is not None and name in accesses
        ),
        default=0.0,
    )


def executed_macs(workload: ConvWorkload, zeros: ZeroSkipping) -> float:
    """MACs that the machine carries out: those whose watched operands are not zero.

    Padding is a zero of the ifmap.
    """
    if zeros.skip_mac == "none":
        return float(workload.macs)
    if zeros.skip_mac == "either":
        return workload.nonskipped_macs
    return workload.macs_on_ifmap
