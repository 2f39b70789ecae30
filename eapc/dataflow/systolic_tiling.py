"""Systolic arrays, and tilings of a layer for their buffers; `systolic` has the equations."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from eapc.dataflow.execution import Widths
from eapc.dataflow.integers import Flags, Ints, ceil_div, smallest_divisors
from eapc.dataflow.tiling import Extents, Positions, Steps, fetches, position_tiles
from eapc.hardware import Count, HardwareModel, MachineSection, Memories, require_sizes
from eapc.workload import ConvWorkload


class SystolicMachine(MachineSection):
    """An array of MACs through which operands step from neighbour to neighbour.

    `stationary` says what stays in place: `weights`, whose rows of the array span taps and
    channels, or `ofmap`, whose rows span positions; columns span filters. Weights reach the
    array from the buffer that they share with feature maps (`buffered`), from a memory of their
    own (`separate`, level `weight_buffer`), or past all buffers (`streamed`). Finished ofmaps
    wait in the buffer (`buffered`) or leave past it (`streamed`). `array_load` says whether the
    array is filled while it computes. `groups` says whether the groups of a grouped or depthwise
    layer run `one_by_one`, or several of them `side_by_side` on rows and columns of their own.
    """

    stationary: Literal["weights", "ofmap"]
    array_rows: Count
    array_columns: Count
    psum_bits: Count
    weight_path: Literal["buffered", "separate", "streamed"]
    ofmap_path: Literal["buffered", "streamed"]
    array_load: Literal["serial", "overlapped"]
    groups: Literal["one_by_one", "side_by_side"] = "one_by_one"

    def check_memories(self, memories: Memories, word_bits: int) -> None:
        """Levels dram, buffer, accumulators, array, and weight_buffer if weights have their own.

        Where ofmaps are stationary, each element of the array holds one psum and accumulators
        have no size of their own.
        """
        if self.groups == "side_by_side" and self.stationary == "ofmap":
            raise ValueError(
                "machine.groups: columns share the ifmap where ofmaps are stationary; "
                "give one_by_one"
            )
        separate = ("weight_buffer",) if self.weight_path == "separate" else ()
        levels = ("dram", "buffer", *separate, "accumulators", "array")
        self.require_levels(memories, levels)
        self.refuse_banks(memories)
        require_sizes(memories, ("buffer", *separate), word_bits)
        if self.stationary == "weights":
            require_sizes(memories, ("accumulators",), self.psum_bits * self.array_columns)
        elif memories["accumulators"].size_bytes:
            raise ValueError("memories.accumulators: remove size_bytes, the array holds the psums")

    def route(self, operand: str) -> tuple[str, ...]:
        """Feature maps pass the buffer, weights the memory that they are kept in."""
        inner = {"buffered": ("buffer",), "separate": ("weight_buffer",), "streamed": ()}
        path = {"weights": self.weight_path, "ofmap": self.ofmap_path}.get(operand, "buffered")
        return ("dram", *inner[path])


class SystolicLayer(NamedTuple):
    """A layer on a machine: its sizes, folds, and the channels that one tile needs at least.

    `together` groups lie side by side; a fold of all of them takes `rows` and `columns` of the
    array.
    """

    workload: ConvWorkload
    extents: Extents
    widths: Widths
    machine: SystolicMachine
    depth_folds: int
    filter_folds: int
    least_channels: int
    together: int
    rows: int
    columns: int

    @property
    def passes(self) -> int:
        """Times that groups which lie side by side take their turn."""
        return ceil_div(self.workload.groups, self.together)


class Choices(NamedTuple):
    """Candidate tilings, arrays of one length: tile, outer loop is filters, loads, DRAM fetches."""

    n: Ints
    e: Ints
    f: Ints
    m: Ints
    c: Ints
    filters_outside: Flags
    loads: Ints
    weight_fetches: Ints
    ifmap_words: Ints


def folded(workload: ConvWorkload, machine: SystolicMachine, word_bits: int) -> SystolicLayer:
    """The layer's folds on the array, its groups one by one."""
    extents = Extents.of(workload)
    weights_stay = machine.stationary == "weights"
    deep = extents.depth if weights_stay else extents.positions
    return SystolicLayer(
        workload,
        extents,
        Widths.of(workload.bits, word_bits, machine.psum_bits),
        machine,
        depth_folds=ceil_div(extents.depth, machine.array_rows) if weights_stay else 1,
        filter_folds=ceil_div(extents.filters, machine.array_columns),
        least_channels=min(extents.channels, ceil_div(machine.array_rows, extents.taps)),
        together=1,
        rows=min(deep, machine.array_rows),
        columns=min(extents.filters, machine.array_columns),
    )


