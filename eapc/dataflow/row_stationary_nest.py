"""Row-stationary loop nests: folding layers to a machine, and counting accesses and cycles.

The dataflow is that of Chen, Emer, Sze, "Eyeriss: A Spatial Architecture for Energy-Efficient
Dataflow for Convolutional Neural Networks", ISCA 2016 [1]; the machine and the letters of its
mappings those of Chen, Krishna, Emer, Sze, "Eyeriss: An Energy-Efficient Reconfigurable
Accelerator for Deep Convolutional Neural Networks", JSSC 2017 [2].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from eapc.dataflow.execution import MappingError, PerOperand, Widths
from eapc.dataflow.integers import Floats, IntOrInts, Ints, ceil_div
from eapc.dataflow.row_stationary_machine import RowStationaryMachine
from eapc.dataflow.tiling import Extents
from eapc.hardware import HardwareModel
from eapc.workload import ConvWorkload


class Nest(NamedTuple):
    """A layer on a machine, its loops folded so that filters and rows fit.

    In `loops`, of one group, parts of a filter are channels of their own and parts of an ofmap's
    columns ifmaps of their own. Words are the machine's: an operand of half its width counts as
    half a word. Those of weights and ofmaps are the layer's exact ones, without those that round
    parts up to one size.
    """

    layer: ConvWorkload
    loops: Extents
    widths: Widths
    machine: RowStationaryMachine
    room: Room
    pads: Pads

    @property
    def weight_words(self) -> float:
        """Words of all filters."""
        return self.layer.weight_words * self.widths.words("weights")

    @property
    def ofmap_words(self) -> float:
        """Words of the finished ofmap."""
        return self.layer.ofmap_words * self.widths.words("ofmap")

    @property
    def psum_words(self) -> float:
        """Words of the ofmap as psums."""
        return self.layer.ofmap_words * self.widths.words("psum")

    def ifmap_words(self, strip: IntOrInts) -> Any:
        """Words fetched of all ifmaps when each is passed once in strips of ofmap rows."""
        return self._row_words * self.loops.rows_fetched(strip)

    @property
    def spread_words(self) -> float:
        """Ifmap words that one set of PEs takes in over the network, per pass over filters."""
        return self._row_words * self.loops.filter_rows * self.loops.rows

    @property
    def _row_words(self) -> float:
        """Words of one row of all ifmaps."""
        rows = self.loops.batch * self.layer.groups * self.loops.channels
        return rows * self.loops.ifmap_columns * self.widths.words("ifmap")


class Tiles(NamedTuple):
    """Candidate mappings: `n` and `e` shared, the others arrays that broadcast together."""

    n: int
    e: int
    m: Ints
    p: Ints
    q: Ints
    r: Ints
    t: Ints


class Room(NamedTuple):
    """The global buffer for ifmaps and psums, allotted by banks."""

    banks: int
    ifmaps_per_bank: int
    psums_per_bank: int

    @classmethod
    def of(cls, hardware: HardwareModel, widths: Widths) -> Room:
        """Banks, and how many elements of ifmap or of psums one holds.

        Raises MappingError where a bank is smaller than one of them.
        """
        glb = hardware.memories["glb"]
        bits = (glb.bank_bytes or glb.size_bytes or 0) * 8
        if bits < max(widths.ifmap, widths.psum):
            raise MappingError(
                f"{hardware.name}: memories.glb: a bank is narrower than operands of "
                f"{max(widths.ifmap, widths.psum)} bits; give larger banks"
            )
        return cls(glb.banks, bits // widths.ifmap, bits // widths.psum)

    def filters_beside(self, ifmaps: Ints, psums: int | Ints) -> Floats:
        """Filters of `psums` elements each that fit the banks which some ifmap elements leave.

        Whole numbers, as floats: dividing integers would take half of a search's time.
        """
        left = self.banks - np.ceil(ifmaps / self.ifmaps_per_bank)
        return np.asarray(np.floor(left * self.psums_per_bank / psums))


class Pads(NamedTuple):
    """A PE's scratch pads in elements, which take whole words of them however narrow they are."""

    filters: int
    ifmaps: int
    psums: int

    @classmethod
    def of(cls, hardware: HardwareModel, widths: Widths) -> Pads:
        """What the pads hold. Raises MappingError where one is narrower than an element."""
        machine = hardware.machine_as(RowStationaryMachine)
        found = cls(
            machine.filter_spad_words // widths.registers("weights"),
            machine.ifmap_spad_words // widths.registers("ifmap"),
            machine.psum_spad_words // widths.registers("psum"),
        )
        if not all(found):
            raise MappingError(
                f"{hardware.name}: machine: a scratch pad is narrower than its operand of "
                f"{widths.weights} (weights), {widths.ifmap} (ifmap) or {widths.psum} bits "
                "(psums); give larger ones"
            )
        return found


