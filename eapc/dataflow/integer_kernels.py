"""The integer-kernels dataflow: microcontrollers whose library runs one kernel after another.

A core that runs an 8-bit library does the same few things whatever the network, so that its time
is a sum [1, 2]. In MAC units, of which each takes `cycles_per_mac_unit`, a layer costs

    units = macs k + N M C/groups R S w + N M E F o + N l

with k by the kind of the kernel and the width of its operands, w for a weight word that is fetched
and unpacked (the price of a word of flash), o for an output (its loop, bias, requantisation, clamp
and store), l for a call.
A stream costs `operation_energy_mac_units` for each operation, and o for every word that it writes,
or reads where several operands meet, each in a scale of its own (fewer operations than words read);
one that computes nothing costs one operation for every word that it writes. Taking integers to
real numbers and back costs nothing of its own: o has it.

A microcontroller has one power while it computes, within a few per cent whatever the kernel [2]:
energy is power times time, and a MAC unit costs as much energy wherever it is spent. Feature maps
are read by the kernels, whose costs have it: a word of SRAM has no price of its own.

Filters whose weights are zeros, and channels that nobody reads, need not run: with `dead_channels:
skipped` their MACs, weights and outputs cost nothing.

Limits: the blocks of two or four filters in which kernels work are not seen, nor is a shallow
input that leaves a vector half empty, nor waiting on flash beyond what w has.

[1] Lai, L., Suda, N., Chandra, V., "CMSIS-NN: Efficient Neural Network Kernels for Arm Cortex-M
CPUs", 2018 (arXiv:1801.06601).
[2] Banbury, C., et al., "MLPerf Tiny Benchmark", NeurIPS 2021 Datasets and Benchmarks
(arXiv:2106.07597); its logs of rounds 0.7 to 1.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from eapc.dataflow.execution import (
    Accesses,
    Dataflow,
    Execution,
    Widths,
    dram_factors,
    executed_macs,
    mac_bits,
    mac_energy,
)
from eapc.dataflow.stream import execute_stream
from eapc.hardware import (
    Amount,
    HardwareModel,
    MachineSection,
    Memories,
    Price,
    Section,
    require_sizes,
)
from eapc.workload import ConvWorkload, StreamWorkload

FLASH, SRAM = "flash", "sram"


class KernelCosts(Section):
    """MAC units of one MAC, by the kind of the kernel that does it."""

    convolution: Amount
    pointwise: Amount
    depthwise: Amount
    fully_connected: Amount

    def of(self, workload: ConvWorkload) -> float:
        """Of the kernel that runs a layer."""
        cost: float = getattr(self, kernel_of(workload))
        return cost


Kernel = Literal["convolution", "pointwise", "depthwise", "fully_connected"]


def kernel_of(workload: ConvWorkload) -> Kernel:
    """The kind of a layer: a product of one position is fully connected."""
    if workload.groups > 1 and workload.channels_per_group == 1:
        return "depthwise"
    if workload.filter_rows * workload.filter_columns > 1:
        return "convolution"
    positions = workload.ofmap_rows * workload.ofmap_columns
    return "pointwise" if positions > 1 else "fully_connected"


class IntegerKernelsMachine(MachineSection):
    """One core and an 8-bit library: weights in flash, feature maps in SRAM.

    `cycles_per_mac_unit` is what a core and a library are told apart by; the other costs are
    multiples of it.
    """

    cycles_per_mac_unit: Amount
    mac_units_per_mac: KernelCosts
    mac_units_per_output: Price
    mac_units_per_call: Price
    dead_channels: Literal["skipped", "executed"] = "skipped"

    def check_memories(self, memories: Memories, word_bits: int) -> None:
        """Flash and SRAM, both with a size."""
        self.require_levels(memories, (FLASH, SRAM))
        self.refuse_banks(memories)
        require_sizes(memories, (FLASH, SRAM), word_bits)

    def route(self, operand: str) -> tuple[str, ...]:
        """Weights come from flash, feature maps from SRAM and back."""
        return (FLASH,) if operand == "weights" else (SRAM,)

    @property
    def cycles_of_mac_unit(self) -> float:
        """`cycles_per_mac_unit`."""
        return self.cycles_per_mac_unit

    @property
    def skips_dead_channels(self) -> bool:
        """Unless the file says `dead_channels: executed`."""
        return self.dead_channels == "skipped"

    @property
    def homes(self) -> tuple[str, str]:
        """The whole network lies in flash and SRAM."""
        return FLASH, SRAM


def execute_layer(workload: ConvWorkload, hardware: HardwareModel) -> Execution:
    """The sum of a layer's kernel, weights, outputs and calls; one inference after another.

    Raises HardwareError for operands wider than `mac_energy_mac_units_by_bits` knows.
    """
    machine, live = hardware.machine_as(IntegerKernelsMachine), workload.densities.live
    widths = Widths.of(workload.bits, hardware.word_bits, 4 * hardware.word_bits)
    width = mac_energy(mac_bits(workload.bits, hardware.word_bits), hardware)
    macs = min(executed_macs(workload, hardware.zeros), workload.macs * live.weights)
    weights = workload.batch * workload.weight_words * live.weights * widths.words("weights")
    outputs = workload.ofmap_words * live.filters
    factors = dram_factors(workload.densities, hardware)
    accesses = {
        FLASH: Accesses(weights=weights * factors.weights),
        SRAM: Accesses(ifmap=float(workload.ifmap_words), ofmap=outputs),
    }
    units = (
        macs * machine.mac_units_per_mac.of(workload) * width
        + outputs * machine.mac_units_per_output
        + workload.batch * machine.mac_units_per_call
    )
    found = Execution(accesses, executed_macs=macs, mapping=kernel_of(workload), active_pes=1)
    return _timed(found, units, hardware)


def execute_element_wise(workload: StreamWorkload, hardware: HardwareModel) -> Execution:
    """A stream's operations, and the words that are brought to another scale."""
    machine = hardware.machine_as(IntegerKernelsMachine)
    price = hardware.operation_energy_mac_units
    found = execute_stream(workload, hardware)
    if workload.requantises:
        return _timed(replace(found, accesses={}), 0.0, hardware)
    if workload.operations:
        units = workload.computing * price + _rescaled(workload) * machine.mac_units_per_output
    else:
        units = workload.ofmap_words * price
    return _timed(found, units, hardware)


def _rescaled(workload: StreamWorkload) -> int:
    """Words brought to another scale: all that are read where operands meet, else all written."""
    meet = workload.computing < workload.ifmap_words
    return max(workload.ifmap_words, workload.ofmap_words) if meet else workload.ofmap_words


def _timed(found: Execution, units: float, hardware: HardwareModel) -> Execution:
    """The execution with its computation in MAC units, and cycles for these and all accesses."""
    total = units + _moved_units(found.accesses, hardware)
    cycles = total * hardware.machine_as(IntegerKernelsMachine).cycles_per_mac_unit
    return replace(found, compute_mac_units=units, cycles=cycles)


def _moved_units(accesses: Mapping[str, Accesses], hardware: HardwareModel) -> float:
    return sum(
        words.total * hardware.memories[level].energy_mac_units_per_word
        for level, words in accesses.items()
    )


INTEGER_KERNELS = Dataflow(IntegerKernelsMachine, execute_layer, execute_element_wise)
