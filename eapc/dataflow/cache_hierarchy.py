"""The cache-hierarchy dataflow: CPUs, GPUs and microcontrollers behind a stack of memories.

A layer is tiled for each level from the outermost inwards: the tile of one level is the whole
layer to the next. Of all tiles that fit a level and all six orders of the loops around them, the
one whose transfers into the level cost least is taken [1, 2]; `tiling` has the rule for how often
an operand is fetched. The innermost level, the registers, blocks the layer lowered to a matrix
product, as GEMM kernels do [3]: p x m psums and one word of depth per row and column of them.

With T_p, T_m, T_c the products of the enclosing levels' tile counts, and k_w, k_i, k_o the
fetches of `tiling.fetches` within the enclosing tile, a level takes in per layer

    weights  M (C / groups) R S  T_p k_w
    ifmap    (words of all tiles, overlap included) T_m k_i;  registers: positions x depth T_m k_i
    ofmap    N M E F (1 + 2 (T_c k_o - 1) psum bits / ofmap bits)

elements, each of its operand's bits over `word_bits` words; a psum has at least the ofmap's bits.
Each transfer is an access of both levels. Registers serve every MAC too: one weight, one ifmap
word, a psum read and written. Weights follow `weight_levels`, past levels left out of them; a
layer whose ifmap and ofmap fit `feature_maps_live_in` starts there, and words kept
in `feature_maps_kept_in` are not transferred from or to the levels outside. An instruction does
`vector_macs` MACs along the best filled of: filters, groups, positions, depth. Cycles are the
instructions' or those of the slowest level with a width.

Limits: each level is chosen on its own, outermost first; a depthwise layer takes groups one by
one and shares no ifmap words between taps in registers; caches are filled to the last word, with
no conflicts; all cores together count as one with shared levels.

[1] Yang, X., et al., "Interstellar: Using Halide's Scheduling Language to Analyze DNN
Accelerators", ASPLOS 2020.
[2] Parashar, A., et al., "Timeloop: A Systematic Approach to DNN Accelerator Evaluation",
ISPASS 2019.
[3] Goto, K., van de Geijn, R., "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 2008.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from eapc.dataflow.cache_tiling import Choice, Prices, Room, Traffic, best_tile
from eapc.dataflow.execution import (
    Accesses,
    Dataflow,
    Execution,
    MappingError,
    Tile,
    accessing_macs,
    dram_factors,
    executed_macs,
    transfer_cycles,
)
from eapc.dataflow.integers import ceil_div
from eapc.dataflow.stream import feature_map_bits, stream_route
from eapc.dataflow.tiling import Extents
from eapc.dataflow.widths import Widths
from eapc.hardware import Count, HardwareModel, MachineSection, Memories, Text, require_sizes
from eapc.workload import ConvWorkload


class CacheMachine(MachineSection):
    """A processor: vector units behind a stack of caches or scratchpads, registers innermost.

    Levels are named outermost first; `weight_levels` may start from a memory of their own (the
    flash of a microcontroller) and leave levels out. An instruction does `vector_macs` MACs,
    `instructions_per_cycle` of them start in a cycle. Feature maps of a layer that together fit
    `feature_maps_live_in` stay there and never reach the levels outside it.
    """

    feature_map_levels: tuple[Text, ...]
    weight_levels: tuple[Text, ...]
    vector_macs: Count
    instructions_per_cycle: Count
    psum_bits: Count
    feature_maps_live_in: Text | None = None

    def check_memories(self, memories: Memories, word_bits: int) -> None:
        """Every level is in a route; all but the outermost have a size; routes end in one level."""
        maps, weights = self.feature_map_levels, self.weight_levels
        if len(maps) < 2 or len(weights) < 2 or maps[-1] != weights[-1]:
            raise ValueError("feature_map_levels and weight_levels end in the same registers")
        if not set(weights[1:]) <= set(maps[1:]) or len({*maps}) < len(maps):
            raise ValueError("weight_levels past the first are feature_map_levels, in that order")
        if list(weights[1:]) != [name for name in maps if name in weights[1:]]:
            raise ValueError("weight_levels are not in the order of feature_map_levels")
        self.require_levels(memories, tuple(dict.fromkeys((*maps, *weights))))
        self.refuse_banks(memories)
        require_sizes(memories, maps[1:], 2 * word_bits + self.psum_bits)
        home = self.feature_maps_live_in
        if home not in (None, *maps[1:-1]):
            raise ValueError("feature_maps_live_in is no level between outermost and registers")
        if home is not None and set(weights) & set(maps[: maps.index(home) + 1]):
            raise ValueError(
                "weights pass feature_maps_live_in or outside it; keep weights out of it"
            )

    def route(self, operand: str) -> tuple[str, ...]:
        """The levels that the file gives."""
        return self.weight_levels if operand == "weights" else self.feature_map_levels

    @property
    def resident_level(self) -> str | None:
        """`feature_maps_live_in`."""
        return self.feature_maps_live_in

    @property
    def keeping_levels(self) -> tuple[str, ...]:
        """Every level between the outermost and the registers."""
        return self.feature_map_levels[1:-1]


@dataclass(frozen=True)
class CacheMapping:
    """Tiles of a layer in each level of a cache hierarchy but the outermost, outer levels first.

    `orders` gives the loops around each tile, the slowest first (p: positions, m: filters,
    c: channels). The registers' tile is that of the layer lowered to a matrix product: its
    `f_ofmap_columns` are positions and its `c_channels` taps of all channels.
    """

    levels: tuple[str, ...]
    tiles: tuple[Tile, ...]
    orders: tuple[str, ...]


def execute_cache_hierarchy(workload: ConvWorkload, hardware: HardwareModel) -> Execution:
    """Accesses, executed MACs, instructions and cycles under the best tile of each level.

    Raises MappingError where a level has no room for one position, filter and channel.
    """
    machine = hardware.machine_as(CacheMachine)
    widths = _widths(workload, hardware)
    route = stream_route("ifmap", feature_map_bits(workload, widths), hardware)
    choices = dict(_choices(workload, hardware, route))
    accesses = _accesses(workload, hardware, route, choices)
    instructions = vector_instructions(workload, machine)
    return Execution(
        accesses=accesses,
        executed_macs=executed_macs(workload, hardware.zeros),
        instructions=instructions,
        mapping=CacheMapping(
            tuple(choices),
            tuple(choice.tile for choice in choices.values()),
            tuple(choice.order for choice in choices.values()),
        ),
        active_pes=_busy_lanes(workload, machine),
        cycles=max(
            instructions / machine.instructions_per_cycle, transfer_cycles(accesses, hardware)
        ),
    )


def _choices(
    workload: ConvWorkload, hardware: HardwareModel, route: tuple[str, ...]
) -> Iterator[tuple[str, Choice]]:
    """The tile of every level that is filled from another, outermost first."""
    machine, extents = hardware.machine_as(CacheMachine), Extents.of(workload)
    widths = _widths(workload, hardware)
    traffic = _layer_traffic(workload, extents, widths)
    for level in route[1:]:
        if level == route[-1]:
            extents = extents.lowered()
            lowered = workload.groups * Extents.of(workload).positions * Extents.of(workload).depth
            traffic = replace(traffic, ifmap=lowered * widths.words("ifmap"))
        room = Room(
            hardware.memories[level].bits,
            widths,
            level in machine.weight_levels,
        )
        choice = best_tile(extents, traffic, room, _prices(workload, hardware, route, level))
        if choice is None:
            raise MappingError(
                f"{hardware.name}: memories.{level}: no room for one ofmap word of a layer with "
                f"{workload.filter_rows} x {workload.filter_columns} filters; give a larger "
                "size_bytes"
            )
        yield level, choice
        extents, traffic = _inside(extents, traffic, choice)


def _widths(workload: ConvWorkload, hardware: HardwareModel) -> Widths:
    psum_bits = hardware.machine_as(CacheMachine).psum_bits
    return Widths.of(workload.bits, hardware.word_bits, psum_bits)


def _layer_traffic(workload: ConvWorkload, extents: Extents, widths: Widths) -> Traffic:
    """Every used word of the operands once."""
    return Traffic(
        workload.weight_words * widths.words("weights"),
        workload.groups * extents.channels * extents.ifmap_words * widths.words("ifmap"),
        workload.ofmap_words * widths.words("ofmap"),
    )


def _inside(extents: Extents, traffic: Traffic, choice: Choice) -> tuple[Extents, Traffic]:
    """What a level's tile is to the next level."""
    p, m, c = choice.steps
    inner = Traffic(
        traffic.weights,
        choice.refetched_ifmap,
        traffic.ofmap,
        traffic.steps_p * p,
        traffic.steps_m * m,
        traffic.steps_c * c,
    )
    tile = choice.tile
    sizes = (tile.n_ifmaps, tile.e_ofmap_rows, tile.f_ofmap_columns)
    return extents.cut(*sizes, tile.m_filters, tile.c_channels), inner