def nests(workload: ConvWorkload, hardware: HardwareModel) -> Iterator[Nest]:
    """The layer folded to the machine, with ofmap columns in ever more parts; at least one.

    Filters with more rows than the array or more columns than a scratch pad are divided into
    equal parts that act as channels of their own, so the ifmap rows that two parts share are
    moved twice. Dilated filters take their columns phase by phase: q S words stay enough.
    Parts of the ofmap's columns act as ifmaps of their own and move the ifmap columns that
    they share twice. Rows are whole to begin with if a row of ifmap and of psums for the
    filters of one PE fits the buffer, and else in as few parts as fit.
    """
    whole = _fold_filter(workload, hardware)
    parts, most = 1, workload.ofmap_columns
    while parts < most and not _row_fits(_split_columns(whole, parts)):
        parts = min(2 * parts, most)
    yield _split_columns(whole, parts)
    divided = parts > 1 or whole.machine.ofmap_columns == "searched"
    while divided and parts < most:
        parts = min(2 * parts, most)
        yield _split_columns(whole, parts)


def _fold_filter(workload: ConvWorkload, hardware: HardwareModel) -> Nest:
    machine = hardware.machine_as(RowStationaryMachine)
    widths = Widths.of(workload.bits, hardware.word_bits, hardware.word_bits)
    pads, loops = Pads.of(hardware, widths), Extents.of(workload)
    row_parts = ceil_div(loops.filter_rows, machine.array_rows)
    column_parts = ceil_div(loops.filter_columns, min(pads.ifmaps, pads.filters))
    folded = replace(
        loops,
        channels=loops.channels * row_parts * column_parts,
        filter_rows=ceil_div(loops.filter_rows, row_parts),
        filter_columns=ceil_div(loops.filter_columns, column_parts),
    )
    return Nest(workload, folded, widths, machine, Room.of(hardware, widths), pads)


def _split_columns(nest: Nest, parts: int) -> Nest:
    columns = ceil_div(nest.loops.columns, parts)
    return nest._replace(loops=replace(nest.loops, batch=nest.loops.batch * parts, columns=columns))


def _row_fits(nest: Nest) -> bool:
    room, loops = nest.room, nest.loops
    filters = min(loops.filters, nest.pads.psums)
    ifmap_banks = ceil_div(loops.rows_touched(1) * loops.ifmap_columns, room.ifmaps_per_bank)
    return ifmap_banks + ceil_div(filters * loops.columns, room.psums_per_bank) <= room.banks


class Prices(NamedTuple):
    """What a search adds up: the cost of one raw word, at DRAM per operand, and on chip."""

    dram_weights: float
    dram_ifmap: float
    dram_ofmap: float
    glb: float
    network: float


def pe_sets(machine: RowStationaryMachine, filter_rows: int, strip: int) -> int:
    """Sets of R x e PEs that fit the array; a strip longer than its columns wraps around."""
    if strip > machine.array_columns:
        return machine.array_rows // (filter_rows * ceil_div(strip, machine.array_columns))
    return machine.array_rows // filter_rows * (machine.array_columns // strip)


