"""The systolic dataflow: a layer's tiling, accesses and cycles on an array of stepping MACs.

Per group a layer is a matrix product: K = C R S deep, M filters, P = N E F positions. The array
of `array_rows` x `array_columns` takes it in folds [1, 2]:

    weight-stationary: depth along rows, filters along columns; positions stream through
    output-stationary: positions along rows, filters along columns; depth streams through

Loops, slowest first: tiles of the buffer (p over positions, m over filters, or m before p; c over
channels innermost where a tile does not hold all of them), then filter folds, blocks of positions,
depth folds. A block is what the accumulators hold psums of for one filter fold (output-stationary:
`array_rows` positions). Counts, with F_k, F_m folds of depth and filters, T_p tiles of positions,
B blocks per tile, L = T_p B loads of each weight into the array (1 where it is weight-stationary,
m is the outer loop and one fold holds the depth of a tile of one filter fold), w = psum_bits /
word_bits:

    level          weights                      ifmap                   psum and ofmap
    dram           by the loops; streamed: L    by the loops            M P
    buffer         fill + M K L, if buffered    fill + P K F_m          2 M P, if buffered
    weight_buffer  fill + M K L, if separate    0                       0
    accumulators   0                            0                       2 M P F_k w; ofmap: 2 MACs w
    array          MACs + M K L                 MACs                    MACs w; ofmap: M P w

Weights, ifmap and ofmap count at their own bits over `word_bits`; a psum has at least the ofmap's.
Cycles by [2]: (2 rows + columns - 2 + T) per fold, T the words streamed through it; with
`overlapped` loading max(T, rows) per fold and the rest once. Rows and columns are those that the
layer takes, at most the array's. Levels with a width may take longer.

Groups run one by one: a depthwise layer has R S rows of one column at work. With `groups:
side_by_side` g = min(G, rows / K, columns / M) of them, rounded down, lie on rows and columns of
their own where buffers have room for their tiles at no more energy, and nothing is summed across
them: ceil(G / g) passes take the time of G, and a depthwise layer has g R S MACs at work.

A kept ifmap is in the buffer already (no fill), a kept ofmap is not read from it to leave (M P).
Ifmap words that a stride skips are not read.

Limits: a fold may straddle two channel tiles; last tiles count as whole ones in loads and cycles;
capacities are used whole; rows and columns beside groups that lie side by side idle. What zeros
spare is the machine's `zeros`: MACs and their accesses of `array` (and of output-stationary
accumulators), never cycles.

[1] Jouppi, N. P., et al., "In-Datacenter Performance Analysis of a Tensor Processing Unit",
ISCA 2017.
[2] Samajdar, A., et al., "A Systematic Methodology for Characterizing Scalability of DNN
Accelerators using SCALE-Sim", ISPASS 2020; "SCALE-Sim: Systolic CNN Accelerator Simulator",
arXiv:1811.02883, 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eapc.dataflow.execution import (
    Accesses,
    Dataflow,
    Execution,
    MappingError,
    PerOperand,
    Tile,
    accessing_macs,
    dram_factors,
    executed_macs,
    transfer_cycles,
)
from eapc.dataflow.integers import Floats
from eapc.dataflow.systolic_tiling import (
    Choices,
    SystolicLayer,
    SystolicMachine,
    block_positions,
    candidates,
    fitting,
    folded,
    side_by_side,
)
from eapc.hardware import HardwareModel
from eapc.workload import ConvWorkload

Levels = dict[str, PerOperand[Floats]]


@dataclass(frozen=True)
class SystolicMapping:
    """A layer's place on a systolic array.

    `tile` is what the buffer holds, `outer_loop` what its tiles are stepped through slowest
    (p: positions of the ofmap, m: filters). Folds are the array's fillings with one piece of the
    layer; `weight_loads` says how often each weight enters the array.
    """

    tile: Tile
    outer_loop: str
    depth_folds: int
    filter_folds: int
    weight_loads: int


def execute_systolic(workload: ConvWorkload, hardware: HardwareModel) -> Execution:
    """Accesses, executed MACs and cycles under the best tiling.

    The best is that of least energy, for the objective `throughput` of the least raw DRAM words;
    ties go to fewer weight loads, then to the larger tile. Raises MappingError where the buffers
    have no room for one position's ifmap and one fold of filters.
    """
    layer = folded(workload, hardware.machine_as(SystolicMachine), hardware.word_bits)
    if not block_positions(layer, hardware):
        raise MappingError(
            f"{hardware.name}: memories.accumulators: no room for one psum of "
            f"{layer.widths.psum} bits per column; give a larger size_bytes"
        )
    choices = candidates(layer, hardware)
    if not len(choices.n):
        raise MappingError(
            f"{hardware.name}: memories.buffer: no room for one position of a layer with "
            f"{workload.filter_rows} x {workload.filter_columns} filters and one fold of "
            "filters; give larger buffers"
        )
    words = access_words(layer, choices, hardware)
    cost = _cost(words, layer, hardware)
    order = np.lexsort((-choices.m, choices.loads, cost))
    beside = side_by_side(layer)
    if beside is not None:
        room = fitting(beside, choices, hardware) & (cost <= cost[order[0]])
        if room.any():
            layer, order = beside, order[room[order]]
    return _execution(layer, hardware, choices, words, int(order[0]))


def access_words(layer: SystolicLayer, choices: Choices, hardware: HardwareModel) -> Levels:
    """Raw words of weights, ifmap and ofmap at each level under each candidate, all groups."""
    work, machine, widths = layer.workload, layer.machine, layer.widths
    zero = np.zeros(len(choices.n))
    own_weights = work.weight_words * widths.words("weights")
    weights = own_weights * choices.weight_fetches
    ifmap = work.groups * widths.words("ifmap") * choices.ifmap_words
    ofmap = zero + work.ofmap_words * widths.words("ofmap")
    filled = weights + own_weights * choices.loads
    streamed = work.groups * layer.extents.positions * layer.extents.depth * widths.words("ifmap")
    levels = {
        "dram": PerOperand(weights, ifmap * (1 - work.kept.ifmap), ofmap * (1 - work.kept.ofmap)),
        "buffer": PerOperand(
            filled if machine.weight_path == "buffered" else zero,
            ifmap * (1 - work.kept.ifmap) + streamed * layer.filter_folds,
            ofmap * (2 - work.kept.ofmap) if machine.ofmap_path == "buffered" else zero,
        ),
        **_array_words(layer, choices, hardware),
    }
    if machine.weight_path == "separate":
        levels["weight_buffer"] = PerOperand(filled, zero, zero)
    return levels


def _array_words(layer: SystolicLayer, choices: Choices, hardware: HardwareModel) -> Levels:
    """Words at the accumulators and within the array."""
    work, widths = layer.workload, layer.widths
    psum = widths.words("psum")
    macs = accessing_macs(work, hardware.zeros)
    if layer.machine.stationary == "weights":
        summed, stepped = float(work.ofmap_words * layer.depth_folds), macs.ofmap
    else:
        summed, stepped = macs.ofmap, float(work.ofmap_words)
    zero = np.zeros(len(choices.n))
    weights = widths.words("weights") * (macs.weights + float(work.weight_words) * choices.loads)
    return {
        "accumulators": PerOperand(zero, zero, zero + 2 * psum * summed),
        "array": PerOperand(
            weights, zero + widths.words("ifmap") * macs.ifmap, zero + psum * stepped
        ),
    }


def _cost(words: Levels, layer: SystolicLayer, hardware: HardwareModel) -> Floats:
    """What the search minimises: energy, or raw DRAM words for the objective `throughput`."""
    if hardware.objective == "throughput":
        return sum(words["dram"], np.zeros(1))
    factors = dram_factors(layer.workload.densities, hardware)
    cost = np.zeros(1)
    for level, operands in words.items():
        price = hardware.memories[level].energy_mac_units_per_word
        for moved, factor in zip(operands, factors, strict=True):
            cost = cost + moved * (price * (factor if level == "dram" else 1.0))
    return cost


def _execution(
    layer: SystolicLayer,
    hardware: HardwareModel,
    choices: Choices,
    words: Levels,
    best: int,
) -> Execution:
    accesses = {
        level: Accesses(*(float(moved[best]) for moved in words[level]))
        for level in hardware.memories
    }
    factors = dram_factors(layer.workload.densities, hardware)
    accesses["dram"] = accesses["dram"].scaled(*factors)
    loads = int(choices.loads[best])
    return Execution(
        accesses=accesses,
        executed_macs=executed_macs(layer.workload, hardware.zeros),
        mapping=SystolicMapping(
            tile=Tile(*(int(axis[best]) for axis in choices[:5])),
            outer_loop="m" if choices.filters_outside[best] else "p",
            depth_folds=layer.depth_folds,
            filter_folds=layer.filter_folds,
            weight_loads=loads,
        ),
        active_pes=layer.rows * layer.columns // layer.together,
        cycles=max(_cycles(layer, loads), transfer_cycles(accesses, hardware)),
    )


def _cycles(layer: SystolicLayer, loads: int) -> float:
    """Folds times what streams through each, with filling and draining [2].

    A wave passes the rows and columns that the layer takes, not those beside them.
    """
    folds = layer.passes * layer.filter_folds * layer.depth_folds * loads
    weights_stay = layer.machine.stationary == "weights"
    streamed = layer.extents.positions / loads if weights_stay else float(layer.extents.depth)
    edges = 2 * layer.rows + layer.columns - 2
    if layer.machine.array_load == "serial":
        return folds * (streamed + edges)
    return folds * max(streamed, float(layer.rows)) + edges


SYSTOLIC = Dataflow(SystolicMachine, execute_systolic)