def _prices(
    workload: ConvWorkload, hardware: HardwareModel, route: tuple[str, ...], level: str
) -> Prices:
    """Prices of a word into `level`; raw DRAM words alone for the objective `throughput`."""
    factors = dram_factors(workload.densities, hardware)
    found = []
    for operand, factor in zip(("weights", "ifmap", "ofmap"), factors, strict=True):
        path = _path(operand, hardware, route)
        if level not in path[1:]:
            found.append(0.0)
            continue
        outer, home = path[path.index(level) - 1], hardware.machine.route(operand)[0]
        share = _moved("ifmap", level, 1.0, workload, hardware) if operand == "ifmap" else 1.0
        if hardware.objective == "throughput":
            found.append(share)
            continue
        read, written = (
            hardware.memories[name].energy_mac_units_per_word for name in (outer, level)
        )
        found.append(share * (read * (factor if outer == home else 1.0) + written))
    return Prices(*found)


def _moved(
    operand: str, level: str, words: float, workload: ConvWorkload, hardware: HardwareModel
) -> float:
    """Of the words into a level, those not kept; psums that leave it travel all the same."""
    if level == hardware.feature_maps_kept_in or hardware.spared(level):
        if operand == "ifmap":
            return words * (1.0 - workload.kept.ifmap)
        if operand == "ofmap":
            finished = _layer_traffic(
                workload, Extents.of(workload), _widths(workload, hardware)
            ).ofmap
            return words - finished * workload.kept.ofmap
    return words


