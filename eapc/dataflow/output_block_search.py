"""The machines of `output_blocks`, and blocks of a layer for them; that file has the equations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eapc.dataflow.execution import Widths
from eapc.dataflow.integers import Flags, Floats, IntOrInts, Ints, ceil_div
from eapc.hardware import (
    Amount,
    Count,
    HardwareModel,
    MachineSection,
    Memories,
    Price,
    require_sizes,
)
from eapc.workload import ConvWorkload, reach

FLASH, SRAM, BUFFER = "flash", "sram", "buffer"
STEP_CYCLES = 4
"""Cycles of a step, and products that each lane of a dot product makes in it."""


class OutputBlocksMachine(MachineSection):
    """Dot products over micro-blocks of the ofmap, weights in flash, feature maps in SRAM.

    Banks of the `buffer` are given to ifmaps in multiples of `ifmap_banks`, to psums in multiples
    of `psum_banks`.
    """

    unit_rows: Count
    unit_columns: Count
    unit_filters: Count
    unit_channels: Count
    weights_per_cycle: Count
    psum_bits: Count
    block_rows: Count
    block_columns: Count
    block_filters: Count
    brick_channels: Count
    piece: Count
    ifmap_banks: Count
    psum_banks: Count
    cycles_per_output: Amount
    cycles_per_scale: Price
    cycles_per_meeting: Amount
    cycles_per_operation: Amount

    def check_memories(self, memories: Memories, word_bits: int) -> None:
        """Flash, SRAM and the buffer, all with a size; the buffer in banks."""
        self.require_levels(memories, (FLASH, SRAM, BUFFER))
        require_sizes(memories, (FLASH, SRAM, BUFFER), word_bits)
        if memories[BUFFER].bank_bytes is None:
            raise ValueError(f"memories.{BUFFER}.bank_bytes: ifmaps and psums are given banks")

    def route(self, operand: str) -> tuple[str, ...]:
        """Weights come from flash, feature maps from SRAM and back."""
        return (FLASH,) if operand == "weights" else (SRAM,)

    @property
    def homes(self) -> tuple[str, str]:
        """The whole network lies in flash and SRAM."""
        return FLASH, SRAM


class BlockLayer(NamedTuple):
    """A layer as the machine runs it: `passes` times a loop nest of one group.

    `images` of `rows` x `columns` positions and `filters`, each over `channels`; `depth` channels
    of the ifmap are in a block at a time (of a depthwise layer as many as filters). A word of the
    ifmap serves `sharing` filters when it is read.
    """

    workload: ConvWorkload
    widths: Widths
    passes: int
    images: int
    rows: int
    columns: int
    filters: int
    channels: int
    unit: tuple[int, int]
    order: str
    steps: int
    depth: int
    sharing: int

    @property
    def depthwise(self) -> bool:
        """Whether nothing is summed over channels."""
        return self.order == "depthwise"


class Blocks(NamedTuple):
    """Candidate blocks, arrays of one length, with what one group comes to under each.

    `number` of blocks, `positions` those along images, rows and columns; ifmap words read from
    SRAM; cycles.
    """

    rows: Ints
    columns: Ints
    filters: Ints
    number: Ints
    positions: Ints
    ifmap_words: Ints
    cycles: Floats

    def select(self, chosen: Flags | Ints) -> Blocks:
        """Some of the candidates."""
        return Blocks._make(axis[chosen] for axis in self)


def layer_of(workload: ConvWorkload, hardware: HardwareModel) -> BlockLayer:
    """How the machine takes a layer: depthwise as one, other groups one by one.

    The rows of a product, inferences of one position each, lie along a row of the ofmap. An ofmap
    of a single row has the micro-block's positions along it, too.
    """
    machine = hardware.machine_as(OutputBlocksMachine)
    widths = Widths.of(workload.bits, hardware.word_bits, machine.psum_bits)
    depthwise = workload.groups > 1 and workload.channels_per_group == 1
    images, columns = workload.batch, workload.ofmap_columns
    if workload.ofmap_rows == columns == 1:
        images, columns = 1, images
    unit = machine.unit_rows, machine.unit_columns
    if workload.ofmap_rows == workload.filter_rows == 1:
        unit = 1, machine.unit_rows * machine.unit_columns
    order, steps, depth = _order(workload, machine, widths, depthwise)
    return BlockLayer(
        workload,
        widths,
        passes=1 if depthwise else workload.groups,
        images=images,
        rows=workload.ofmap_rows,
        columns=columns,
        filters=workload.filters_per_group * (workload.groups if depthwise else 1),
        channels=workload.channels_per_group,
        unit=unit,
        order=order,
        steps=steps,
        depth=depth,
        sharing=1 if depthwise else machine.unit_filters,
    )


def _order(
    workload: ConvWorkload, machine: OutputBlocksMachine, widths: Widths, depthwise: bool
) -> tuple[str, int, int]:
    """The order of the products of an output, its steps, and channels of an ifmap block."""
    taps, channels = workload.filter_rows * workload.filter_columns, workload.channels_per_group
    at_once = max(1, STEP_CYCLES * widths.word // widths.ifmap)
    lanes = machine.unit_channels
    if depthwise:
        return "depthwise", ceil_div(taps, at_once), 1
    deep = ceil_div(channels, at_once * lanes) * taps
    part = ceil_div(channels, lanes) * ceil_div(taps, at_once)
    if part < deep:
        return "part-kernel", part, min(ceil_div(channels, lanes), 2) * lanes
    return "depth-first", deep, min(ceil_div(channels, lanes), at_once) * lanes


def best_block(layer: BlockLayer, hardware: HardwareModel) -> Blocks | None:
    """The block of least energy in SRAM, then of the fewest cycles; None where none fits."""
    machine = hardware.machine_as(OutputBlocksMachine)
    found = _candidates(layer, machine)
    found = found.select(_fits(layer, found, hardware))
    if not len(found.rows):
        return None
    read = found.ifmap_words * layer.widths.words("ifmap")
    own = layer.workload.weight_words / layer.passes * layer.widths.words("weights")
    again = np.where(found.positions > 1, found.positions, 0)
    return found.select(np.lexsort((found.cycles, read + own * again))[:1])


def _candidates(layer: BlockLayer, machine: OutputBlocksMachine) -> Blocks:
    """Every block of whole micro-blocks up to the machine's largest."""
    high, wide = layer.unit
    filters = _multiples(layer.filters, machine.unit_filters, machine.block_filters)
    filters = filters[(filters >= layer.filters) | (filters % machine.brick_channels == 0)]
    grid = np.meshgrid(
        _multiples(layer.rows, high, machine.block_rows),
        _multiples(layer.columns, wide, machine.block_columns),
        filters,
        indexing="ij",
    )
    e, f, m = (axis.ravel() for axis in grid)
    positions = layer.images * ceil_div(layer.rows, e) * ceil_div(layer.columns, f)
    along = ceil_div(layer.filters, m)
    return Blocks(
        e,
        f,
        m,
        number=positions * along,
        positions=positions,
        ifmap_words=_ifmap_words(layer, machine, e, f) * (1 if layer.depthwise else along),
        cycles=_cycles(layer, machine, e, f, m, positions * along),
    )


