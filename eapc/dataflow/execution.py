"""What running a workload on a machine comes to: the types that every dataflow returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eapc.errors import EapcError
from eapc.hardware_sections import ZeroSkipping
from eapc.workload import ConvWorkload


class MappingError(EapcError):
    """The machine has no room for even the smallest piece of a workload, or for a pinned mapping.

    Whoever estimates a whole model reports the node as unmodelled, with this text as the reason.
    """

    exit_code = 3


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


@dataclass(frozen=True)
class RowStationaryMapping:
    """A layer's place on a row-stationary array, in the letters of Chen et al. (JSSC 2017).

    The last three fields say how often a filter's rows, its columns and the ofmap's columns
    were divided beforehand because they exceed the machine.
    """

    m_filters_in_glb: int
    n_ifmaps_in_glb: int
    e_ofmap_rows: int
    p_filters_per_pe: int
    q_channels_per_pe: int
    r_channel_sets: int
    t_filter_sets: int
    passes_m: int
    passes_c: int
    strips: int
    batches: int
    filter_row_parts: int = 1
    filter_column_parts: int = 1
    ofmap_column_parts: int = 1


@dataclass(frozen=True)
class Execution:
    """The work and traffic of one workload (all its inferences together) on one machine.

    `accesses` maps a memory level to words, compressed ones counted at their compressed size;
    `executed_macs` are the MACs that the machine does not skip, `operations` those of a stream.
    `cycles` is None where the machine has no timing for the workload.
    """

    accesses: Mapping[str, Accesses]
    executed_macs: float = 0.0
    operations: float = 0.0
    mapping: RowStationaryMapping | None = None
    active_pes: int = 0
    cycles: float | None = None


def executed_macs(workload: ConvWorkload, zeros: ZeroSkipping) -> float:
    """MACs that the machine carries out: those whose watched operands are not zero.

    Padding is a zero of the ifmap; zeros of the two operands fall independently.
    """
    if zeros.skip_mac == "none":
        return float(workload.macs)
    if zeros.skip_mac == "either":
        return workload.nonskipped_macs
    return workload.macs * workload.unpadded_fraction * workload.densities.ifmap