def _path(operand: str, hardware: HardwareModel, route: tuple[str, ...]) -> tuple[str, ...]:
    return hardware.machine.route(operand) if operand == "weights" else route


def _accesses(
    workload: ConvWorkload,
    hardware: HardwareModel,
    route: tuple[str, ...],
    choices: dict[str, Choice],
) -> dict[str, Accesses]:
    """Each transfer at both of its levels, and what every MAC asks of the registers."""
    macs, widths = accessing_macs(workload, hardware.zeros), _widths(workload, hardware)
    served = {
        "weights": macs.weights * widths.words("weights"),
        "ifmap": macs.ifmap * widths.words("ifmap"),
        "ofmap": 2 * macs.ofmap * widths.words("psum"),
    }
    counts = {level: dict.fromkeys(served, 0.0) for level in hardware.memories}
    counts[route[-1]].update(served)
    factors = dram_factors(workload.densities, hardware)
    for operand, factor in zip(served, factors, strict=True):
        home = hardware.machine.route(operand)[0]
        for outer, inner in pairwise(_path(operand, hardware, route)):
            words = getattr(choices[inner].words, operand)
            moved = _moved(operand, inner, words, workload, hardware)
            counts[outer][operand] += moved * (factor if outer == home else 1.0)
            counts[inner][operand] += moved
    return {level: Accesses(**found) for level, found in counts.items()}


def vector_instructions(workload: ConvWorkload, machine: CacheMachine) -> float:
    """Instructions for all MACs, along the loop whose last vector is fullest."""
    lanes = machine.vector_macs
    return workload.macs * min(
        ceil_div(extent, lanes) / extent for extent in _vector_extents(workload)
    )


def _vector_extents(workload: ConvWorkload) -> tuple[int, ...]:
    """Filters, groups, positions and depth: what a vector may span."""
    extents = Extents.of(workload)
    return (extents.filters, workload.groups, extents.positions, extents.depth)


def _busy_lanes(workload: ConvWorkload, machine: CacheMachine) -> int:
    return min(machine.vector_macs, max(_vector_extents(workload)))


CACHE_HIERARCHY = Dataflow(CacheMachine, execute_cache_hierarchy)