def side_by_side(layer: SystolicLayer) -> SystolicLayer | None:
    """The layer with as many groups at once as the array has rows and columns for."""
    machine, extents = layer.machine, layer.extents
    beside = min(
        layer.workload.groups,
        machine.array_rows // extents.depth,
        machine.array_columns // extents.filters,
    )
    if machine.groups == "one_by_one" or beside < 2:
        return None
    rows, columns = beside * extents.depth, beside * extents.filters
    return layer._replace(together=beside, rows=rows, columns=columns)


def fitting(layer: SystolicLayer, choices: Choices, hardware: HardwareModel) -> Flags:
    """Which tilings leave room for a tile of each group that lies side by side."""
    extents = layer.extents
    rows, columns = extents.rows_touched(choices.e), extents.columns_touched(choices.f)
    words = choices.n * rows * columns * extents.channels
    size = choices.n * choices.e * choices.f
    return _fits(layer, hardware, words, size, choices.m, extents.channels)


def candidates(layer: SystolicLayer, hardware: HardwareModel) -> Choices:
    """Every tiling that fits: positions by filter folds by whole or divided channels by order."""
    extents = layer.extents
    positions = position_tiles(extents, extents.positions)
    folds = smallest_divisors(layer.filter_folds, layer.filter_folds)
    filters = np.minimum(folds * layer.machine.array_columns, extents.filters)
    found = [
        _choices(layer, hardware, positions, filters, channels, filters_outside)
        for channels, filters_outside in (
            (extents.channels, False),
            (extents.channels, True),
            (layer.least_channels, False),
        )
    ]
    return Choices(*(np.concatenate(axis) for axis in zip(*found, strict=True)))


def _choices(
    layer: SystolicLayer,
    hardware: HardwareModel,
    positions: Positions,
    filters: Ints,
    channels: int,
    filters_outside: bool,
) -> Choices:
    """The tilings that fit with one number of channels in a tile and one order of the loops."""
    extents, whole = layer.extents, channels == layer.extents.channels
    size, m = positions.size[:, None], filters[None, :]
    block = block_positions(layer, hardware)
    steps = Steps(
        positions.tiles[:, None],
        ceil_div(extents.filters, m),
        np.array(1 if whole else 2, dtype=np.int64),
    )
    times = fetches(steps, "mpc" if filters_outside else "pmc")
    loads = steps.p * ceil_div(size, np.array(block))
    weights_stay = layer.machine.stationary == "weights"
    if weights_stay and filters_outside and layer.depth_folds == 1:  # for all positions
        loads = np.where(m <= layer.machine.array_columns, 1, loads)
    fits = _fits(layer, hardware, positions.tile_words[:, None] * channels, size, m, channels)
    if not whole:
        fits = fits & (size * ceil_div(m, np.array(layer.machine.array_columns)) <= block)
    at, to = np.nonzero(np.broadcast_to(fits, (len(positions.size), len(filters))))
    grid = np.broadcast_arrays(loads, times.weights, times.ifmap, fits)[:3]
    loads, weight_fetches, ifmap_fetches = (array[at, to] for array in grid)
    streamed = layer.machine.weight_path == "streamed"
    return Choices(
        positions.n[at],
        positions.e[at],
        positions.f[at],
        filters[to],
        np.full(len(at), channels, dtype=np.int64),
        np.full(len(at), filters_outside),
        loads,
        loads if streamed else weight_fetches,
        positions.fetched_words[at] * extents.channels * ifmap_fetches,
    )


def block_positions(layer: SystolicLayer, hardware: HardwareModel) -> int:
    """Positions whose psums are held at a time for one filter fold."""
    if layer.machine.stationary == "ofmap":
        return layer.machine.array_rows
    return hardware.memories["accumulators"].bits // (
        layer.widths.psum * layer.machine.array_columns
    )


def _fits(
    layer: SystolicLayer,
    hardware: HardwareModel,
    ifmap_words: Ints,
    positions: Ints,
    filters: Ints,
    channels: int,
) -> Flags:
    """Whether the tiles of ifmap, weights and ofmap fit the buffers that hold them.

    Groups that lie side by side have a tile each.
    """
    machine, widths = layer.machine, layer.widths
    if layer.together > 1:
        ifmap_words, filters = layer.together * ifmap_words, layer.together * filters
    weights = filters * (channels * layer.extents.taps * widths.weights)
    shared = ifmap_words * widths.ifmap + (weights if machine.weight_path == "buffered" else 0)
    if machine.ofmap_path == "buffered":
        shared = shared + positions * filters * widths.ofmap
    fits = shared <= hardware.memories["buffer"].bits
    if machine.weight_path == "separate":
        fits = fits & (weights <= hardware.memories["weight_buffer"].bits)
    return np.asarray(fits)