def access_words(nest: Nest, tiles: Tiles) -> dict[str, PerOperand[Floats]]:
    """Raw words moved at `dram`, `glb` and `network` under each candidate mapping [1, 2].

    Filters are read again for every strip and batch and streamed past the buffer to all e
    columns; ifmaps are read again for every set of m filters; psums make a round trip to the
    buffer per pass over channels and step through R r PEs on the network.
    """
    filter_passes = ceil_div(nest.loops.filters, tiles.p * tiles.t)
    channel_passes = ceil_div(nest.loops.channels, tiles.q * tiles.r)
    fetched = nest.ifmap_words(tiles.e)
    reloads = ceil_div(nest.loops.batch, tiles.n) * ceil_div(nest.loops.rows, tiles.e)
    weights = np.asarray(nest.weight_words * reloads)
    hops = nest.loops.filter_rows * tiles.r + 1
    return {
        "dram": PerOperand(
            weights, fetched * ceil_div(nest.loops.filters, tiles.m), np.asarray(nest.ofmap_words)
        ),
        "glb": PerOperand(
            np.asarray(0.0), fetched * filter_passes, 2 * nest.psum_words * channel_passes
        ),
        "network": PerOperand(
            weights * tiles.e,
            nest.spread_words * filter_passes * tiles.t,
            nest.psum_words * channel_passes * hops,
        ),
    }


def total_cost(words: dict[str, PerOperand[Floats]], prices: Prices) -> Floats:
    """What a search minimises, for each candidate: raw words times their prices."""
    dram, glb, network = words["dram"], words["glb"], words["network"]
    cost = (
        prices.dram_weights * dram.weights
        + prices.dram_ifmap * dram.ifmap
        + prices.dram_ofmap * dram.ofmap
        + prices.glb * (glb.ifmap + glb.ofmap)
        + prices.network * (network.weights + network.ifmap + network.ofmap)
    )
    return np.asarray(cost, dtype=np.float64)


def filters_that_fit(nest: Nest, n: int | Ints, e: int, channels: Ints) -> Floats:
    """Filters whose psums fit the banks that the ifmaps of `channels` = q r channels leave."""
    ifmap = n * channels * (nest.loops.rows_touched(e) * nest.loops.ifmap_columns)
    return nest.room.filters_beside(ifmap, n * e * nest.loops.columns)


def passes(nest: Nest, tiles: Tiles) -> Ints:
    """Times that the array is filled with work under each candidate mapping."""
    return np.asarray(
        nest.layer.groups
        * ceil_div(nest.loops.batch, tiles.n)
        * ceil_div(nest.loops.rows, tiles.e)
        * ceil_div(nest.loops.filters, tiles.p * tiles.t)
        * ceil_div(nest.loops.channels, tiles.q * tiles.r)
    )


def computing_cycles(nest: Nest, tiles: Tiles) -> Ints:
    """Cycles in which PEs compute, each one MAC, if they never wait for a word.

    A layer's MACs over them are the PEs that compute on average.
    """
    per_pass = tiles.n * tiles.p * tiles.q * nest.loops.filter_columns * nest.loops.columns
    return passes(nest, tiles) * per_pass


def cycles(nest: Nest, tiles: Tiles) -> Floats:
    """Cycles of a layer: passes times the slowest of computing and moving ifmaps and psums.

    Filters move at the same time, or before each pass where `filter_load` is serial.
    """
    machine, widths, n, e = nest.machine, nest.widths, tiles.n, tiles.e
    ifmap = n * tiles.q * tiles.r * nest.loops.rows_touched(e) * nest.loops.ifmap_columns
    psums = n * tiles.p * tiles.t * e * nest.loops.columns
    taps = tiles.p * tiles.q * nest.loops.filter_columns
    filters = taps * tiles.t * tiles.r * nest.loops.filter_rows
    slowest = np.maximum(
        n * taps * nest.loops.columns,
        np.maximum(
            ifmap * (widths.ifmap / machine.ifmap_network_bits),
            psums * (widths.psum / machine.psum_network_bits),
        ),
    )
    loading = filters * (widths.weights / machine.filter_network_bits)
    serial = machine.filter_load == "serial"
    per_pass = slowest + loading if serial else np.maximum(slowest, loading)
    return np.asarray(passes(nest, tiles) * per_pass, dtype=np.float64)