def _multiples(total: int, unit: int, most: int) -> Ints:
    """Multiples of a unit, up to the one that holds all, or to the most that a block may have."""
    largest = max(unit, min(ceil_div(total, unit) * unit, most))
    return np.arange(unit, largest + 1, unit, dtype=np.int64)


def _cycles(
    layer: BlockLayer, machine: OutputBlocksMachine, e: Ints, f: Ints, m: Ints, number: Ints
) -> Floats:
    """Cycles of all blocks of one group."""
    e, f = np.minimum(e, layer.rows), np.minimum(f, layer.columns)
    m = np.minimum(m, layer.filters)
    units = ceil_div(e, np.array(layer.unit[0])) * ceil_div(f, np.array(layer.unit[1]))
    weights = machine.unit_filters * STEP_CYCLES * machine.unit_channels
    decoded = ceil_div(weights, machine.weights_per_cycle)
    step = np.maximum(STEP_CYCLES * units, decoded)
    computing = ceil_div(m, np.array(machine.unit_filters)) * layer.steps * step
    leaving = m * np.maximum(e * f * machine.cycles_per_output, machine.cycles_per_scale)
    slower, faster = np.maximum(computing, leaving), np.minimum(computing, leaving)
    return np.asarray(number * slower + faster)


def _ifmap_words(layer: BlockLayer, machine: OutputBlocksMachine, e: Ints, f: Ints) -> Ints:
    """Ifmap words that all blocks of positions read, skipped and overlapping ones included."""
    work = layer.workload
    high, tall = _spans(work.filter_rows, work.dilation_rows, machine.piece)
    wide, broad = _spans(work.filter_columns, work.dilation_columns, machine.piece)
    rows = _read(layer.rows, e, work.stride_rows, high)
    columns = _read(layer.columns, f, work.stride_columns, wide)
    channels = work.groups if layer.depthwise else layer.channels
    return layer.images * channels * (tall * rows) * (broad * columns)


def _spans(taps: int, dilation: int, piece: int) -> tuple[int, int]:
    """Places that a piece of a filter spans, and pieces."""
    span = reach(1, taps, 1, dilation)
    return min(span, piece), ceil_div(span, piece)


def _read(total: int, part: Ints, stride: int, span: int) -> Ints:
    """Places of one axis that blocks of `part` outputs read, one after another."""
    others = ceil_div(total, part) - 1
    return others * _spanned(part, stride, span) + _spanned(total - others * part, stride, span)


def _spanned(outputs: IntOrInts, stride: int, span: int) -> IntOrInts:
    return (outputs - 1) * stride + span


def _fits(layer: BlockLayer, blocks: Blocks, hardware: HardwareModel) -> Flags:
    """Whether two ifmap blocks and two of psums have banks."""
    machine, work = hardware.machine_as(OutputBlocksMachine), layer.workload
    memory = hardware.memories[BUFFER]
    bank = 8 * (memory.bank_bytes or 1)
    high, _ = _spans(work.filter_rows, work.dilation_rows, machine.piece)
    wide, _ = _spans(work.filter_columns, work.dilation_columns, machine.piece)
    area = _spanned(blocks.rows, work.stride_rows, high) * _spanned(
        blocks.columns, work.stride_columns, wide
    )
    depth = blocks.filters if layer.depthwise else np.array(layer.depth)
    ifmap = _banks(area * depth * layer.widths.ifmap, bank, machine.ifmap_banks)
    outputs = blocks.rows * blocks.columns * blocks.filters
    psums = _banks(outputs * layer.widths.psum, bank, machine.psum_banks)
    return np.asarray(ifmap + psums <= memory.banks)


def _banks(bits: Ints, bank: int, step: int) -> Ints:
    """Banks of two buffers of so many bits, given out in steps."""
    return ceil_div(2 * ceil_div(bits, np.array(bank)), np.array(step)) * step
