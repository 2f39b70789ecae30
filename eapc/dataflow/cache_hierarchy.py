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
from itertools import pairwise
from typing import NamedTuple

from eapc.dataflow.cache_tiling import CacheRoom, TileChoice, Traffic, best_tile
from eapc.dataflow.execution import (
    OPERANDS,
    Accesses,
    Dataflow,
    Execution,
    MappingError,
    PerOperand,
    Widths,
    accessing_macs,
    dram_factors,
    executed_macs,
    transfer_cycles,
)
from eapc.dataflow.integers import ceil_div
from eapc.dataflow.stream import feature_map_bits, stream_route
from eapc.dataflow.tiling import Extents, Steps
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


class Job(NamedTuple):
    """A layer on a machine, and the levels that its feature maps pass."""

    workload: ConvWorkload
    hardware: HardwareModel
    machine: CacheMachine
    widths: Widths
    route: tuple[str, ...]

    @classmethod
    def of(cls, workload: ConvWorkload, hardware: HardwareModel) -> Job:
        """The layer with the widths that it has on the machine."""
        machine = hardware.machine_as(CacheMachine)
        widths = Widths.of(workload.bits, hardware.word_bits, machine.psum_bits)
        route = stream_route("ifmap", feature_map_bits(workload, widths), hardware)
        return cls(workload, hardware, machine, widths, route)

    def path(self, operand: str) -> tuple[str, ...]:
        """The levels that an operand passes."""
        return self.machine.weight_levels if operand == "weights" else self.route

    def dram_factor(self, operand: str, level: str) -> float:
        """What a word read from or written to a level, if it is the outermost, counts there."""
        if level != self.machine.route(operand)[0]:
            return 1.0
        factors = dram_factors(self.workload.densities, self.hardware)
        return factors[OPERANDS.index(operand)]

    def moved(self, operand: str, level: str, words: float) -> float:
        """Of the words into a level, those not kept; psums that leave it travel all the same."""
        if level != self.hardware.feature_maps_kept_in and not self.hardware.spared(level):
            return words
        if operand == "ifmap":
            return words * (1.0 - self.workload.kept.ifmap)
        if operand == "ofmap":
            finished = self.workload.ofmap_words * self.widths.words("ofmap")
            return words - finished * self.workload.kept.ofmap
        return words


def execute_cache_hierarchy(workload: ConvWorkload, hardware: HardwareModel) -> Execution:
    """Accesses, executed MACs, instructions and cycles under the best tile of each level.

    `mapping` has the choice for every level but the outermost. Raises MappingError where a level
    has no room for one position, filter and channel.
    """
    job = Job.of(workload, hardware)
    choices = dict(_choices(job))
    accesses = _accesses(job, choices)
    instructions = vector_instructions(workload, job.machine)
    return Execution(
        accesses=accesses,
        executed_macs=executed_macs(workload, hardware.zeros),
        instructions=instructions,
        mapping=choices,
        active_pes=min(job.machine.vector_macs, max(_vector_extents(workload))),
        cycles=max(
            instructions / job.machine.instructions_per_cycle, transfer_cycles(accesses, hardware)
        ),
    )


def _choices(job: Job) -> Iterator[tuple[str, TileChoice]]:
    """The tile of every level that is filled from another, outermost first."""
    work, widths, extents = job.workload, job.widths, Extents.of(job.workload)
    channels = work.groups * extents.channels
    traffic = Traffic(
        work.weight_words * widths.words("weights"),
        channels * extents.ifmap_words * widths.words("ifmap"),
        work.ofmap_words * widths.words("ofmap"),
    )
    lowered = work.groups * extents.positions * extents.depth * widths.words("ifmap")
    for level in job.route[1:]:
        if level == job.route[-1]:
            extents, traffic = extents.lowered(), traffic._replace(ifmap=lowered)
        room = CacheRoom(
            job.hardware.memories[level].bits, widths, level in job.machine.weight_levels
        )
        choice = best_tile(extents, traffic, room, _prices(job, level))
        if choice is None:
            raise MappingError(
                f"{job.hardware.name}: memories.{level}: no room for one ofmap word of a layer "
                f"with {work.filter_rows} x {work.filter_columns} filters; give a larger "
                "size_bytes"
            )
        yield level, choice
        extents, traffic = extents.cut(*choice.tile), _inside(traffic, choice)


def _inside(traffic: Traffic, choice: TileChoice) -> Traffic:
    """What passes into the tile of a level's tile."""
    steps = (outer * inner for outer, inner in zip(traffic.steps, choice.steps, strict=True))
    return traffic._replace(ifmap=choice.refetched_ifmap, steps=Steps(*steps))


def _prices(job: Job, level: str) -> PerOperand[float]:
    """Prices of a word into `level`; raw DRAM words alone for the objective `throughput`."""

    def price(operand: str) -> float:
        path = job.path(operand)
        if level not in path[1:]:
            return 0.0
        share = job.moved("ifmap", level, 1.0) if operand == "ifmap" else 1.0
        if job.hardware.objective == "throughput":
            return share
        outer = path[path.index(level) - 1]
        read, written = (
            job.hardware.memories[name].energy_mac_units_per_word for name in (outer, level)
        )
        return share * (read * job.dram_factor(operand, outer) + written)

    return PerOperand(*map(price, OPERANDS))


def _accesses(job: Job, choices: dict[str, TileChoice]) -> dict[str, Accesses]:
    """Each transfer at both of its levels, and what every MAC asks of the registers."""
    macs, widths = accessing_macs(job.workload, job.hardware.zeros), job.widths
    counts = {level: dict.fromkeys(OPERANDS, 0.0) for level in job.hardware.memories}
    counts[job.route[-1]] = {
        "weights": macs.weights * widths.words("weights"),
        "ifmap": macs.ifmap * widths.words("ifmap"),
        "ofmap": 2 * macs.ofmap * widths.words("psum"),
    }
    for operand in OPERANDS:
        for outer, inner in pairwise(job.path(operand)):
            moved = job.moved(operand, inner, getattr(choices[inner].words, operand))
            counts[outer][operand] += moved * job.dram_factor(operand, outer)
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


CACHE_HIERARCHY = Dataflow(CacheMachine, execute_cache_hierarchy)
