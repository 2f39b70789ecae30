"""The output-blocks dataflow: accelerators that finish one block of the ofmap after another.

A block (rows x columns x filters) of the ofmap is summed up in accumulators while the blocks of
ifmap and weights that it needs are read [1]. MACs take it in micro-blocks of `unit_rows` x
`unit_columns` positions and `unit_filters` filters, each output with a dot product `unit_channels`
wide. A step gives every output of a micro-block 4 x `unit_channels` products, in 4 cycles:

    depth-first    32 channels of one tap            ceil(C / 32) R S steps
    part-kernel    8 channels of four taps           ceil(C / 8) ceil(R S / 4) steps, if fewer
    depthwise      four taps of the output's own channel, 1 of 8 lanes    ceil(R S / 4) steps

Operands of 16 bits halve the channels of a depth-first step and the taps of the others. The weights
of a step, padded to its 32, come from a decoder at `weights_per_cycle` and serve all positions of
the block. With p and m the micro-blocks of a block along positions and filters,

    computing = m steps max(4 p, 32 unit_filters / weights_per_cycle)
    leaving   = max(outputs cycles_per_output, filters cycles_per_scale)
    cycles    = blocks max(computing, leaving) + min(computing, leaving)

since a block is computed while the one before it is scaled and leaves. Blocks at the edges count
whole. A level with a width may take longer.

The block is that of the least energy in `sram`, then of the fewest cycles, among multiples of a
micro-block (and of `brick_channels`, where filters are divided) up to `block_rows` x
`block_columns` x `block_filters` for which two ifmap blocks and two of psums fit `buffer`, each
in steps of banks. Ifmap blocks are read whole, with what a stride skips, once per block of filters;
filters beyond `piece` x `piece` taps go in pieces, each with an ifmap block of its own.

    level    weights                                  ifmap              psums and ofmap
    flash    once                                     0                  0
    sram     once, and once per block of positions    as blocks ask      once
             if there are several
    buffer   0                                        read in + MACs /   2 w per output and step
                                                      filters in a unit

Groups run one by one. Streams: an output of operands that meet takes `cycles_per_meeting`; else an
operation takes `cycles_per_operation` and an output `cycles_per_output`, whichever is more. Copies
take the time of their words. What is fused into a layer, and scales of quantised tensors, are the
output stage's work and take none.

Limits: weights are counted raw, although the stream that is decoded is compressed; nothing is
fused across layers; latencies of memories and of commands are left out.

[1] Arm, ethos-u-vela 5.2.0 (Apache-2.0): architecture features and cycle estimates of Ethos-U55.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from eapc.dataflow.execution import (
    Accesses,
    Dataflow,
    Execution,
    MappingError,
    accessing_macs,
    executed_macs,
    transfer_cycles,
)
from eapc.dataflow.output_block_search import (
    BUFFER,
    FLASH,
    SRAM,
    BlockLayer,
    Blocks,
    OutputBlocksMachine,
    best_block,
    layer_of,
)
from eapc.dataflow.stream import execute_stream
from eapc.hardware import HardwareModel
from eapc.workload import ConvWorkload, StreamWorkload


@dataclass(frozen=True)
class BlockMapping:
    """A layer's blocks: rows, columns and filters of one, how many there are, steps of each.

    `order` is `depth-first`, `part-kernel` or `depthwise`.
    """

    rows: int
    columns: int
    filters: int
    blocks: int
    steps: int
    order: str


def execute_layer(workload: ConvWorkload, hardware: HardwareModel) -> Execution:
    """Accesses, executed MACs and cycles with the best block; MappingError without room for one."""
    machine = hardware.machine_as(OutputBlocksMachine)
    layer = layer_of(workload, hardware)
    block = best_block(layer, hardware)
    if block is None:
        raise MappingError(
            f"{hardware.name}: memories.buffer: no room for one micro-block of a layer with "
            f"{workload.filter_rows} x {workload.filter_columns} filters; give a larger size_bytes"
        )
    accesses = _accesses(layer, block, hardware)
    lanes = machine.unit_rows * machine.unit_columns * machine.unit_filters
    return Execution(
        accesses=accesses,
        executed_macs=executed_macs(workload, hardware.zeros),
        mapping=BlockMapping(
            rows=int(block.rows[0]),
            columns=int(block.columns[0]),
            filters=int(block.filters[0]),
            blocks=layer.passes * int(block.number[0]),
            steps=layer.steps,
            order=layer.order,
        ),
        active_pes=lanes * (1 if layer.depthwise else machine.unit_channels),
        cycles=max(layer.passes * float(block.cycles[0]), transfer_cycles(accesses, hardware)),
    )


def _accesses(layer: BlockLayer, block: Blocks, hardware: HardwareModel) -> dict[str, Accesses]:
    """Words at each level, of all groups."""
    work, widths = layer.workload, layer.widths
    ifmap = layer.passes * float(block.ifmap_words[0]) * widths.words("ifmap")
    weights = work.weight_words * widths.words("weights")
    again = float(block.positions[0]) if block.positions[0] > 1 else -1.0
    read = accessing_macs(work, hardware.zeros).ifmap * widths.words("ifmap")
    summed = 2 * work.ofmap_words * layer.steps * widths.words("psum")
    return {
        FLASH: Accesses(weights=weights),
        SRAM: Accesses(weights * (1 + again), ifmap, work.ofmap_words * widths.words("ofmap")),
        BUFFER: Accesses(0.0, ifmap + read / layer.sharing, summed),
    }


def execute_element_wise(workload: StreamWorkload, hardware: HardwareModel) -> Execution:
    """A stream's operations through the output stage, or the copy of its words."""
    machine = hardware.machine_as(OutputBlocksMachine)
    found = replace(execute_stream(workload, hardware), operations=float(workload.computing))
    if workload.requantises:
        return replace(found, accesses={}, operations=0.0, cycles=0.0)
    meet = workload.computing < workload.ifmap_words and workload.ifmap_words > (
        workload.ofmap_words
    )
    if not workload.operations or not workload.ofmap_words:
        busy = 0.0
    elif meet:
        busy = workload.ofmap_words * machine.cycles_per_meeting
    else:
        outputs = workload.ofmap_words * machine.cycles_per_output
        busy = max(workload.computing * machine.cycles_per_operation, outputs)
    return replace(found, cycles=max(busy, transfer_cycles(found.accesses, hardware)))


OUTPUT_BLOCKS = Dataflow(OutputBlocksMachine, execute_layer, execute_element_wise)
